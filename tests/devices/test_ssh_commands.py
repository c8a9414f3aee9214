"""``tdedge bench --on`` over SSH, from the inventory to the exit code, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys

import pytest
from support.device_jobs import left, nothing_left, worker_of
from support.networks import save_classifier
from support.sshd import host_server

TDEDGE = [sys.executable, "-m", "tdedge.cli.main"]


@pytest.fixture
def server(tmp_path):
    (tmp_path / "sshd").mkdir()
    server = host_server(tmp_path / "sshd")
    yield server
    server.stop()


@pytest.fixture
def start(server, tmp_path):
    """A call: ``tdedge bench`` of two networks on the device, with more options."""
    entries = {"url": server.url, "python": sys.executable, "folder": str(tmp_path / "device")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in (entries | server.settings).items()]
    (tmp_path / "devices.toml").write_text("\n".join(["[devices.board]", *lines, ""]))
    for seed, name in enumerate(("base", "small")):
        save_classifier(tmp_path / f"{name}.onnx", seed=seed)
    environment = {
        **os.environ,
        "TDEDGE_DEVICES": str(tmp_path / "devices.toml"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    command = [*TDEDGE, "bench", "base.onnx", "small.onnx", "--on", "board", "--log", "log.jsonl"]

    def run(*more) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *more],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def log(tmp_path):
    return [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


def test_ctrl_c(start, tmp_path):
    with start("--seconds", "60") as process:
        worker_of(tmp_path / "device")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "tdedge: interrupted; nothing was left half-written"
    assert left(tmp_path / "device") == []
    assert log(tmp_path)[0]["event"] == "begin"


def test_the_server_goes(start, server, tmp_path):
    with start("--seconds", "60") as process:
        worker_of(tmp_path / "device")
        server.stop()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 4
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"tdedge: board: {server.url} cannot be reached: ")
    assert nothing_left(tmp_path / "device")
    assert log(tmp_path)[0]["event"] == "begin"


def test_a_connection_that_is_cut_once_is_made_again(start, server, tmp_path):
    with start("--seconds", "6", "--no-memory", "--output", "result.json") as process:
        worker_of(tmp_path / "device")
        server.cut()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    text = (tmp_path / "result.json").read_text()
    assert {"base.onnx", "small.onnx"} <= set(_labels(json.loads(text)))
    assert left(tmp_path / "device") == []


def _labels(document):
    """Every key of a JSON document."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from _labels(value)
    elif isinstance(document, list):
        for value in document:
            yield from _labels(value)
