"""The sampler of devices without Python, in the shells there are here."""

import json
import shutil
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from tdedge.errors import DeviceError
from tdedge_devices.shell_sampler import command, translated

SHELLS = [path for name in ("dash", "bash", "mksh", "busybox") if (path := shutil.which(name))]


def taken(argv, count):
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        lines = (line.rstrip("\n") for line in process.stdout)
        return [json.loads(line) for line in islice(translated(lines), count)]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_same_samples_in_every_shell(shell, tmp_path):
    (tmp_path / "it's a file").write_text("t=5\nCH0(T=5)[S2M], 7\n")
    (tmp_path / "one").write_text("4063")
    request = {
        "interval_ms": 20,
        "files": {
            "many lines": str(tmp_path / "it's a file"),
            "one": str(tmp_path / "one"),
            "absent": str(tmp_path / "absent"),
        },
        "commands": {"echo": ["printf", "%s\n%s", "$HOME", "x y"], "gone": ["/no/such/program"]},
    }
    argv = command(request)
    prefix = [shell, "sh"] if shell.endswith("busybox") else [shell]
    samples = taken([*prefix, *argv[1:]], 6)
    values = samples[0]["values"]
    assert values["many lines"] == "t=5\nCH0(T=5)[S2M], 7"
    assert (values["one"], values["absent"], values["echo"]) == ("4063", None, "$HOME\nx y")
    assert "/no/such/program" in values["gone"]  # the shell's own words
    times = [sample["ns"] for sample in samples]
    assert times == sorted(times) and times[-1] - times[0] >= 0.08e9


def test_its_clock_is_that_of_the_uptime():
    before = float(Path("/proc/uptime").read_text().split()[0])
    ns = taken(command({"interval_ms": 1, "files": {}}), 1)[0]["ns"]
    after = float(Path("/proc/uptime").read_text().split()[0])
    assert before * 1e9 <= ns <= after * 1e9


def test_what_is_cut_off_is_left_out():
    lines = ["welcome", "\x01b10.00", "\x01nx", "1", "\x01e10.02", "\x01b11.00", "\x01nx", "2"]
    assert [json.loads(line) for line in translated(lines)] == [{"ns": 10_010_000_000, "values": {"x": "1"}}]


def test_streams_need_python():
    with pytest.raises(DeviceError, match="without Python"):
        command({"streams": {"line": ["tegrastats"]}})
