import json
import math
import re

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from tdedge.errors import UsageError
from tdedge_exporters.verify import (
    TOLERANCES,
    Reference,
    check_outputs,
    check_quality,
    compare,
    random_inputs,
    verify,
)

SHAPE = (2, 3, 8, 8)


def network(outputs=("y",), nodes=(), inputs=(), classes=5, **replaced):
    """conv -> relu -> pool -> flatten -> gemm; ``replaced`` swaps weights."""
    rng = np.random.default_rng(3)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "v": rng.standard_normal((4, classes)).astype(np.float32),
        **replaced,
    }
    chain = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v"], ["y"]),
        *nodes,
    ]
    types = {"index": TensorProto.INT64}
    graph = helper.make_graph(
        chain,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE), *inputs],
        [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), None) for n in outputs],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return ir.from_proto(shape_inference.infer_shapes(proto, strict_mode=True))


def runner(model, change=None):
    """A target: ONNX Runtime; ``change`` spoils its outputs."""
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(feed):
        outputs = dict(zip(names, session.run(None, feed), strict=True))
        return change(outputs) if change else outputs

    return run


def probe_of(model):
    def probe(feed, names):
        graph = model.clone()
        values = {v.name: v for node in graph.graph for v in node.outputs}
        graph.graph.outputs.extend(
            values[n] for n in names if n in values and not values[n].is_graph_output()
        )
        outputs = runner(graph)(feed)
        return {name: outputs[name] for name in names if name in outputs}

    return probe


@pytest.fixture(scope="module")
def reference():
    model = network()
    return Reference(model, random_inputs(model, seed=1, n_sets=3))


def test_equal_network_passes_without_a_doubt(reference):
    report = reference.check(runner(reference.model), precision="float32")
    assert report.passed
    assert report.tolerance == TOLERANCES["float32"] == 1e-4
    assert report.warnings == ()
    (output,) = report.outputs
    assert 0 < output.max_rel < 1e-6
    assert output.max_abs == pytest.approx(output.max_rel * output.scale)
    assert output.sqnr_db > 120
    assert output.top1_agreement == 1.0


@pytest.mark.parametrize(("error", "passed"), [(0.5e-4, True), (2e-4, False)])
def test_largest_error_relative_to_the_scale_decides(reference, error, passed):
    scale = max(np.abs(o["y"]).max() for o in reference.outputs)

    def spoil(outputs):
        outputs["y"][1, 2] += error * scale
        return outputs

    report = reference.check(runner(reference.model, spoil), precision="float32")
    assert report.passed is passed
    assert report.outputs[0].max_rel == pytest.approx(error, rel=1e-2)
    assert reference.check(runner(reference.model, spoil), precision="float16").passed


def test_one_wrong_value_in_the_last_set_fails(reference):
    calls = []

    def spoil(outputs):
        calls.append(1)
        if len(calls) == 3:
            outputs["y"][0, 0] += 1
        return outputs

    report = reference.check(runner(reference.model, spoil), precision="float32")
    assert not report.passed
    assert "output 'y' differs by" in report.summary()
    assert "float32 tolerance 1.0e-04" in report.summary()


def test_figures_follow_their_definitions():
    expected, actual = np.array([[3.0, -4.0], [1.0, 0.0]]), np.array([[3.0, -4.5], [1.0, 2.0]])
    report = check_outputs([{"y": expected}], [{"y": actual}], precision="float32")
    (output,) = report.outputs
    assert (output.max_abs, output.scale, output.max_rel) == (2.0, 4.0, 0.5)
    assert output.sqnr_db == pytest.approx(10 * math.log10(26 / 4.25))
    assert output.top1_agreement == 0.5


def test_top1_is_along_the_channels_of_an_image():
    expected = np.zeros((1, 3, 2, 2))
    expected[0, 1] = 1
    actual = expected.copy()
    actual[0, 2, 0, 0] = 5
    (output,) = check_outputs([{"y": expected}], [{"y": actual}], precision="float32").outputs
    assert output.top1_agreement == 0.75


def test_ties_of_the_reference_agree_whichever_is_chosen():
    expected = np.array([[0.5, 0.5, 0.0]])
    actual = np.array([[0.5, 0.5 + 1e-7, 0.0]])
    (output,) = check_outputs([{"y": expected}], [{"y": actual}], precision="float32").outputs
    assert output.top1_agreement == 1.0


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_fail_unless_identical(odd):
    clean, spoilt = np.array([1.0, 2.0, 3.0]), np.array([1.0, odd, 3.0])
    for expected, actual in ((clean, spoilt), (spoilt, clean)):
        report = check_outputs([{"y": expected}], [{"y": actual}], precision="float32")
        assert not report.passed
        assert "1 of 3 values are NaN or infinite and differ" in report.summary()
    assert check_outputs([{"y": spoilt}], [{"y": spoilt}], precision="float32").passed
    assert not check_outputs([{"y": spoilt}], [{"y": np.array([1.5, odd, 3.0])}], precision="float32").passed


def test_opposite_infinities_differ():
    report = check_outputs(
        [{"y": np.array([1.0, np.inf])}], [{"y": np.array([1.0, -np.inf])}], precision="float32"
    )
    assert not report.passed


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        ({"z": np.ones((1, 2))}, r"the target has outputs \['z'\], the network \['y'\]"),
        ({"y": np.ones((1, 2)), "z": np.ones(1)}, r"the target has outputs \['y', 'z'\]"),
        ({"y": np.ones((2, 1))}, r"shape \(2, 1\), expected \(1, 2\)"),
        ({"y": np.ones((1, 2), np.int64)}, "element type int64, expected float64"),
    ],
)
def test_names_shapes_and_types_must_match(actual, message):
    report = check_outputs([{"y": np.array([[1.0, 2.0]])}], [actual], precision="float32")
    assert not report.passed
    assert report.to_json()["passed"] is False
    assert re.search(message, report.summary())


def test_integers_must_be_equal_and_may_differ_in_width():
    expected = {"y": np.array([1000, 1001])}
    assert check_outputs([expected], [{"y": np.array([1000, 1001], np.int32)}], precision="float32").passed
    report = check_outputs([expected], [{"y": np.array([1000, 1002])}], precision="float16")
    assert not report.passed
    assert "1 of 2 integers differ" in report.summary()


def test_constant_and_zero_outputs_are_flagged():
    model = network(v=np.zeros((4, 5), np.float32))
    report = verify(model, runner(model), random_inputs(model, 0, 2))
    assert report.passed
    assert any("'y' is near zero" in warning for warning in report.warnings)
    assert any("'y' is constant" in warning for warning in report.warnings)
    assert report.to_json()["warnings"] == list(report.warnings)


def test_output_that_ignores_the_input_is_flagged():
    expected = [{"y": np.array([1.0, 2.0])}, {"y": np.array([1.0, 2.0 + 1e-9])}]
    report = check_outputs(expected, expected, precision="float32")
    assert [w.split(";")[0] for w in report.warnings] == ["reference output 'y' does not depend on the input"]
    assert not check_outputs(expected[:1], expected[:1], precision="float32").warnings


def test_first_diverging_tensor_is_named():
    model = network()
    wrong = network(b=np.zeros(4, np.float32))
    inputs = random_inputs(model, 0, 1)
    report = verify(model, runner(wrong), inputs, probe=probe_of(wrong))
    assert not report.passed
    assert report.first_diverging == "conv"
    late = network(v=np.ones((4, 5), np.float32))
    assert verify(model, runner(late), inputs, probe=probe_of(late)).first_diverging == "y"
    assert verify(model, runner(model), inputs, probe=probe_of(model)).first_diverging is None


def test_first_diverging_skips_tensors_the_target_lost():
    model, wrong = network(), network(b=np.zeros(4, np.float32))
    probe = probe_of(wrong)
    reference = Reference(model, random_inputs(model, 0, 1))
    late = {"pool", "y"}
    found = reference.first_diverging(lambda feed, names: probe(feed, [n for n in names if n in late]))
    assert found == "pool"
    assert reference.first_diverging(lambda feed, names: {}) is None


def test_reference_is_computed_once_and_declares_its_types():
    node = helper.make_node("ArgMax", ["y"], ["index"], axis=1, keepdims=0)
    model = network(outputs=("y", "index"), nodes=[node])
    reference = Reference(model, random_inputs(model, 0, 2))
    assert reference.outputs is reference.outputs
    assert reference.outputs[0]["y"].dtype == np.float64
    declared = reference.outputs_as_declared(0)
    assert (declared["y"].dtype, declared["index"].dtype) == (np.float32, np.int64)
    assert reference.check(runner(model), precision="float32").passed


def test_target_cannot_change_the_inputs(reference):
    def greedy(feed):
        feed.clear()
        return {"y": np.zeros((2, 5), np.float32)}

    before = [dict(feed) for feed in reference.inputs]
    assert not reference.check(greedy, precision="float32").passed
    assert all(set(a) == set(b) for a, b in zip(before, reference.inputs, strict=True))


def test_report_is_valid_json():
    good, bad = {"y": np.array([1.0, 2.0])}, {"y": np.array([1.0, np.nan])}
    infinite = check_outputs([good], [bad], precision="float32")
    document = json.loads(json.dumps(infinite.to_json(), allow_nan=False))
    assert document["max_rel"] is None
    assert document["outputs"][0]["max_abs"] is None
    equal = check_outputs([good], [good], precision="float32")
    assert equal.to_json()["sqnr_db"] is None
    assert equal.to_json()["max_rel"] == 0.0


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.inf, math.nan])
def test_tolerance_must_be_positive(reference, tolerance):
    with pytest.raises(UsageError, match="must be positive"):
        reference.check(runner(reference.model), precision="float32", tolerance=tolerance)


def test_unknown_precision_needs_a_tolerance(reference):
    with pytest.raises(UsageError, match="'int4' has no default tolerance"):
        reference.check(runner(reference.model), precision="int4")
    assert reference.check(runner(reference.model), precision="int4", tolerance=0.1).passed


def test_eight_bits_are_judged_by_signal_to_noise(reference):
    def noisy(level):
        rng = np.random.default_rng(0)

        def change(outputs):
            y = outputs["y"]
            noise = level * np.sqrt(np.mean(y**2)) * rng.standard_normal(y.shape)
            return {"y": (y + noise).astype(y.dtype)}

        return runner(reference.model, change)

    report = reference.check(noisy(0.05), precision="int8")  # about 26 dB
    assert report.passed
    assert (report.tolerance, report.min_sqnr_db) == (None, 20.0)
    assert 22 < report.worst.sqnr_db < 30
    assert not reference.check(noisy(0.07), precision="int8-weights").passed
    failed = reference.check(noisy(0.3), precision="int8")
    assert not failed.passed
    assert re.fullmatch(
        r"output 'y' has \d+\.\d dB of signal to noise \(int8 floor 20\.0 dB\)", failed.summary()
    )
    assert not reference.check(noisy(0.05), precision="int8", min_sqnr_db=40).passed
    assert reference.check(runner(reference.model), precision="int8", min_sqnr_db=80).passed


def test_a_tolerance_is_no_limit_of_eight_bits(reference):
    with pytest.raises(UsageError, match="give --min-sqnr"):
        reference.check(runner(reference.model), precision="int8", tolerance=0.1)
    with pytest.raises(UsageError, match="expected a number such as 30"):
        reference.check(runner(reference.model), precision="int8", min_sqnr_db=math.nan)
    with pytest.raises(UsageError, match="'float32' has no floor"):
        check_quality([{"y": np.ones(2)}], [{"y": np.ones(2)}], precision="float32")


def test_whole_numbers_are_told_of_and_not_judged_beside_noise():
    wanted = {"y": np.array([[1.0, 2.0]]), "index": np.array([1, 0])}
    got = {"y": np.array([[1.01, 2.0]]), "index": np.array([0, 1])}
    report = check_quality([wanted], [got])
    assert report.passed
    assert any("'index': 2 of 2 integers differ" in warning for warning in report.warnings)
    assert not check_outputs([wanted], [got], precision="float16").passed
    lost = check_quality([wanted], [{"y": got["y"]}])
    assert not lost.passed
    assert "outputs ['y'], the network ['index', 'y']" in lost.summary()
    nothing = check_quality([{"y": np.zeros(3)}], [{"y": np.ones(3)}])
    assert not nothing.passed
    assert "-inf dB" in nothing.summary()


def test_no_inputs_are_refused():
    with pytest.raises(UsageError, match="at least one set"):
        Reference(network(), [])


def test_compare_gives_figures_and_no_verdict():
    found = compare([{"y": np.array([[2.0, 1.0]])}], [{"y": np.array([[1.0, 1.5]])}])
    assert found["max_rel"] == 0.5
    assert found["outputs"][0]["top1_agreement"] == 0.0
    assert "passed" not in found
    assert "passed" not in found["outputs"][0]
