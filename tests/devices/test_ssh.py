"""A Linux machine over SSH: OpenSSH's own server on this machine, and all that can go wrong on the way.

The server has its own keys and port; files go to a folder of the test's own.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.device_jobs import (
    in_background,
    left,
    long_job,
    models_in_parity,
    nothing_left,
    within,
    worker_of,
)
from support.networks import save_classifier
from support.sshd import children, command_of, host_server, kill, processes

from tdedge.errors import DeviceError, MissingError
from tdedge_devices import ssh
from tdedge_devices.address import connect, split
from tdedge_devices.bootstrap import PINS
from tdedge_devices.ssh import open_shell
from tdedge_exporters.export import export
from tdedge_runtimes.client import measure_models
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.measure import MeasureOptions

BRIEF = MeasureOptions(warmup_seconds=0.0, max_seconds=0.0, min_blocks=2, resamples=50)
RUNTIMES = ("onnxruntime", "openvino", "tflite")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = host_server(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "device"


@pytest.fixture
def settings(server, folder):
    return {**server.settings, "python": sys.executable, "folder": str(folder)}


@pytest.fixture
def device(server, settings):
    with connect(server.url, settings) as device:
        yield device


@pytest.fixture
def shell(server):
    shell = open_shell(split(server.url), server.settings)
    yield shell
    shell.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("model") / "net.onnx")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("artifact") / "out"
    export(model, folder, to=RUNTIMES)
    return folder


# --- commands and files


@pytest.mark.parametrize(
    ("command", "code", "stdout", "stderr"),
    [
        (["printf", "%s", "a b;$HOME '"], 0, b"a b;$HOME '", b""),
        (["sh", "-c", "echo out; echo no >&2; exit 7"], 7, b"out\n", b"no\n"),
        (["sh", "-c", "kill -SEGV $$"], 139, b"", b""),
    ],
)
def test_commands(shell, command, code, stdout, stderr):
    done = shell.run(command)
    assert (done.code, done.stdout, done.stderr) == (code, stdout, stderr)


def test_input(shell):
    text = os.urandom(1 << 20)
    assert shell.run(["cat"], stdin=text).stdout == text
    code = "import select; r, _, _ = select.select([0], [], [], 0.5); print('end' if r else 'open')"
    assert shell.run([sys.executable, "-c", code]).text == "end"
    assert shell.run([sys.executable, "-c", code], hold_stdin=True).text == "open"


def test_files(shell, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    there = str(tmp_path / "new folder" / "copy")
    shell.push(source, there)
    assert os.listdir(tmp_path / "new folder") == ["copy"]
    shell.pull(there, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert shell.read("/proc/self/status").startswith(b"Name:")  # its size is told as 0
    assert shell.read("/absent") is None
    assert shell.glob(f"{tmp_path}/new f*/c?py") == [there]
    assert shell.glob("/absent/*") == []
    with pytest.raises(DeviceError, match="/absent cannot be read: No such file"):
        shell.pull("/absent", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_command_that_takes_too_long_dies_there(shell):
    with pytest.raises(DeviceError, match="sh took longer than 1 s"):
        shell.run(["sh", "-c", "sleep 97.125 & sleep 97.125"], timeout_s=1)
    assert within(5, lambda: not processes("sleep 97.125"))


def test_a_stream_is_read_and_stopped(shell):
    stream = shell.start(["sh", "-c", "echo one; echo two; sleep 97.25 & sleep 97.25"])
    lines = stream.lines()
    assert [next(lines), next(lines)] == ["one", "two"]
    stream.stop()
    assert list(lines) == []
    assert within(5, lambda: not processes("sleep 97.25"))
    assert list(shell.start(["echo", "all"]).lines()) == ["all"]


def test_what_the_start_up_files_of_a_login_print_is_skipped(shell, monkeypatch):
    """A login shell that talks: its words are neither the output nor the error output of a command."""
    real = shell._connection.create_process

    def noisy(line, **more):
        return real(f"echo Welcome; echo Warning >&2; {line}", **more)

    monkeypatch.setattr(shell._connection, "create_process", noisy)
    done = shell.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


# --- export, measure, compare


def test_export_bench_parity(device, artifact, folder, tmp_path):
    models = models_in_parity(device, artifact, tmp_path)
    result = measure_models(models, BRIEF, do=device.do)
    assert set(result["models"]) == set(RUNTIMES)
    for entry in result["models"].values():
        assert entry["latency"]["count"] == 4
        assert entry["memory"]["peak_rss_bytes"]["value"] > 10 * 2**20
    assert left(folder) == []


# --- getting in


def test_a_host_key_that_is_not_known(server, tmp_path):
    (tmp_path / "none").write_text("")
    with pytest.raises(DeviceError) as caught:
        connect(server.url, {**server.settings, "known_hosts": str(tmp_path / "none")})
    assert caught.value.exit_code == 4
    assert "its host key is not among the known hosts" in caught.value.message
    assert f"ssh -p {server.port} " in caught.value.message


def test_a_key_that_is_not_let_in(server, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    with pytest.raises(DeviceError, match=r"refuses the login; .* ssh-copy-id -p \d+ "):
        connect(server.url, {**server.settings, "key": str(tmp_path / "key")})


def test_the_users_own_configuration_is_read(server, tmp_path, monkeypatch):
    """``ssh://ALIAS`` with host, port, user, key and known hosts from ~/.ssh/config."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f"Host my-board\n  HostName 127.0.0.1\n  Port {server.port}\n  User {Path.home().owner()}\n"
        f"  IdentityFile {server.settings['key']}\n  UserKnownHostsFile {server.settings['known_hosts']}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    shell = open_shell(split("ssh://my-board"), {})
    assert shell.run(["echo", "in"]).text == "in"
    shell.close()


# --- faults


def test_the_connection_is_cut_in_the_middle(server, settings, device, model, folder):
    joined = in_background(lambda: device.do(long_job(model)))
    worker_of(folder)
    server.cut()
    error = joined(5)
    assert isinstance(error, DeviceError)
    assert error.message.startswith(f"the connection to {device.url} was lost")
    assert nothing_left(folder)
    error = in_background(lambda: device.environment())(5)
    assert isinstance(error, DeviceError)
    with connect(server.url, settings) as again:
        assert again.environment()["cores"] == os.cpu_count()


def test_a_connection_that_falls_silent(server, settings, model, folder, monkeypatch):
    """Nothing comes any more, as when a cable is pulled: the session on the other side is stopped."""
    monkeypatch.setattr(ssh, "_KEEPALIVE_S", 0.3)
    with connect(server.url, settings) as device:
        joined = in_background(lambda: device.do(long_job(model)))
        worker_of(folder)
        sessions = [pid for session in server.sessions() for pid in (session, *children(session))]
        for pid in sessions:
            if "sshd" in command_of(pid):
                os.kill(pid, signal.SIGSTOP)
        error = joined(10)
        assert isinstance(error, DeviceError)
        assert error.message.startswith(f"the connection to {device.url} was lost")
    server.cut()
    assert nothing_left(folder)


def test_a_stream_whose_connection_is_cut(server, shell):
    lines = shell.start(["sh", "-c", "echo one; cat; exec sleep 0.5"]).lines()
    assert next(lines) == "one"
    server.cut()
    with pytest.raises(DeviceError, match="was lost"):
        next(lines)


def test_the_server_goes(tmp_path, model, folder):
    server = host_server(tmp_path)
    settings = {**server.settings, "python": sys.executable, "folder": str(folder)}
    with connect(server.url, settings) as device:
        joined = in_background(lambda: device.do(long_job(model)))
        worker_of(folder)
        server.stop()
        assert isinstance(joined(5), DeviceError)
    assert nothing_left(folder)
    with pytest.raises(DeviceError, match="cannot be reached"):
        connect(server.url, settings)


def test_the_worker_is_killed(device, model, folder):
    joined = in_background(lambda: device.do(long_job(model)))
    kill(worker_of(folder))
    error = joined()
    assert isinstance(error, RuntimeFailed)
    assert error.exit_code == 1
    assert "ended by SIGKILL; it may have run out of memory" in error.message
    assert left(folder) == []


@pytest.mark.parametrize("hung", [False, True], ids=["busy", "stopped"])
def test_the_worker_hangs(device, model, folder, hung):
    joined = in_background(lambda: device.do(long_job(model), timeout_s=3))
    if hung:
        os.kill(worker_of(folder), signal.SIGSTOP)
    error = joined()
    assert isinstance(error, RuntimeFailed)
    assert "took longer than 3 s and was stopped" in error.message
    assert left(folder) == []


@pytest.fixture
def small_disk(folder):
    """The folder of the device is a disk of 2 MB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_the_device_is_full(device, small_disk, tmp_path):
    big = tmp_path / "big.tflite"
    big.write_bytes(os.urandom(3_000_000))
    with pytest.raises(
        DeviceError, match=r"is full: .* has [12]\.\d MB left and the files need 4\.0 MB"
    ) as caught:
        device.do({"kind": "memory", "model": {"path": str(big)}})
    assert caught.value.exit_code == 4
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["worker.pyz"]
    assert device.environment()["cores"]


def test_the_device_becomes_full_while_a_file_is_sent(shell, small_disk, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3_000_000))
    with pytest.raises(DeviceError, match=r"big cannot be written: it is full"):
        shell.push(big, f"{small_disk}/files/big")
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_ctrl_c_leaves_nothing(server, settings, model, folder):
    """A program of its own, interrupted in the middle of a job as a terminal does it."""
    code = (
        "import json, sys\nfrom tdedge_devices.address import connect\n"
        "try:\n    with connect(sys.argv[1], json.loads(sys.argv[2])) as device:\n"
        "        device.do(json.loads(sys.argv[3]))\n"
        "except KeyboardInterrupt:\n    raise SystemExit(130)\n"
    )
    words = [server.url, json.dumps(settings), json.dumps(long_job(model))]
    with subprocess.Popen([sys.executable, "-c", code, *words], start_new_session=True) as process:
        worker_of(folder)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
    assert left(folder) == []


def test_a_device_that_is_closed_meanwhile(device, model, folder):
    """By another thread, as when several devices are measured and the user interrupts."""
    joined = in_background(lambda: device.do(long_job(model)))
    worker_of(folder)
    device.close()
    error = joined(5)
    assert isinstance(error, DeviceError)
    assert nothing_left(folder)


def test_a_host_that_dies_takes_its_job_along(server, settings, model, folder):
    code = (
        "import json, sys\nfrom tdedge_devices.address import connect\n"
        "connect(sys.argv[1], json.loads(sys.argv[2])).do(json.loads(sys.argv[3]))\n"
    )
    words = [server.url, json.dumps(settings), json.dumps(long_job(model))]
    with subprocess.Popen([sys.executable, "-c", code, *words]) as process:
        worker_of(folder)
        process.kill()
    assert nothing_left(folder)


# --- Python there


def test_a_python_is_made_only_when_asked_for(server, settings, folder, model):
    del settings["python"]
    settings["runtimes"] = "onnxruntime"
    with pytest.raises(MissingError, match=r"run there: python3 -m venv .* pip install"):
        connect(server.url, settings)
    with connect(server.url, {**settings, "bootstrap": "yes"}) as device:
        assert device.python == f"{folder}/venv/bin/python"
        assert device.environment()["versions"]["onnxruntime"] == PINS["onnxruntime"]
        device.do({"kind": "memory", "model": {"path": str(model)}})
    with connect(server.url, settings) as device:  # it is found again
        assert device.python == f"{folder}/venv/bin/python"
