import os
import stat

import pytest

from tdedge.errors import UsageError
from tdedge_devices import inventory
from tdedge_devices.inventory import Named


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "config" / "devices.toml"
    monkeypatch.setenv("TDEDGE_DEVICES", str(path))
    return path


def test_what_is_added_is_read_again(file):
    assert inventory.read() == {}
    inventory.add("pi5", "ssh://pi@192.0.2.7", {"python": "/opt/venv/bin/python"})
    inventory.add("phone.2", "adb://R58M", {"cpu": 'f0 "big"\x7f\n', "odd key": "ä😀"})
    assert list(inventory.read().values()) == [
        Named("pi5", "ssh://pi@192.0.2.7", {"python": "/opt/venv/bin/python"}),
        Named("phone.2", "adb://R58M", {"cpu": 'f0 "big"\x7f\n', "odd key": "ä😀"}),
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["devices.toml"]


def test_comments_of_other_devices_stay(file):
    file.parent.mkdir()
    file.write_text(
        '# mine\n[devices.pi5]  # on the desk\nurl = "local:"\n\n[devices.b]\nurl = "local:"\nx = 2\n'
    )
    inventory.remove("b")
    assert file.read_text() == '# mine\n[devices.pi5]  # on the desk\nurl = "local:"\n\n'
    inventory.add("pi5", "ssh://pi@192.0.2.7", {}, force=True)
    assert file.read_text().startswith("# mine\n")
    assert inventory.read() == {"pi5": Named("pi5", "ssh://pi@192.0.2.7")}


def test_a_file_in_another_style_is_read_and_left(file):
    file.parent.mkdir()
    text = 'devices = { pi5 = { url = "local:", threads = 2, fast = true } }\n'
    file.write_text(text)
    assert inventory.read()["pi5"].settings == {"threads": "2", "fast": "true"}
    with pytest.raises(UsageError, match="edit it by hand"):
        inventory.remove("pi5")
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("name", "url", "settings", "words"),
    [
        ("pi 5", "local:", {}, "device name 'pi 5'"),
        ("-x", "local:", {}, "device name '-x'"),
        ("pi5", "telnet://x", {}, "'telnet://x' is no address of a device"),
        ("pi5", "local:", {"url": "x"}, "--set url"),
        ("there", "local:", {}, "'there' is there already"),
    ],
)
def test_mistakes_name_the_value(file, name, url, settings, words):
    inventory.add("there", "local:", {})
    before = file.read_text()
    with pytest.raises(UsageError, match=words):
        inventory.add(name, url, settings)
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[devices", "is not TOML"),
        ("[other]\nx = 1\n", "'other' is not expected"),
        ("devices = 3\n", "'devices' is not expected"),
        ("[devices.a]\nurl = 3\n", "needs a text url"),
        ('[devices.a]\nurl = "local:"\nx = [1]\n', "x must be a text"),
    ],
)
def test_a_bad_file_is_one_line(file, text, words):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UsageError, match=words) as raised:
        inventory.read()
    assert str(file) in raised.value.message


def test_names_and_addresses_are_resolved(file):
    inventory.add("pi5", "ssh://pi@192.0.2.7", {"key": "k"})
    assert inventory.resolve("pi5").settings == {"key": "k"}
    assert inventory.resolve("local:") == Named("local:", "local:")
    assert [one.name for one in inventory.resolve_all("pi5, local:")] == ["pi5", "local:"]
    with pytest.raises(UsageError, match="did you mean 'pi5'"):
        inventory.resolve("pi6")
    with pytest.raises(UsageError, match="twice"):
        inventory.resolve_all("pi5,ssh://pi@192.0.2.7")
    with pytest.raises(UsageError, match="names no device"):
        inventory.resolve_all(" , ")


def test_secrets_are_not_shown(file):
    one = inventory.add(
        "pi5", "ssh://pi:hunter2@192.0.2.7:2222/x", {"sudo_password": "hunter2", "python": "p"}
    )
    assert one.shown_url() == "ssh://pi:***@192.0.2.7:2222/x"
    assert one.shown_settings() == {"sudo_password": "***", "python": "p"}
    assert inventory.resolve("ssh://a:hunter2@b").name == "ssh://a:***@b"
    with pytest.raises(UsageError) as raised:
        inventory.add("pi5", "local:", {})
    assert "hunter2" not in raised.value.message


def test_the_file_lies_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TDEDGE_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert inventory.inventory_file() == tmp_path / "tdedge" / "devices.toml"
