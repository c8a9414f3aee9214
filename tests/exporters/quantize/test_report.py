"""Signal to noise at the outputs: as integers compute them, clips by their roundings alone."""

import pytest
from support.eight_bits import clip, residual, samples

from tdedge_exporters.quantize import report
from tdedge_exporters.quantize.calibrate import Runner
from tdedge_exporters.quantize.quantize import quantize
from tdedge_exporters.quantize.report import Exact, outputs_sqnr_db, sqnr_db


def on_integers_db(model, quantised, feeds):
    """The ratio, ONNX Runtime executing the quantised graph as it would in production."""
    signal = noise = 0.0
    for one, other in zip(Runner(model).run(feeds, ["y"]), Runner(quantised).run(feeds, ["y"]), strict=True):
        signal += float((one["y"] ** 2).sum())
        noise += float(((other["y"] - one["y"]) ** 2).sum())
    return sqnr_db(signal, noise)


@pytest.mark.parametrize("network", [residual, clip])
@pytest.mark.parametrize("seed", range(3))
def test_the_ratio_is_that_of_integers(network, seed):
    model = network(seed)
    made = quantize(model, samples(model, 8)).model
    feeds = samples(model, 16, seed=9)
    assert outputs_sqnr_db(model, made, feeds) == pytest.approx(on_integers_db(model, made, feeds), abs=0.3)


@pytest.mark.parametrize(("network", "fused"), [(residual, True), (clip, False)])
def test_clips_do_not_wait_for_integer_kernels_of_convolutions(network, fused, monkeypatch):
    asked = []

    class Spy(Runner):
        def __init__(self, model, *, optimised=True):
            asked.append(optimised)
            super().__init__(model, optimised=optimised)

    model = network()
    feeds = samples(model, 4)
    made = quantize(model, feeds).model
    monkeypatch.setattr(report, "Runner", Spy)
    Exact(model, feeds).sqnr_db(made)
    assert asked == [True, fused]


def test_nothing_is_lost_to_the_same_graph():
    model = residual()
    assert outputs_sqnr_db(model, model, samples(model, 2)) is None
