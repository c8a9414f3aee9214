"""Times of ONNX Runtime's nodes: which they are, in what order, and what a bad profile says."""

import jsonschema
import pytest

from tdedge_runtimes.client import result_schema, run_job
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError
from tdedge_runtimes.onnxruntime_profile import parse, profile


def node(name, start, took, index=0, op="Conv"):
    args = {"op_name": op, "node_index": str(index)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": took, "args": args}


def ran(end):
    return {"cat": "Session", "name": "model_run", "ts": end - 50, "dur": 50}


def test_every_node_is_told_in_order(nets):
    ops = profile(nets / "small.onnx", runs=4)
    assert [op.op_type for op in ops if op.op_type == "Conv"] == ["Conv", "Conv"]
    assert [op.ordinal for op in ops] == list(range(len(ops)))
    assert all(op.min_us <= op.median_us <= op.max_us for op in ops)
    assert max(op.max_us for op in ops) > 0
    assert not any(op.delegated for op in ops)


def test_a_fresh_process_gives_a_valid_result(nets):
    model = {"path": str(nets / "small.onnx")}
    result = run_job({"kind": "profile", "model": model, "options": {"threads": 2}, "runs": 3})
    jsonschema.Draft202012Validator(result_schema()).validate(result)
    assert result["model"]["profile"]["runs"] == 3


def test_the_last_runs_count_and_each_node_of_each():
    events = [
        *(node("a", 0, 900), ran(1000)),
        *(node("b", 1020, 4, 1, "Relu"), node("a", 1000, 10), ran(1050)),
        *(node("a", 2000, 20), node("b", 2030, 6, 1, "Relu"), ran(2060)),
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 5},
    ]
    a, b = parse(events, 2)
    assert (a.name, a.op_type, a.node, a.median_us, a.min_us, a.max_us) == ("a", "Conv", 0, 15, 10, 20)
    assert (b.name, b.op_type, b.node, b.median_us) == ("b", "Relu", 1, 5)


@pytest.mark.parametrize("events", [[], [ran(50)], [node("a", 0, 1), ran(50), node("b", 60, 1), ran(120)]])
def test_a_profile_without_the_runs_is_refused(events):
    with pytest.raises(RuntimeFailed, match="cannot be profiled"):
        parse(events, 2)


def test_no_run_is_refused(nets):
    with pytest.raises(RuntimeInputError, match="runs is 0"):
        profile(nets / "small.onnx", runs=0)
