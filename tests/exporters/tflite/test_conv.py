"""Convolutions of any geometry in one to three dimensions, against ONNX Runtime."""

import numpy as np
import onnx_ir as ir
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.graphs import Net, run

from tdedge_exporters.tflite.assemble import assemble
from tdedge_exporters.tflite.writer import write

TOLERANCE = 1e-5


def run_litert(model: ir.Model, x: np.ndarray, *, inputs_last: bool = False) -> tuple[np.ndarray, list[str]]:
    """The output and the operators that were left to run: one DELEGATE where XNNPACK took them all."""
    program, _ = assemble(model.graph, inputs_last=inputs_last)
    interpreter = Interpreter(model_content=write(program, {}), num_threads=1)
    interpreter.allocate_tensors()
    given_x = np.moveaxis(x, 1, -1).copy() if inputs_last else x
    output = interpreter.get_signature_runner()(x=given_x)
    operators = [op["op_name"] for op in interpreter._get_ops_details()]
    return next(iter(output.values())), operators


@st.composite
def geometry(draw, rank: int):
    """Attributes of a convolution that has at least one output position."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    inner = draw(st.integers(1, 4))
    style = draw(st.sampled_from(["any", "any", "depthwise"]))
    channels = groups * inner if style == "any" else draw(st.integers(1, 6))
    groups = groups if style == "any" else channels
    outputs = groups * draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    if rank == 3:
        flat = draw(st.sampled_from(["full", "full", "temporal", "spatial", "pointwise"]))
        kernel = {
            "full": kernel,
            "temporal": [kernel[0], 1, 1],
            "spatial": [1, *kernel[1:]],
            "pointwise": [1, 1, 1],
        }[flat]
    dilation = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank)]
    stride = [draw(st.integers(1, 3)) for _ in range(rank)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    begin = [draw(st.integers(0, r)) for r in reach]
    end = [draw(st.integers(0, r)) for r in reach]
    size = [r + draw(st.integers(0, 5)) for r in reach]
    attributes = {"strides": stride, "dilations": dilation}
    if auto == "NOTSET":
        attributes["pads"] = [*begin, *end]
    else:
        attributes["auto_pad"] = auto
        if auto.startswith("SAME"):
            attributes["dilations"] = [1] * rank  # ONNX Runtime refuses others
    return {
        "shape": (draw(st.integers(1, 2)), channels, *size),
        "outputs": outputs,
        "kernel": kernel,
        "groups": groups,
        "bias": draw(st.booleans()),
        "attributes": attributes,
        "before": draw(st.sampled_from(["nothing", "nothing", "Relu", "Conv"])),
        "inputs_last": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }


def network(case) -> Net:
    net = Net(*case["shape"], seed=case["seed"])
    name, channels = "x", case["shape"][1]
    if case["before"] == "Relu":
        name = net.add("Relu", name)
    elif case["before"] == "Conv":
        ones = [1] * len(case["kernel"])
        name = net.conv(name, channels, channels, *ones)
    name = net.conv(
        name,
        case["outputs"],
        channels,
        *case["kernel"],
        groups=case["groups"],
        bias=case["bias"],
        **case["attributes"],
    )
    return net


def check(case) -> None:
    model = network(case).model()
    x = np.random.default_rng(case["seed"]).standard_normal(case["shape"]).astype(np.float32)
    (expected,) = run(model, x)
    actual, operators = run_litert(model, x, inputs_last=case["inputs_last"])
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= TOLERANCE * max(np.abs(expected).max(), 1e-3)
    assert operators.count("DELEGATE") == 1, operators
    assert "CONV_3D" not in operators


SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@SETTINGS
@given(geometry(2))
def test_two_dimensions(case):
    check(case)


@SETTINGS
@given(geometry(3))
def test_three_dimensions(case):
    check(case)


@settings(parent=SETTINGS, max_examples=60)
@given(geometry(1))
def test_one_dimension(case):
    check(case)
