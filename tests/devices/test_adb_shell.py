"""The shell of an Android device: the real ``adb`` and the real ``adbd`` in a network namespace."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.adbd import Phone, adb_server, wait_until

from tdedge.errors import DeviceError, UsageError
from tdedge_devices import adb_running
from tdedge_devices.adb_command import devices
from tdedge_devices.adb_shell import FOLDER, AdbShell

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture(scope="module")
def server():
    with adb_server() as port:
        yield port


@pytest.fixture(scope="module", params=[False, True], ids=["debian", "mksh-toybox"])
def phone(server, request):
    """A phone, once with Debian's shell and commands, once with those of Android."""
    with Phone(android=request.param) as phone:
        yield phone


@pytest.fixture
def shell(phone):
    with AdbShell.connect(phone.serial) as shell:
        yield shell


def nothing_runs(phone) -> bool:
    return phone.processes() == []


def test_code_and_both_streams_of_a_command(shell):
    done = shell.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_command_gets_its_arguments_and_input_unchanged(shell, phone):
    words = ["$HOME", "a b", "it's", "*", ";", 'say "x"', "", "ä\n%"]
    assert shell.run(["printf", "<%s>", *words]).stdout.decode() == "".join(f"<{word}>" for word in words)
    data = bytes(range(256)) * 20_000
    assert shell.run(["cat"], stdin=data).stdout == data
    assert list((phone.root / FOLDER[1:]).iterdir()) == []


def test_standard_input_stays_open_where_asked_for(shell, phone):
    """A worker that ends with its standard input must not end before it has done its job."""
    data = os.urandom(300_000)
    script = "head -c 300000 | sha256sum; timeout -s KILL 1 cat; echo $?"
    held = shell.run(["sh", "-c", script], stdin=data, hold_stdin=True).text
    assert held == f"{hashlib.sha256(data).hexdigest()}  -\n137"  # cat waited until it was killed
    assert not shell.run(["sh", "-c", script], stdin=data).text.endswith("137")  # ... met the end
    assert list((phone.root / FOLDER[1:]).iterdir()) == []


def test_signals_and_missing_commands_have_the_usual_codes(shell):
    assert shell.run(["sh", "-c", "kill -9 $$"]).code == 137
    assert shell.run(["no-such-command"]).code == 127


def test_files_come_and_go(shell, tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "a file").write_bytes(data)
    shell.push(tmp_path / "a file", f"{FOLDER}/x y/b file")
    assert shell.glob(f"{FOLDER}/x*/[ab] f?le") == [f"{FOLDER}/x y/b file"]
    shell.pull(f"{FOLDER}/x y/b file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert shell.read(f"{FOLDER}/x y/b file") == data
    assert shell.read(f"{FOLDER}/none") is None
    with pytest.raises(DeviceError, match=r"'/none'.*No such file"):
        shell.pull("/none", tmp_path / "none")
    with pytest.raises(UsageError, match="no file at"):
        shell.push(tmp_path / "none", f"{FOLDER}/none")
    with pytest.raises(DeviceError, match=r"cannot make the folder '/etc/x'.*Read-only"):
        shell.push(tmp_path / "back", "/etc/x/y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "back"]


def test_a_full_device_says_so_and_keeps_no_half_file(server, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(6_000_000))
    with Phone(data="4m") as small, AdbShell.connect(small.serial) as shell:
        with pytest.raises(
            DeviceError, match=r"10\.203\.\d+\.2:5555 is full: big \(6000000 bytes\) does not fit"
        ):
            shell.push(tmp_path / "big", f"{FOLDER}/big")
        with pytest.raises(DeviceError, match="is full: there is no room for the input of 'wc'"):
            shell.run(["wc", "-c"], stdin=bytes(6_000_000))
        assert shell.run(["ls", "-A", FOLDER]).text == ""


def test_a_command_that_hangs_is_ended_there(shell, phone):
    script = "sleep 301 & setsid sleep 302 & (sleep 303; sleep 304) & sleep 305"
    with pytest.raises(DeviceError, match=r"'sh' took longer than 1 s on .* and was ended there"):
        shell.run(["sh", "-c", script], timeout_s=1.0)
    wait_until(lambda: nothing_runs(phone), f"nothing runs: {phone.processes()}")


def test_a_stream_is_read_while_it_runs_and_stopped_with_its_children(shell, phone):
    stream = shell.start(["sh", "-c", "setsid sleep 306 & i=0; while :; do i=$((i+1)); echo $i; done"])
    lines = stream.lines()
    assert [next(lines) for _ in range(3)] == ["1", "2", "3"]
    stream.stop()
    stream.stop()
    wait_until(lambda: nothing_runs(phone), f"nothing runs: {phone.processes()}")
    assert list(shell.start(["printf", "a\\nb"]).lines()) == ["a", "b"]


def test_closing_ends_what_still_runs(phone):
    with AdbShell.connect(phone.serial) as shell:
        shell.start(["sleep", "307"])
        wait_until(lambda: not nothing_runs(phone), "sleep runs")
    wait_until(lambda: nothing_runs(phone), "nothing runs")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_no_orphan_where_this_side_is_interrupted_or_killed(phone, signum):
    code = (
        "import sys; from tdedge_devices.adb_shell import AdbShell\n"
        "AdbShell.connect(sys.argv[1]).run(['sh', '-c', 'sleep 308 & setsid sleep 309; wait'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, phone.serial], stderr=subprocess.PIPE, start_new_session=True
    )
    wait_until(lambda: sum("sleep 30" in line for line in phone.processes()) >= 2, "both sleeps run")
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=30)
    assert (b"KeyboardInterrupt" in stderr) == (signum == signal.SIGINT)
    wait_until(lambda: nothing_runs(phone), f"nothing runs: {phone.processes()}")


def test_a_lost_device_is_a_clear_error_and_leaves_no_orphan(server):
    with Phone() as phone, AdbShell.connect(phone.serial) as shell:
        stream = shell.start(["sh", "-c", "echo started; sleep 310"])
        lines = stream.lines()
        assert next(lines) == "started"
        lost: list[BaseException] = []

        def wait_for_it() -> None:
            try:
                shell.run(["sleep", "311"])
            except DeviceError as error:
                lost.append(error)

        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        wait_until(lambda: "sleep 311" in phone.processes(), "sleep runs")
        phone.kill()
        waiting.join(20)
        (error,) = lost
        assert str(error).startswith("the connection was lost while 'sleep' ran: ")
        assert re.search(f"{re.escape(phone.serial)} is (offline|connected)", str(error))
        with pytest.raises(DeviceError, match="the connection was lost while 'sh' ran"):
            list(lines)
        wait_until(lambda: nothing_runs(phone), f"nothing runs: {phone.processes()}")
        with pytest.raises(DeviceError, match=r"no device|is offline"):
            shell.run(["true"])
        phone.switch_on()
        with AdbShell.connect(phone.serial) as again:
            assert again.run(["true"]).code == 0


def test_a_network_that_dies_without_a_word(server, monkeypatch):
    """Neither end is told: here the time runs out, there Android's shell misses the beats."""
    monkeypatch.setattr(adb_running, "_BEAT_S", 0.5)
    monkeypatch.setattr(adb_running, "_SILENCE_S", 2)
    with Phone(android=True) as phone, AdbShell.connect(phone.serial) as shell:
        assert shell.run(["sleep", "3.5"]).code == 0  # longer than the silence that is borne
        threading.Timer(1.0, phone.set_wire, [False]).start()
        begin = time.monotonic()
        with pytest.raises(DeviceError, match="'sleep' took longer than 2 s"):
            shell.run(["sleep", "312"], timeout_s=2.0)
        assert time.monotonic() - begin < 20
        wait_until(lambda: nothing_runs(phone), f"nothing runs: {phone.processes()}")
        phone.set_wire(up=True)


def test_two_devices_at_once(phone, tmp_path):
    with Phone() as other, AdbShell.connect(other.serial) as second, AdbShell.connect(phone.serial) as first:
        assert set(devices().items()) >= {(phone.serial, "device"), (other.serial, "device")}
        shells = {"one": first, "two": second}
        streams = {}
        for name, shell in shells.items():
            (tmp_path / name).write_text(name)
            shell.push(tmp_path / name, f"{FOLDER}/name")
            streams[name] = shell.start(["sh", "-c", f"cat {FOLDER}/name; echo; cat /proc/net/fib_trie"])
        for name, expected in (("one", phone), ("two", other)):
            said, *network = streams[name].lines()
            assert said == name
            assert any(expected.address in line for line in network)
        with pytest.raises(
            DeviceError, match="several devices are connected: name one of them, as adb://SERIAL"
        ):
            AdbShell.connect("")


def test_ports_lead_both_ways(server):
    with Phone() as phone, AdbShell.connect(phone.serial) as shell:
        ports_lead_both_ways(shell, phone)


def ports_lead_both_ways(shell, phone):
    text = (
        "from http.server import *; import sys\n"
        "HTTPServer(('127.0.0.1', int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()"
    )
    served = shell.start(["python3", "-c", text, "8123"])
    port = shell.forward(8123)
    fetch = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).status)"

    def status() -> str:
        here = subprocess.run(
            [sys.executable, "-c", fetch, f"http://127.0.0.1:{port}/"],
            capture_output=True,
            text=True,
            check=False,
        )
        return here.stdout.strip()

    wait_until(lambda: status() == "200", "the device's server answers here")
    there = shell.reverse(8124, port)
    assert there == 8124
    assert shell.run(["python3", "-c", fetch, "http://127.0.0.1:8124/"]).text == "200"
    served.stop()
    shell.close()
    listed = subprocess.run(
        ["adb", "-s", phone.serial, "reverse", "--list"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.strip() == ""


def test_an_address_where_nothing_is(server):
    with pytest.raises(
        DeviceError, match=r"cannot reach 127\.0\.0\.1:1: adb says .*refused.*wireless debugging"
    ):
        AdbShell.connect("127.0.0.1:1")
    with pytest.raises(DeviceError, match="no device NOSUCH is connected: 'adb devices' lists"):
        AdbShell.connect("NOSUCH")


def test_the_cache_is_no_part_of_the_phone(phone):
    assert not Path("/data/local/tmp/tdedge").exists()
    assert (phone.root / "data/local/tmp/tdedge").is_dir()
