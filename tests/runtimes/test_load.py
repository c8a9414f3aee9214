"""Inference without a pause: how long, how many, and what is timed."""

import time

import jsonschema
import numpy as np
import pytest

from tdedge_runtimes.client import result_schema, run_job
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.jobs import do_job
from tdedge_runtimes.load import make_load
from tdedge_runtimes.measure import MeasureOptions

BRIEF = {"warmup_seconds": 0, "resamples": 50}
OPTIONS = MeasureOptions(warmup_seconds=0.01, resamples=50)


class Counted:
    """A call of about a given length that counts itself."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.begins = []

    def __call__(self):
        self.begins.append(time.monotonic_ns())
        while time.monotonic_ns() - self.begins[-1] < self.seconds * 1e9:
            pass


def test_every_call_of_the_window_counts_and_none_else():
    call = Counted(0.002)
    load, first = make_load(call, OPTIONS, 0.2, 10)
    inside = [ns for ns in call.begins if load["begin_ns"] <= ns < load["end_ns"]]
    assert load["inferences"] == len(inside)
    assert load["inferences"] == sum(map(len, load["samples_ms"])) == load["latency"]["count"]
    assert load["end_ns"] - load["begin_ns"] >= 0.2e9
    assert min(map(min, load["samples_ms"])) >= 2 and first["value"] >= 2
    assert len(call.begins) - len(inside) >= 1 + 3  # the first, and the warm-up


def test_slow_calls_are_made_at_least_so_often():
    load, _ = make_load(Counted(0.01), OPTIONS, 0.001, 12)
    assert load["inferences"] == 12
    assert load["end_ns"] - load["begin_ns"] >= 0.12e9


def test_of_very_short_calls_a_row_keeps_a_thousand_samples():
    load, _ = make_load(Counted(0), OPTIONS, 0.5, 10)
    lengths = {len(row) for row in load["samples_ms"]}
    assert len(lengths) == 1 and lengths.pop() <= 1000
    stride = int(load["latency"]["method"].rpartition("one call in ")[2].split()[0])
    assert stride > 1
    assert load["inferences"] == stride * load["latency"]["count"]


def test_the_job(nets):
    job = {"kind": "load", "model": {"path": str(nets / "small.onnx")}, "options": BRIEF, "seconds": 0.3}
    before = time.monotonic_ns()
    result = run_job({**job, "min_inferences": 20})
    after = time.monotonic_ns()
    validator = jsonschema.Draft202012Validator(result_schema())
    validator.validate(result)
    load = result["load"]
    assert before < load["begin_ns"] < load["end_ns"] < after
    assert load["inferences"] >= 20
    assert np.median(load["samples_ms"]) == load["latency"]["median_ms"]
    assert result["model"]["first_inference"]["value"] > 0
    del result["load"]["inferences"]
    assert not validator.is_valid(result)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"seconds": 0}, "seconds is 0; expected more than 0"),
        ({"seconds": "10"}, "seconds is '10'"),
        ({"seconds": float("inf")}, "at most a day"),
        ({"min_inferences": 0}, "min_inferences is 0; expected a whole number"),
        ({"models": {}}, "a load job has no key 'models'"),
    ],
)
def test_wrong_loads_are_named(nets, more, message):
    with pytest.raises(RuntimeInputError, match=message):
        do_job({"kind": "load", "model": {"path": str(nets / "small.onnx")}, **more})
