import numpy as np
import onnx_ir as ir
import pytest
from support.eight_bits import samples
from support.graphs import Net, run

from tdedge_exporters.quantize.bias import correct
from tdedge_exporters.quantize.calibrate import observe
from tdedge_exporters.quantize.grids import Grids, WeightGrid
from tdedge_exporters.quantize.quantize import quantize
from tdedge_exporters.quantize.settings import Int8


def shifted(bias, groups=1):
    """A convolution without padding of an input whose channels have large means."""
    net = Net(1, 8, 10, 10)
    net.conv("x", 8, 8, 3, 3, bias=bias, groups=groups, name="y")
    return net.model()


def feeds(model):
    return [
        {"x": feed["x"] + 5 * np.arange(1, 9, dtype=np.float32).reshape(1, 8, 1, 1)}
        for feed in samples(model, 4)
    ]


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("bias", [False, True])
def test_the_mean_error_of_rounded_weights_is_gone(bias, groups):
    model = shifted(bias, groups)
    data = feeds(model)
    weight = model.graph.initializers["w0"].const_value.numpy()
    grids = Grids(weights={"w0": WeightGrid.of(weight, 0)})

    def means(corrected):
        rounded = model.clone()
        if corrected:
            assert correct(rounded, grids, observe(model, ["x"], data)[0]) == 1
        held = rounded.graph.initializers["w0"]
        held.const_value = ir.tensor(grids.weights["w0"].round(weight), name="w0")
        gaps = [run(rounded, feed["x"])[0] - run(model, feed["x"])[0] for feed in data]
        return np.abs(np.mean(gaps, axis=(0, 1, 3, 4))).max()

    assert means(corrected=True) < 0.2 * means(corrected=False)


def test_it_is_done_where_it_is_asked_for():
    model = shifted(bias=True)
    data = feeds(model)
    with_it, without = (quantize(model, data, Int8(correct_bias=asked)) for asked in (True, False))
    assert (with_it.report.corrected, without.report.corrected) == (1, 0)


def test_a_product_of_unknown_input_is_left_alone():
    model = shifted(bias=True)
    weight = model.graph.initializers["w0"].const_value.numpy()
    assert correct(model, Grids(weights={"w0": WeightGrid.of(weight, 0)}), {}) == 0
