"""Times of OpenVINO's nodes: the mean of the runs that are asked for, free of the slow first one."""

from datetime import timedelta
from types import SimpleNamespace

import jsonschema
import pytest

from tdedge_runtimes.client import result_schema, run_job
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError
from tdedge_runtimes.openvino import OpenVinoSession
from tdedge_runtimes.openvino_profile import _mean_us, profile


def test_every_executed_node_is_told_in_order(nets):
    ops = profile(nets / "small.onnx", runs=4)
    assert "Convolution" in {op.op_type for op in ops}
    assert [op.ordinal for op in ops] == [op.node for op in ops] == list(range(len(ops)))
    assert max(op.mean_us for op in ops) > 0


def test_a_node_below_a_microsecond_at_one_moment_is_told(nets, monkeypatch):
    """Of three nodes one counts as not run after the first runs, one after all, and one always."""

    def node(name, us):
        status = "Status.EXECUTED" if us else "Status.NOT_RUN"
        time = timedelta(microseconds=us)
        return SimpleNamespace(node_name=name, node_type="Convolution", status=status, real_time=time)

    told = iter([[node("a", 9), node("b", 0), node("c", 0)], [node("a", 0), node("b", 5), node("c", 0)]])
    monkeypatch.setattr(OpenVinoSession, "counted", lambda session: next(told))
    assert [(op.ordinal, op.name, op.mean_us >= 0) for op in profile(nets / "small.onnx", runs=2)] == [
        (0, "a", True),
        (1, "b", True),
    ]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [([], [], "no node took a microsecond"), (["a"], ["b"], "other nodes after each run")],
)
def test_counters_that_make_no_profile_are_refused(nets, monkeypatch, first, second, words):
    told = iter(
        [[SimpleNamespace(node_name=name, status="x") for name in names] for names in (first, second)]
    )
    monkeypatch.setattr(OpenVinoSession, "counted", lambda session: next(told))
    with pytest.raises(RuntimeFailed, match=words):
        profile(nets / "small.onnx")


def test_the_slow_first_run_does_not_count():
    """Three runs of 3000, 30 and 30 us, then twenty of 30: averages 1020 and 159 (cut off)."""
    early, late = (SimpleNamespace(real_time=timedelta(microseconds=us)) for us in (1020, 159))
    assert _mean_us(early, late, 20) == pytest.approx(30, abs=1.3)


def test_a_fresh_process_gives_a_valid_result(nets):
    model = {"path": str(nets / "small.onnx"), "runtime": "openvino"}
    result = run_job({"kind": "profile", "model": model, "runs": 3})
    jsonschema.Draft202012Validator(result_schema()).validate(result)
    assert "averages" in result["model"]["profile"]["method"]


def test_no_run_is_refused(nets):
    with pytest.raises(RuntimeInputError, match="threads is 0"):
        profile(nets / "small.onnx", threads=0)
