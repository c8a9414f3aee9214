"""Lowered networks, float32 and float16, in tflite-runtime 2.14: what an older device runs."""

import numpy as np
import pytest
import torch
from models.catalogue import NETWORKS
from support.decompositions import decomposed

from tdedge.networks import thetis
from tdedge_exporters.export import export
from tdedge_runtimes.session import open_session, random_inputs

#: Between the runtimes: the older one's sigmoid is less exact.
TOLERANCE = 1e-4

#: Per network one format, so that every network and every format is there.
FORMATS = {
    "resnet18": "cp",
    "mobilenet_v2": "svd",
    "unet2d": "spatial_svd",
    "c3d": "tucker",
    "r3d_18": "kcp",
    "r2plus1d_18": "tt",
    "unet3d": "ntt",
}


def check(module, example, folder, run_in_old_runtime) -> None:
    """Equal outputs in both runtimes; the export's own gate is wide, for float16 in untrained networks."""
    export(module, folder, to="tflite,tflite:float16", example=example, input_sets=1, tolerance=0.05)
    for name in ("model.tflite", "model-float16.tflite"):
        with open_session("tflite", folder / name) as session:
            feeds = random_inputs(session.inputs)
            expected = session.run(feeds)
        outputs = run_in_old_runtime(folder / name, feeds)
        assert list(outputs) == list(expected)
        for key, value in expected.items():
            assert np.abs(outputs[key] - value).max() <= TOLERANCE * np.abs(value).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_dense(tmp_path, run_in_old_runtime, name):
    network = NETWORKS[name]
    check(network.factory(), torch.zeros(network.input_shape), tmp_path / "out", run_in_old_runtime)


@pytest.mark.parametrize("name", FORMATS)
def test_decomposed(tmp_path, run_in_old_runtime, name):
    made = decomposed(name, FORMATS[name])
    check(made.module, made.example, tmp_path / "out", run_in_old_runtime)


def test_thetis(tmp_path, run_in_old_runtime):
    example = torch.zeros(thetis.INPUT_SHAPE)
    check(thetis.compressed(), example, tmp_path / "out", run_in_old_runtime)
