"""Energy from beginning to end: a recorded device that plays a known power, the real sampler, a real model.

The power is a function of CLOCK_MONOTONIC, so the energy between the moments that the result tells is known
in closed form.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support import players
from support.networks import save_classifier
from support.players import WAVE

from tdedge.errors import DeviceError
from tdedge_devices import address, energy
from tdedge_devices.replay import ReplayDevice
from tdedge_runtimes.client import result_schema, run_job

TESTS = Path(__file__).parents[1]
#: The real rules, with less time.
BRIEF = {
    "energy_idle_s": "0.8",
    "energy_run_s": "1.2",
    "energy_settle_s": "0.05",
    "energy_windows": "1",
    "energy_samples": "15",
    "energy_drift": "0.1",
    "energy_gap_s": "1",
    "energy_interval_ms": "10",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_classifier(tmp_path_factory.mktemp("net") / "small.onnx"))


@pytest.fixture
def jobs(model):
    return {"small": {"kind": "load", "model": {"path": model}, "options": {"warmup_seconds": 0.05}}}


@pytest.fixture
def playing():
    """A call: the folder of a device that plays from now on; in memory, so that no disk delays it."""
    processes = []
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))

    def play(kind):
        players.install(folder, kind)
        if kind not in players.BODIES:
            command = [sys.executable, "-m", "support.players", str(folder), kind]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
            processes.append(subprocess.Popen(command, env=environment))
            wait_for_news(folder)
        return folder

    yield play
    for process in processes:
        process.kill()
        process.wait()
    shutil.rmtree(folder)


def wait_for_news(folder):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    before, deadline = stamps(), time.monotonic() + 20
    while stamps() == before:
        assert time.monotonic() < deadline, "the player does not play"
        time.sleep(0.02)


def check(result, rel):
    """Every window against the closed form."""
    for window in result["windows"]:
        assert not window["refused"]
        expected = WAVE.joules(window["end_ns"] * 1e-9) - WAVE.joules(window["begin_ns"] * 1e-9)
        assert window["gross_j"] == pytest.approx(expected, rel=rel)
    gross = [window["gross_j"] / window["inferences"] for window in result["windows"]]
    figure = result["gross_j_per_inference"]
    assert figure == {"value": pytest.approx(float(np.median(gross))), "unit": "J", "kind": figure["kind"]}
    idle_w = result["idle_power_w"]["value"]
    assert idle_w == pytest.approx(WAVE.mean, rel=0.05)
    # What is played is as much while idle, but for the waves at the ends of the times.
    net = result["net_j_per_inference"]
    assert (
        "more than idling" in net["reason"] if net["value"] is None else net["value"] < 0.1 * figure["value"]
    )


def test_a_counter_that_begins_again_in_between_and_its_recording(playing, jobs, model, tmp_path_factory):
    """Two models in turns; then the same figures from the recording alone."""
    kept = tmp_path_factory.mktemp("kept")
    said = []
    both = {**jobs, "again": jobs["small"]}
    with address.connect(f"replay:{playing('rapl')}") as device:
        results = energy.measure(device, both, {**BRIEF, "energy_windows": "2"}, folder=kept, say=said.append)
    for result in results.values():
        check(result, rel=0.02)  # as late as the player may be
        assert result["gross_j_per_inference"]["kind"] == "replayed"
        assert (result["sensor"], result["scope"]) == ("rapl", "package")
        assert len(result["windows"]) == 2
    order = sorted(
        (window["begin_ns"], label) for label, each in results.items() for window in each["windows"]
    )
    assert [label for _, label in order] == ["small", "again", "small", "again"]
    assert "window 4 of 4, again" in said[-1]
    with address.connect(f"replay:{kept}") as device:
        assert isinstance(device, ReplayDevice)
        assert energy.measure(device, both) == results
        assert (
            "no window of 'other'"
            in energy.measure(device, {"other": {}})["other"]["net_energy_mj"]["reason"]
        )


@pytest.mark.parametrize(("kind", "rel"), [("ina3221", 0.02), ("vcgencmd", 0.02), ("tegrastats", 0.01)])
def test_powers(playing, jobs, kind, rel):
    """Files, a program that is run for every sample, and one that prints by itself."""
    sensor = {"vcgencmd": "pmic"}.get(kind, kind)
    with address.connect(f"replay:{playing(kind)}") as device:
        settings = {**BRIEF, "sensors": sensor}
        result = energy.measure(device, jobs, settings)["small"]
    check(result, rel)
    assert result["sensor"] == sensor


def test_a_cable_that_is_put_in_meanwhile(playing, jobs):
    folder = playing("battery")
    with address.connect(f"replay:{folder}") as device:
        real = device.do

        def do(job, **more):
            result = real(job, **more)
            (folder / "tree" / players.BATTERY[1:] / "status").write_text("Charging\n")
            return result

        device.do = do
        result = energy.measure(device, jobs, BRIEF)["small"]
    assert "status is Charging" in result["net_j_per_inference"]["reason"]
    assert result["windows"][0]["gross_j"] > 0


def test_a_voltage_that_breaks_down_meanwhile(playing, jobs):
    """A Raspberry Pi says afterwards that its voltage was too low in between."""
    folder = playing("vcgencmd")
    with address.connect(f"replay:{folder}") as device:
        real = device.do

        def do(job, **more):
            result = real(job, **more)
            (folder / "bin" / "vcgencmd.bits").write_text("0x50000")
            return result

        device.do = do
        result = energy.measure(device, jobs, BRIEF)["small"]
    assert "under-voltage in between" in result["gross_j_per_inference"]["reason"]


def test_a_meter_at_this_machine_writes_a_table(playing, jobs):
    folder = playing("csv")
    settings = {"sensors": "csv", "csv": str(folder / "meter.csv"), "csv_time": "Time:iso8601"}
    with address.connect("local:") as device:
        result = energy.measure(device, jobs, {**BRIEF, **settings, "csv_power": "Power:mW"})["small"]
    check(result, rel=0.01)
    assert result["gross_j_per_inference"]["kind"] == "measured"


def test_a_device_without_python(playing, jobs):
    """A phone: the shell samples, on the clock of /proc/uptime."""

    class Phone:
        url, figure_kind, job_kinds = "phone:", "measured", frozenset({"load"})

        def __init__(self, shell):
            self.shell = shell

        def do(self, job, *, timeout_s):
            result = run_job(job, timeout_s=timeout_s)
            offset = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
            for key in ("begin_ns", "end_ns"):
                result["load"][key] += offset
            return result

    with address.connect(f"replay:{playing('ina3221')}") as device:
        result = energy.measure(Phone(device.shell), jobs, BRIEF)["small"]
    offset_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    for window in result["windows"]:
        begin, end = (window[key] * 1e-9 - offset_s for key in ("begin_ns", "end_ns"))
        assert window["gross_j"] == pytest.approx(WAVE.joules(end) - WAVE.joules(begin), rel=0.03)


def test_a_sampler_that_dies_is_told(playing, jobs):
    folder = playing("ina3221")
    with address.connect(f"replay:{folder}") as device:
        real = device.do

        def do(job, **more):
            for pid in running("tdedge_runtimes.sampler", str(folder)):
                os.kill(pid, signal.SIGKILL)
            return real(job, **more)

        device.do = do
        with pytest.raises(DeviceError, match=r"the sampler on replay:.* ended by itself"):
            energy.measure(device, jobs, BRIEF)
    assert running("tdedge_runtimes.sampler", str(folder)) == []


def test_ctrl_c_leaves_nothing_behind(playing, model):
    folder = playing("ina3221")
    code = textwrap.dedent(f"""
        from tdedge_devices import address, energy
        with address.connect("replay:{folder}") as device:
            job = {{"model": {{"path": {model!r}}}}}
            energy.measure(device, {{"small": job}}, {{**{BRIEF!r}, "energy_run_s": "60"}}, say=print)
    """)
    command = [sys.executable, "-u", "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while "window 1" not in process.stdout.readline():
            assert process.poll() is None
        deadline = time.monotonic() + 30
        while not running("--until-eof", f"jobs/{process.pid}-"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.wait()
    assert running("tdedge_runtimes.sampler", str(folder)) == []
    assert running("--until-eof", f"jobs/{process.pid}-") == []


def test_no_sensor_says_what_was_looked_for(jobs):
    with address.connect("local:") as device:
        result = energy.measure(device, jobs, {"sensors": "pmic,odpm"})["small"]
    reason = result["gross_j_per_inference"]["reason"]
    assert "no sensor. Looked for pmic: vcgencmd" in reason and "odpm: no meter" in reason


def test_jobs_of_a_replayed_device_are_done_here(playing, jobs, model):
    with address.connect(f"replay:{playing('ina3221')}") as device:
        result = device.do({**jobs["small"], "seconds": 0.1})
        assert result["load"]["latency"]["kind"] == "replayed"
        assert device.shell.read("/sys/class/none") is None
    jsonschema.validate(run_job({**jobs["small"], "seconds": 0.1}), result_schema())


def running(*words):
    """Ids of the processes whose command line holds all these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text(errors="replace")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z" and all(word in line for word in words) and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found
