"""Several devices side by side: one that fails, one that is busy, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tdedge.errors import DeviceError
from tdedge.report.runs import plan_runs
from tdedge_devices import fleet, locks
from tdedge_devices.address import connect
from tdedge_devices.inventory import Named
from tdedge_devices.protocol import Protocol
from tdedge_devices.run_log import RunLog
from tdedge_runtimes.measure import MeasureOptions

OPTIONS = MeasureOptions(max_seconds=0, warmup_seconds=0.01, min_blocks=4, resamples=100)
HOW = Protocol(options=OPTIONS, rounds=1, memory=False)


@pytest.fixture
def models(artifacts):
    return plan_runs([artifacts / "base", artifacts / "small"], "tflite")


def here(url, settings):
    """Every address is this machine, but one that nobody answers at."""
    if "gone" in url:
        raise DeviceError(f"{url} cannot be reached")
    return connect("local:", dict(settings))


def test_a_device_that_is_gone_costs_the_others_nothing(home, models):
    devices = [Named("a", "ssh://a"), Named("gone", "ssh://gone"), Named("b", "ssh://b")]
    said = []
    found = fleet.run(
        devices, models, HOW, log=RunLog(), connect=here, say=lambda name, line: said.append(name)
    )
    assert [found[name]["targets"]["tflite"]["valid"] for name in ("a", "b")] == [True, True]
    assert found["gone"]["errors"] == [
        {"piece": "connection", "message": "ssh://gone cannot be reached", "exit_code": 4}
    ]
    assert found["gone"]["targets"] == {}
    assert fleet.exit_code(found) == 4
    assert fleet.exit_code({"a": found["a"]}) == 0
    assert set(said) == {"a", "b", "gone"}
    with locks.hold("ssh://a", "a"):
        pass


def test_a_target_that_a_device_cannot_run_is_no_failure_where_it_ran_another():
    ran, could_not = {"result": {}, "valid": True}, {"result": None, "valid": False}
    missing = {"piece": "openvino/latency/0", "message": "not installed", "exit_code": 3}
    one = {"targets": {"tflite": ran, "openvino": could_not}, "errors": [missing]}
    assert fleet.exit_code({"phone": one}) == 0
    assert fleet.exit_code({"phone": {**one, "errors": [{**missing, "exit_code": 1}]}}) == 1
    assert fleet.exit_code({"phone": {**one, "targets": {"openvino": could_not}}}) == 3
    assert fleet.exit_code({"phone": {**one, "errors": [{**missing, "piece": "tflite/energy"}]}}) == 3


def test_a_device_in_use_is_not_waited_for(home, models):
    with locks.hold("ssh://busy", "busy"):
        found = fleet.run([Named("busy", "ssh://me@busy")], models, HOW, log=RunLog(), connect=here)
    (error,) = found["busy"]["errors"]
    assert error["exit_code"] == 4
    assert f"device busy is in use by process {os.getpid()}" in error["message"]


def test_mistakes_of_ours_are_not_hidden(home, models):
    def broken(url, settings):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fleet.run([Named("a", "ssh://a")], models, HOW, log=RunLog(), connect=broken)


def test_ctrl_c_ends_everything_and_the_log_goes_on(home, artifacts):
    """A real interrupt of a real command while the worker runs: no orphan, exit code 130, then --resume."""
    log = home / "run.jsonl"
    command = [
        *(sys.executable, "-m", "tdedge.cli.main", "bench", "base", "small", "--on", "local:"),
        *("--runtime", "tflite", "--seconds", "0", "--rounds", "2", "--no-memory", "--log", str(log)),
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "--sustained", "1h"],
        cwd=artifacts,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for line in process.stderr:
        if "tflite/sustained/base" in line:
            break
    time.sleep(2)  # the worker is at work
    assert workers(home)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with the same command and --resume" in said
    assert workers(home) == []
    assert log.read_text().count('"piece"') == 5  # the device, two parities, two rounds
    log.write_text(log.read_text().replace('"sustained_s": 3600.0', '"sustained_s": 0.5'))
    done = subprocess.run(
        [*command, "--sustained", "0.5", "--resume", "-q"],
        cwd=artifacts,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert log.read_text().count("tflite/parity/base") == 1
    assert log.read_text().count("tflite/latency/1") == 1
    assert log.read_text().count("tflite/sustained/") == 2


def workers(home):
    """Command lines of processes that run the worker's archive of this test."""
    found = []
    for name in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if str(home).encode() in line and b"worker.pyz" in line:
            found.append(line)
    return found
