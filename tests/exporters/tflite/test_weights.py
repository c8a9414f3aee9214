import numpy as np
import onnx_ir as ir
import pytest
from support.graphs import Net, run
from support.lowering_tflite import lowered

from tdedge_exporters.quantize.grids import WeightGrid


def products() -> Net:
    """A product of every kind, and weights too small to be worth it."""
    net = Net(1, 4, 10, 10)
    a = net.conv("x", 32, 4, 3, 3, bias=True, name="a")
    b = net.add("Relu", net.conv(a, 32, 32, 3, 3, groups=32, bias=True), name="b")
    c = net.add("ConvTranspose", b, net.weight(32, 8, 3, 3), name="c")
    d = net.conv(c, 2, 8, 1, 1, name="d")
    net.add("Gemm", net.add("Flatten", d), net.weight(5, 128), transB=1, name="y")
    return net


def test_int8_weights_have_a_scale_per_output_channel():
    net = products()
    file, whole = lowered(net.model(), precision="int8-weights"), lowered(net.model())
    assert file.plan == ["DELEGATE"]
    details = {detail["index"]: detail for detail in file.interpreter.get_tensor_details()}
    stored = [
        details[op["inputs"][0]]
        for op in file.interpreter._get_ops_details()
        if op["op_name"] == "DEQUANTIZE"
    ]
    axes = [(detail["quantization_parameters"]["quantized_dimension"], *detail["shape"]) for detail in stored]
    assert sorted(axes) == [(0, 5, 128), (0, 8, 3, 3, 32), (0, 32, 3, 3, 4), (3, 1, 3, 3, 32)]
    for detail in stored:
        scales = detail["quantization_parameters"]["scales"]
        assert len(scales) == detail["shape"][detail["quantization_parameters"]["quantized_dimension"]]
        assert detail["dtype"] == np.int8
    assert len(file.content) < 0.5 * len(whole.content)


def test_outputs_with_int8_weights_are_those_of_the_rounded_network():
    net = products()
    model, x = net.model(), net.sample()
    (expected,) = run(model, x)
    (got,) = lowered(model, precision="int8-weights").run({"x": x}).values()
    error = np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean())
    assert 1e-4 < error < 0.03
    for value in model.graph.initializers.values():
        _round(value)
    (rounded,) = run(model, x)
    assert np.abs(got - rounded).max() < 1e-5 * np.abs(rounded).max()


def _round(value: ir.Value) -> None:
    """To what the file holds of a weight, axis 1 of a transposed convolution being its outputs."""
    array = value.const_value.numpy()
    if array.ndim > 1 and array.size > 100:
        axis = 1 if array.shape == (32, 8, 3, 3) else 0
        value.const_value = ir.tensor(WeightGrid.of(array, axis).round(array))


@pytest.mark.parametrize("precision", ["float16", "int8-weights"])
def test_a_weight_of_two_products_is_stored_once(precision):
    net = Net(1, 16, 6, 6)
    weight = net.weight(16, 16, 3, 3)
    net.conv(net.add("Relu", net.conv("x", 16, 16, 3, 3, weight=weight)), 16, 16, 3, 3, weight=weight)
    file = lowered(net.model(), precision=precision)
    widened = [op for op in file.interpreter._get_ops_details() if op["op_name"] == "DEQUANTIZE"]
    shapes = [tuple(file.interpreter._get_tensor_details(op["inputs"][0], 0)["shape"]) for op in widened]
    assert shapes.count((16, 3, 3, 16)) == 1
    assert file.plan == ["DELEGATE"]
