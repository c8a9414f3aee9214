"""The sampler as the process it is: one file, run from its source alone."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tdedge_runtimes.sampler as sampler

SOURCE = Path(sampler.__file__).read_text(encoding="utf-8")


class Running:
    def __init__(self, request, by_stdin=False):
        text = request if isinstance(request, str) else json.dumps(request)
        argv = [sys.executable, "-I", "-S", "-c", SOURCE] + ([] if by_stdin else [text])
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        if by_stdin:
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()

    def take(self, count):
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process.stderr.close()


@pytest.mark.parametrize("by_stdin", [False, True])
def test_files_and_commands_on_the_monotonic_clock(tmp_path, by_stdin):
    (tmp_path / "power").write_text("1500\n")
    request = {
        "interval_ms": 10,
        "files": {"power": str(tmp_path / "power"), "absent": str(tmp_path / "absent")},
        "commands": {"echo": ["echo", "$HOME; x"], "missing": [str(tmp_path / "missing")]},
    }
    before = time.monotonic_ns()
    with Running(request, by_stdin) as running:
        samples = running.take(5)
    after = time.monotonic_ns()
    times = [sample["ns"] for sample in samples]
    assert times == sorted(set(times)) and before < times[0] and times[-1] < after
    assert samples[0]["values"] == {"power": "1500\n", "absent": None, "echo": "$HOME; x\n", "missing": None}


def test_files_are_read_anew(tmp_path):
    """In place, replaced by another, gone and back, and appearing late."""
    path = tmp_path / "value"
    path.write_text("1")

    def after(text, running):
        return any(running.take(1)[0]["values"]["value"] == text for _ in range(500))

    with Running({"interval_ms": 2, "files": {"value": str(path)}}) as running:
        assert after("1", running)
        with path.open("r+") as stream:
            stream.write("2")
        assert after("2", running)
        (tmp_path / "new").write_text("3")
        (tmp_path / "new").replace(path)
        assert after("3", running)
        path.unlink()
        assert after(None, running)
        path.write_text("4")
        assert after("4", running)


def test_a_kernel_file_that_counts():
    with Running({"interval_ms": 20, "files": {"up": "/proc/uptime"}}) as running:
        values = [float(sample["values"]["up"].split()[0]) for sample in running.take(10)]
    assert values[-1] > values[0]


def test_lines_of_a_stream_are_samples_of_their_own(tmp_path):
    script = tmp_path / "tegrastats"
    script.write_text("#!/bin/sh\nfor i in 1 2 3; do echo VDD_IN ${i}mW/1mW; sleep 0.05; done\nsleep 60\n")
    script.chmod(0o755)
    with Running({"streams": {"stats": [str(script), "--interval", "50"]}}) as running:
        samples = running.take(3)
        assert [sample["values"]["stats"] for sample in samples] == [f"VDD_IN {i}mW/1mW" for i in (1, 2, 3)]
        assert samples[2]["ns"] - samples[0]["ns"] > 0.09e9


def test_it_ends_when_standard_input_closes_and_takes_its_stream_along(tmp_path):
    pid_file = tmp_path / "pid"
    stream = ["sh", "-c", f"echo $$ > {pid_file}; echo up; exec sleep 600"]
    with Running({"interval_ms": 5, "streams": {"s": stream}}) as running:
        running.take(1)
        pid = int(pid_file.read_text())
        os.kill(pid, 0)
        running.process.stdin.close()
        assert running.process.wait(10) == 0
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            break
        time.sleep(0.01)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_it_ends_when_nobody_reads(tmp_path):
    with Running({"interval_ms": 2, "files": {"up": "/proc/uptime"}}) as running:
        running.take(1)
        running.process.stdout.close()
        assert running.process.wait(10) == 0


def test_it_keeps_its_pace():
    """A late sample does not shift those after it: 100 intervals take the time of 100 intervals."""
    with Running({"interval_ms": 5, "files": {"up": "/proc/uptime"}}) as running:
        samples = running.take(101)
    elapsed_ms = (samples[-1]["ns"] - samples[0]["ns"]) / 1e6
    assert elapsed_ms >= 490


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("[]", "not a request"),
        ("{", "not a request"),
        ({"files": {}, "rate": 1}, "no key 'rate'"),
        ({"interval_ms": 0}, "interval_ms is 0"),
    ],
)
def test_wrong_requests(request_, message):
    with Running(request_) as running:
        assert running.process.wait(10) == 2
        assert message in running.process.stderr.read()
