"""The order of the calls, the budgets, and what is kept of them; never how long anything took."""

from collections import Counter

import numpy as np
import pytest

from tdedge_runtimes import measure as module
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.figures import measured, not_measurable
from tdedge_runtimes.measure import Measurement, MeasureOptions, block_order, measure
from tdedge_runtimes.session import open_session, random_inputs

BRIEF = {"warmup_seconds": 0.0, "max_seconds": 0.0, "resamples": 100}


class Recorder:
    """A session whose bound call writes its label into a shared list."""

    def __init__(self, label, calls):
        self.label, self.calls = label, calls

    def bind(self, inputs):
        assert inputs == {"for": self.label}
        return lambda: self.calls.append(self.label)


def record(labels, options):
    calls = []
    sessions = {label: Recorder(label, calls) for label in labels}
    return calls, measure(sessions, {label: {"for": label} for label in labels}, options)


def test_the_order_rotates():
    assert [block_order(["a", "b", "c"], block) for block in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_every_call_in_its_place():
    """First inference, warm-up, then per block: untimed, timed, untimed, timed, in rotating order."""
    calls, result = record(["a", "b"], MeasureOptions(warmup_calls=3, min_blocks=3, per_block=2, **BRIEF))
    assert "".join(calls) == "ab" + "aaabbb" + ("aaaabbbb" + "bbbbaaaa" + "aaaabbbb")
    assert result.orders == [["a", "b"], ["b", "a"], ["a", "b"]]
    assert {label: [len(block) for block in blocks] for label, blocks in result.latencies_ms.items()} == {
        "a": [2, 2, 2],
        "b": [2, 2, 2],
    }


def test_calls_without_warm_up_and_without_untimed_ones():
    options = MeasureOptions(threads=2, max_seconds=60.0).counted()
    assert (options.threads, options.max_seconds) == (2, 0.0)
    calls, result = record(["a", "b"], options)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert MeasureOptions.from_json(options.to_json()) == options
    assert [len(blocks) for blocks in result.latencies_ms.values()] == [2, 2]


def test_every_model_has_every_place_equally_often():
    _, result = record(["a", "b", "c"], MeasureOptions(warmup_calls=1, min_blocks=9, **BRIEF))
    places = Counter((label, place) for order in result.orders for place, label in enumerate(order))
    assert set(places.values()) == {3}


def test_blocks_stop_at_their_limit():
    options = MeasureOptions(min_blocks=2, max_blocks=7, max_seconds=60.0, warmup_seconds=0.0)
    assert len(record(["a"], options)[1].orders) == 7


def test_time_stops_the_blocks(monkeypatch):
    """A clock that moves one second per reading: blocks begin at 1, 2, 3 ... seconds of the window."""
    now = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(now)))
    options = MeasureOptions(min_blocks=2, max_blocks=100, max_seconds=4.0, warmup_seconds=0.0)
    assert len(record(["a"], options)[1].orders) == 5


def test_warm_up_lasts_as_long_as_asked(monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(now)))
    options = MeasureOptions(warmup_calls=1, warmup_seconds=6.0, min_blocks=2, max_seconds=0.0)
    calls, _ = record(["a"], options)
    assert len(calls) == 1 + 6 + 2 * 4


def test_two_models_side_by_side(nets):
    with (
        open_session("onnxruntime", nets / "small.onnx") as small,
        open_session("openvino", nets / "large.onnx") as large,
    ):
        inputs = {"small": random_inputs(small.inputs), "large": random_inputs(large.inputs)}
        options = MeasureOptions(min_blocks=4, per_block=3, **BRIEF)
        result = measure({"small": small, "large": large}, inputs, options)
    statistics, ratios = result.statistics(options), result.ratios(options)
    assert {label: entry["count"] for label, entry in statistics.items()} == {"small": 12, "large": 12}
    assert all(np.array(blocks).min() > 0 for blocks in result.latencies_ms.values())
    assert list(ratios) == ["large"]
    assert ratios["large"]["reference"] == "small"
    assert all(figure["value"] > 0 for figure in result.first_ms.values())
    assert result.window_seconds > 0


def sample(latencies, foreign=None):
    foreign = foreign or measured(0.01, "share of all cores")
    return Measurement(latencies, {}, [], foreign, True, 1.0)


def test_a_model_of_half_the_latency_has_speed_up_two():
    rows = np.random.default_rng(0).gamma(50.0, size=(20, 2))
    ratios = sample({"a": (2 * rows).tolist(), "b": rows.tolist()}).ratios(MeasureOptions(resamples=200))
    speedup = ratios["b"]["speedup"]
    assert speedup["value"] == pytest.approx(2.0)
    assert (speedup["low"], speedup["high"]) == pytest.approx((2.0, 2.0))


def test_two_identical_models_have_an_interval_around_one():
    first, second = np.random.default_rng(5).gamma(50.0, size=(2, 40, 2))
    ratios = sample({"a": first.tolist(), "b": second.tolist()}).ratios(MeasureOptions(resamples=500))
    speedup = ratios["b"]["speedup"]
    assert speedup["low"] < 1.0 < speedup["high"]
    assert speedup["resamples"] == 500


@pytest.mark.parametrize(
    ("foreign", "quiet"),
    [
        (measured(0.05, "share of all cores"), True),
        (measured(0.061, "share of all cores"), False),
        (not_measurable("share of all cores", "no /proc/stat"), False),
    ],
)
def test_quiet_is_known_and_below_the_limit(monkeypatch, foreign, quiet):
    monkeypatch.setattr(module, "foreign_share", lambda before, after: foreign)
    _, result = record(["a"], MeasureOptions(min_blocks=2, **BRIEF))
    assert result.quiet is quiet
    assert result.foreign_cpu == foreign


def test_nothing_to_measure():
    with pytest.raises(RuntimeInputError, match="no model"):
        measure({}, {}, MeasureOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "option threads is 0; expected a whole number from 1"),
        ({"min_blocks": 1}, "option min_blocks is 1"),
        ({"per_block": 1.0}, "option per_block is 1.0"),
        ({"seed": True}, "option seed is True"),
        ({"max_seconds": -1}, "option max_seconds is -1; expected a number of at least 0"),
        ({"max_seconds": float("nan")}, "option max_seconds is nan"),
        ({"quiet_limit": 6}, "option quiet_limit is 6; expected a number between 0 and 1"),
        ({"confidence": 1}, "option confidence is 1"),
        ({"min_blocks": 9, "max_blocks": 8}, "option max_blocks is 8; expected at least min_blocks, 9"),
        ({"cpus": [0, -1]}, "option cpus is"),
        ({"cpus": 3}, "option cpus is 3; expected a list"),
        ({"warmup_second": 1}, "unknown option 'warmup_second'; did you mean 'warmup_seconds'?"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(RuntimeInputError) as raised:
        MeasureOptions.from_json(options)
    assert message in raised.value.message


def test_options_survive_json():
    options = MeasureOptions(threads=2, cpus=(0, 1), max_seconds=3)
    assert MeasureOptions.from_json(options.to_json()) == options
