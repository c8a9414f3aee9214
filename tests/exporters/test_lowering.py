import numpy as np
import pytest
from support.networks import classifier, damage

from tdedge.errors import MissingError, UsageError
from tdedge_exporters import lowering
from tdedge_exporters.lowering import Target, parse_targets
from tdedge_exporters.reference import evaluate
from tdedge_exporters.verify import Reference, random_inputs, verify
from tdedge_runtimes.session import open_session

BOTH = ["onnxruntime", "openvino"]


def test_targets_are_read_in_order_and_once():
    assert parse_targets("openvino:float16, onnxruntime,openvino:float16,") == [
        Target("openvino", "float16"),
        Target("onnxruntime"),
    ]
    assert parse_targets(["openvino:float32", "openvino"]) == [Target("openvino")]
    assert [str(t) for t in parse_targets("openvino:float16,openvino")] == ["openvino:float16", "openvino"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("openvin", "did you mean 'openvino'"),
        ("tensorrt", "expected one of onnxruntime, openvino"),
        ("onnxruntime:float16", "'onnxruntime' has no precision 'float16'; it has float32"),
        (" , ", "no target"),
        ([], "no target"),
    ],
)
def test_wrong_targets(text, words):
    with pytest.raises(UsageError, match=words):
        parse_targets(text)


def test_int8_is_for_targets_that_name_no_precision():
    targets = parse_targets("onnxruntime,openvino:float16,onnxruntime:int8,tflite")
    assert [str(t) for t in lowering.in_int8(targets)] == [
        "onnxruntime:int8", "openvino:float16", "tflite:int8"
    ]  # fmt: skip
    assert [t.calibrated for t in parse_targets("openvino:int8,openvino:int8-weights,openvino")] == [
        True, False, False
    ]  # fmt: skip


def test_missing_runtime_gives_the_install_line(monkeypatch):
    room = ("tdedge_exporters.openvino", "no_such_runtime", "openvino", ("float32",))
    monkeypatch.setitem(lowering.TARGETS, "openvino", room)
    with pytest.raises(MissingError, match=r"pip install 'tdedge\[openvino\]'"):
        lowering.require(Target("openvino"))
    lowering.require(Target("onnxruntime"))


@pytest.mark.parametrize("name", BOTH)
def test_files_of_a_target(tmp_path, name):
    lowered = lowering.lower(classifier(), tmp_path, Target(name))
    assert lowered.entry == lowered.files[0]
    assert sorted(tmp_path.iterdir()) == sorted(lowered.files)
    with open_session(name, lowered.entry) as session:
        assert session.describe()["version"].startswith(lowered.runtime_version)


@pytest.mark.parametrize("name", BOTH)
def test_probe_gives_inner_values(tmp_path, name):
    model = classifier()
    target = Target(name)
    (feed,) = random_inputs(model, 4)
    wanted = evaluate(model, feed, intermediates=True)
    lowered = lowering.lower(model, tmp_path, target)
    values = lowering.probe(target, lowered.entry, feed, ["d", "a", "y", "nowhere"])
    assert sorted(values) == ["a", "d", "y"]
    for key, value in values.items():
        assert np.abs(value - wanted[key]).max() < 1e-5 * np.abs(wanted[key]).max()


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("node", "first"), [("n_a", "a"), ("n_c", "c"), ("n_y", "y")])
def test_first_diverging_tensor_is_that_of_the_changed_weight(tmp_path, name, node, first):
    model = classifier()
    target = Target(name)
    lowered = lowering.lower(model, tmp_path, target)
    reference = Reference(model, random_inputs(model, 0, 2))

    def probe(feed, names):
        return lowering.probe(target, lowered.entry, feed, names)

    assert reference.first_diverging(probe) is None
    damage(lowered.entry, model.graph.node(node).inputs[1].const_value.numpy())
    assert reference.first_diverging(probe) == first
    with open_session(name, lowered.entry) as session:
        report = verify(model, session.run, reference.inputs, probe=probe)
    assert not report.passed
    assert report.first_diverging == first
