"""Small networks and data for the tests of int8: a residual one, and a chain of 3-D factors."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from support.graphs import Net

from tdedge.artifact import read_manifest
from tdedge_devices import parity
from tdedge_exporters.export import export
from tdedge_exporters.lowering import Options, Target, lower
from tdedge_exporters.quantize.quantize import Quantised, quantize
from tdedge_exporters.quantize.settings import Int8
from tdedge_runtimes.client import run_job


def residual(seed: int = 0) -> ir.Model:
    """x (1, 3, 16, 16) -> 3x3 -> [3x3, 1x1 + skip] -> pool -> 3x3 -> y (1, 5): 5 products, 1 sum."""
    net = Net(1, 3, 16, 16, seed=seed)
    net.conv("x", 16, 3, 3, 3, bias=True, pads=1, name="stem")
    net.add("Relu", "stem", name="a")
    net.conv("a", 16, 16, 3, 3, bias=True, pads=1, name="b")
    net.add("Relu", "b", name="c")
    net.conv("c", 16, 16, 1, 1, bias=True, name="d")
    net.add("Add", "d", "a", name="sum")
    net.add("Relu", "sum", name="e")
    net.add("MaxPool", "e", kernel_shape=[2, 2], strides=[2, 2], name="p")
    net.conv("p", 24, 16, 3, 3, bias=True, name="q")
    net.add("Relu", "q", name="r")
    return _head(net, "r", 24)


def clip(seed: int = 0) -> ir.Model:
    """x (1, 3, 6, 12, 12) -> 1x1x1, 1x3x3, 3x1x1, 1x1x1 -> y (1, 5): 5 products."""
    net = Net(1, 3, 6, 12, 12, seed=seed)
    net.conv("x", 8, 3, 1, 1, 1, name="u")
    net.conv("u", 8, 8, 1, 3, 3, pads=[0, 1, 1, 0, 1, 1], name="v")
    net.conv("v", 8, 8, 3, 1, 1, pads=[1, 0, 0, 1, 0, 0], name="w")
    net.conv("w", 16, 8, 1, 1, 1, bias=True, name="z")
    net.add("Relu", "z", name="r")
    return _head(net, "r", 16)


def _head(net: Net, x: str, channels: int) -> ir.Model:
    net.add("GlobalAveragePool", x, name="pooled")
    net.add("Flatten", "pooled", name="flat")
    net.add("Gemm", "flat", net.weight(5, channels), net.weight(5), transB=1, name="y")
    return net.model()


def samples(model: ir.Model, count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """Feeds whose mean and contrast differ from one to the next, as those of pictures do."""
    rng = np.random.default_rng(seed)
    feeds = []
    for _ in range(count):
        feed = {}
        for value in model.graph.inputs:
            noise = rng.standard_normal([int(size) for size in value.shape])
            feed[value.name] = (rng.uniform(0.5, 1.5) * noise + rng.uniform(-1, 1)).astype(np.float32)
        feeds.append(feed)
    return feeds


def save_samples(path: Path, model: ir.Model, count: int = 16, seed: int = 1) -> Path:
    """:func:`samples` as the ``.npz`` file of a user."""
    feeds = samples(model, count, seed)
    np.savez(path, **{name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]})
    return path


def quantised(model: ir.Model, count: int = 8, **settings) -> Quantised:
    """The network on 8-bit integers, calibrated on :func:`samples`."""
    return quantize(model, samples(model, count), Int8(**settings))


def lowered(model: ir.Model, folder: Path, target: str, **options):
    """Quantise and write one target."""
    return lower(quantised(model).model, folder, Target.parse(target), Options(**options))


def exported(model: ir.Model, folder: Path, *targets: str, **options) -> Path:
    """An artifact of targets of 8 bits, not planned, calibrated on :func:`samples`."""
    folder.mkdir(parents=True, exist_ok=True)
    ir.save(model, folder / "net.onnx")
    data = save_samples(folder / "data.npz", model)
    return export(folder / "net.onnx", folder / "out", to=targets, calibration=data, **options).folder


def specs(artifact: Path) -> dict[str, dict[str, str]]:
    """Target -> its model, as jobs take it."""
    return {
        entry.target: {
            "path": str(artifact / entry.entry), "runtime": entry.runtime, "precision": entry.precision
        }
        for entry in read_manifest(artifact).targets
    }  # fmt: skip


def assert_as_here(device, artifact: Path) -> None:
    """Every target passes on a device by the rule of devices, with the ratio that it has on this machine."""
    for target, spec in specs(artifact).items():
        there, here = (parity.check(do, spec, artifact, target) for do in (device.do, run_job))
        assert there["passed"], f"{target}: {there['reason']}"
        for found, expected in zip(there["outputs"], here["outputs"], strict=True):
            assert found["sqnr_db"] > expected["sqnr_db"] - 3.0, target
            assert expected["sqnr_db"] > 20.0
