"""Addresses and settings of SSH; real servers are in tests/devices."""

import socket
import threading

import pytest

from tdedge.errors import DeviceError, UsageError
from tdedge_devices import ssh
from tdedge_devices.address import connect, split


@pytest.mark.parametrize(
    ("url", "shown", "expected"),
    [
        ("ssh://pi@192.0.2.7", "ssh://pi@192.0.2.7", {"host": "192.0.2.7", "username": "pi"}),
        ("ssh://board:2222", "ssh://board:2222", {"host": "board", "port": 2222}),
        ("ssh://a@[2001:db8::1]:22/", "ssh://a@[2001:db8::1]:22", {"host": "2001:db8::1", "port": 22}),
    ],
)
def test_addresses(url, shown, expected):
    name, options = ssh._options(split(url), {})
    assert name == shown
    assert expected.items() <= options.items()
    assert {"port", "username"} & set(options) == {"port", "username"} & set(expected) | (
        {"username"} if "@" in url else set()
    )


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("ssh://", "names no host; expected ssh://USER@HOST:PORT"),
        ("ssh://pi:secret@board", "ssh://board: a password in an address is not taken"),
        ("ssh://board:99999", "the port is no number from 1 to 65535"),
        ("ssh://board/opt", "nothing may follow the port"),
    ],
)
def test_wrong_addresses(url, line):
    with pytest.raises(UsageError, match=line) as caught:
        connect(url)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("setting", ["key", "known_hosts"])
def test_files_that_are_absent(setting):
    with pytest.raises(UsageError, match=f"the setting {setting} of ssh://board is '/absent'"):
        connect("ssh://board", {setting: "/absent"})


def test_nobody_answers():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ssh://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(DeviceError, match=r"cannot be reached: .*check the address"):
            connect(url)


def test_something_else_answers(monkeypatch):
    """A port that takes connections and says nothing: the connection is given up in time."""
    monkeypatch.setattr(ssh, "_CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ssh://127.0.0.1:{server.getsockname()[1]}"
        threads = threading.active_count()
        with pytest.raises(DeviceError, match="cannot be reached"):
            connect(url)
        assert threading.active_count() == threads
