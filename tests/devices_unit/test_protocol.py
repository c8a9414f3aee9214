"""The protocol on this machine as a device, with workers that are killed and that hang."""

import os
import stat
import time
from pathlib import Path

import pytest

from tdedge.errors import DeviceError, UsageError
from tdedge.report.runs import plan_runs
from tdedge_devices import link as link_module
from tdedge_devices.address import connect
from tdedge_devices.link import Link
from tdedge_devices.protocol import Protocol, bench
from tdedge_devices.run_log import RunLog
from tdedge_runtimes.measure import MeasureOptions

OPTIONS = MeasureOptions(max_seconds=0, warmup_seconds=0.01, min_blocks=4, resamples=100)
#: Counts its calls; what it does on call $1 is put in.
PYTHON = """#!/bin/sh
echo x >> {folder}/calls
if [ $(wc -l < {folder}/calls) = {call} ]; then echo $$ >> {folder}/pids; {what}; fi
exec {python} "$@"
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(link_module, "_PAUSES_S", (0.01,))


@pytest.fixture
def models(artifacts):
    return plan_runs([artifacts / "base", artifacts / "small"], "tflite")


@pytest.fixture
def measured(home, models):
    """Measure on this machine; the interpreter may be another, and the device wrapped."""

    def run(*, python=None, wrap=lambda device: device, log=None, **options):
        settings = {"python": str(python)} if python else {}
        kept = log or RunLog()
        protocol = Protocol(**{"options": OPTIONS, "rounds": 2, "memory": False, **options})
        pieces = kept.begin("here", protocol.plan(models))
        link = Link(lambda: wrap(connect("local:", settings)), lost=pieces.note, timeout_s=protocol.timeout_s)
        try:
            return bench(link, models, protocol, settings, pieces=pieces), pieces
        finally:
            link.close()

    return run


@pytest.fixture
def python_that(tmp_path):
    """An interpreter that does something else on one of its calls."""

    def make(what, call):
        import sys

        path = tmp_path / "python"
        path.write_text(PYTHON.format(folder=tmp_path, call=call, what=what, python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def test_everything_of_a_device(measured, models):
    found, pieces = measured(memory=True, profile=True, energy=True, sustained_s=0.5)
    assert found["errors"] == []
    assert found["figure_kind"] == "measured"
    assert found["environment"]["versions"]["ai-edge-litert"]
    entry = found["targets"]["tflite"]
    assert entry["valid"]
    assert [one["valid"] for one in entry["rounds"]] == [True, True]
    assert [report["passed"] for report in entry["parity"].values()] == [True, True]
    for label in ("base", "small"):
        model = entry["result"]["models"][label]
        assert len(model["latency"]["samples_ms"]) == 8  # two rounds of four blocks
        assert model["memory"]["peak_rss_bytes"]["value"] > 0
        assert model["memory"]["own_peak_rss_bytes"]["kind"] == "measured"
        assert entry["profiles"][label]["ops"]
        figure = entry["energy"][label]["net_j_per_inference"]
        assert (figure["value"] is None) == bool(figure.get("reason"))
        assert entry["sustained"][label]["complete"]
        assert entry["costs"][label]["weight_bytes"] > 0
    assert entry["result"]["ratios"]["small"]["reference"] == "base"
    assert pieces.notes == []


def test_a_killed_worker_costs_its_round_alone(measured, python_that):
    found, pieces = measured(python=python_that("kill -9 $$", 4), rounds=3)  # look, 2 parities, round 1
    entry = found["targets"]["tflite"]
    assert [one["valid"] for one in entry["rounds"]] == [False, True, True]
    assert "SIGKILL" in entry["rounds"][0]["reasons"][0]
    assert entry["valid"]
    assert len(entry["result"]["models"]["base"]["latency"]["samples_ms"]) == 8
    (error,) = found["errors"]
    assert (error["piece"], error["exit_code"]) == ("tflite/latency/0", 1)
    assert "SIGKILL" in pieces.notes[0]


def test_a_hung_worker_is_ended_on_the_device(measured, python_that, tmp_path):
    start = time.monotonic()
    found, _ = measured(python=python_that("exec sleep 300", 4), timeout_s=3)
    assert time.monotonic() - start < 100
    entry = found["targets"]["tflite"]
    assert [one["valid"] for one in entry["rounds"]] == [False, True]
    assert "took longer than" in entry["rounds"][0]["reasons"][0]
    (pid,) = (tmp_path / "pids").read_text().split()
    assert not Path(f"/proc/{pid}").exists()


def test_all_workers_killed_is_no_result(measured, python_that, tmp_path):
    python = python_that("true", 0)
    python.write_text(python.read_text().replace("= 0 ]", "-ge 4 ]").replace("true; fi", "kill -9 $$; fi"))
    found, _ = measured(python=python)
    entry = found["targets"]["tflite"]
    assert (entry["valid"], entry["result"]) == (False, None)
    assert len(entry["rounds"]) == 2
    assert {error["exit_code"] for error in found["errors"]} == {1}


class Cut:
    """A device whose connection is lost after some jobs."""

    def __init__(self, device, jobs):
        self._device, self._left = device, jobs

    def __getattr__(self, name):
        return getattr(self._device, name)

    def do(self, job, *, timeout_s=600.0):
        self._left[0] -= 1
        if self._left[0] == 0:
            raise DeviceError("connection reset")
        return self._device.do(job, timeout_s=timeout_s)


def test_a_lost_connection_is_made_again_and_noted(measured):
    left = [3]
    found, pieces = measured(wrap=lambda device: Cut(device, left))
    assert found["errors"] == []
    assert found["targets"]["tflite"]["valid"]
    assert pieces.notes == ["connection lost, trying again: connection reset"]


def test_a_device_lost_for_good_leaves_what_there_is(measured, tmp_path):
    lives = iter([4])  # two parities and the first round; then nobody answers

    def wrap(device):
        if (jobs := next(lives, None)) is None:
            device.close()
            raise DeviceError("no route to host")
        return Cut(device, [jobs])

    path = tmp_path / "run.jsonl"
    with RunLog(path) as log:
        found, _ = measured(wrap=wrap, log=log)
    entry = found["targets"]["tflite"]
    assert [one["valid"] for one in entry["rounds"]] == [True]
    assert len(entry["result"]["models"]["base"]["latency"]["samples_ms"]) == 4
    (error,) = found["errors"]
    assert (error["piece"], error["exit_code"]) == ("connection", 4)
    with RunLog(path, resume=True) as log:
        found, pieces = measured(log=log)
    assert found["errors"] == []
    assert [one["valid"] for one in found["targets"]["tflite"]["rounds"]] == [True, True]
    assert "resumed with 4 pieces done before" in pieces.notes
    done = [line for line in path.read_text().splitlines() if '"tflite/latency/0"' in line]
    assert len(done) == 1


def test_a_log_from_the_future_is_gone_on_with(measured, tmp_path):
    path = tmp_path / "run.jsonl"
    with RunLog(path, now=lambda: time.time() + 86400) as log:
        measured(log=log, rounds=1)
    before = path.read_text().count('"piece"')
    with RunLog(path, resume=True) as log:
        found, pieces = measured(log=log, rounds=1)
    assert found["targets"]["tflite"]["valid"]
    assert path.read_text().count('"piece"') == before
    assert any("later than this machine's clock" in note for note in pieces.notes)


def test_throttled_rounds_do_not_count(measured, home, monkeypatch):
    """A vcgencmd as on a Raspberry Pi that reports under-voltage, found on the device's PATH."""
    tools = home / "tools"
    tools.mkdir()
    (tools / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x50005\n")
    (tools / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    found, _ = measured()
    entry = found["targets"]["tflite"]
    assert not entry["valid"]
    assert entry["reasons"] == [
        "under-voltage (vcgencmd get_throttled 0x50005)",
        "throttled (vcgencmd get_throttled 0x50005)",
    ]
    assert [len(one["samples_ms"]["base"]) for one in entry["rounds"]] == [4, 4]
    assert entry["result"]["models"]["base"]["latency"]["count"] == 16
    assert found["errors"][-1]["message"].startswith("no round counts: under-voltage")


def test_a_governor_that_cannot_be_set_is_told(measured):
    found, _ = measured(governor="performance-of-another-world")
    (error,) = found["errors"]
    assert error["exit_code"] == 2
    assert error["message"].startswith("--governor performance-of-another-world: ")


def test_a_plan_knows_its_files(models, tmp_path):
    plan = Protocol().plan(models)
    assert set(plan) == {"models (tflite, base)", "models (tflite, small)", "options"}
    assert plan == Protocol(energy=True).plan(models)
    assert plan != Protocol(rounds=4).plan(models)
    with pytest.raises(UsageError, match="--rounds 0"):
        Protocol(rounds=0)


def test_a_device_that_can_do_little_says_so(measured):
    """As a browser: latency and outputs, no memory, no operators, no load, no commands."""

    class Browser(Cut):
        job_kinds = frozenset({"latency", "run"})
        shell = None

    found, _ = measured(
        wrap=lambda device: Browser(device, [0]), memory=True, profile=True, energy=True, sustained_s=1
    )
    assert found["errors"] == []
    entry = found["targets"]["tflite"]
    assert entry["valid"]
    assert entry["rounds"][0]["gate"]["state"] == "unknown"
    told = entry["result"]["models"]["base"]["memory"]
    assert (told["peak_rss_bytes"]["value"], bool(told["peak_rss_bytes"]["reason"])) == (None, True)
    assert entry["profiles"]["base"] == {"reason": "this device tells no time of single operators"}
    assert "runs no commands" in entry["energy"]["base"]["net_j_per_inference"]["reason"]
    assert not entry["sustained"]["base"]["complete"]


def test_a_device_without_outputs_has_no_parity(measured):
    class Tool(Cut):
        job_kinds = frozenset({"latency"})

    found, _ = measured(wrap=lambda device: Tool(device, [0]))
    assert found["targets"]["tflite"]["parity"]["base"]["passed"] is None
    assert found["errors"] == []


def test_a_temperature_that_is_told_no_more_does_not_end_the_run(measured, home, monkeypatch):
    """The first answer is hot, so the device cools down; then the sensor is silent."""
    tools = home / "tools"
    tools.mkdir()
    script = f'#!/bin/sh\n[ -e {home}/told ] && exit 1\ntouch {home}/told\necho "temp=71.0\'C"\n'
    (tools / "vcgencmd").write_text(script)
    (tools / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    found, _ = measured(rounds=1, cool_down_s=2)
    assert found["errors"] == []
    (one,) = found["targets"]["tflite"]["rounds"]
    assert (one["gate"]["state"], one["gate"]["conditions"]["celsius"]) == ("unknown", None)
