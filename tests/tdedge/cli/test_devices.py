import os

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TDEDGE_DEVICES", str(tmp_path / "inventory" / "devices.toml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_add_list_remove(tdedge):
    url = "ssh://pi:hunter2@192.0.2.7"
    done = tdedge("devices", "add", "pi5", url, "--set", "python=/p", "--set", "password=hunter2", "--json")
    assert done.code == 0
    assert done.document["added"]["url"] == "ssh://pi:***@192.0.2.7"
    assert "tdedge devices doctor pi5" in done.err
    assert "hunter2" not in done.out + done.err
    shown = tdedge("devices", "list", "--json")
    assert shown.document["devices"][0]["settings"] == {"python": "/p", "password": "***"}
    assert "ssh://pi:***@192.0.2.7" in tdedge("devices", "list").out
    assert tdedge("devices", "remove", "pi5").code == 0
    assert "add one with" in tdedge("devices", "list").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["add", "pi5", "telnet://x"],
            "'telnet://x' is no address of a device; expected",
        ),
        (["add", "pi5", "local:", "--set", "python"], "--set 'python'; expected KEY=VALUE"),
        (["add", "pi 5", "local:"], "device name 'pi 5'"),
        (["remove", "pi5"], "there is no device 'pi5'"),
        (["doctor", "pi5"], "there is no device 'pi5'"),
        (["doctor"], "there is no device to look at"),
        (["add", "pi5"], "Missing argument 'URL'"),
    ],
)
def test_mistakes_are_one_line(tdedge, home, arguments, words):
    done = tdedge("devices", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.last
    assert done.err.count("\n") == 1
    assert not (home / "inventory").exists() or os.listdir(home / "inventory") == []


def test_doctor_of_this_machine(tdedge):
    done = tdedge("devices", "doctor", "local:", "--json")
    assert done.code == 0, done.err
    (found,) = done.document["devices"]
    assert (found["reachable"], found["error"], found["figure_kind"]) == (True, None, "measured")
    assert {"latency", "load", "memory", "profile", "run"} <= set(found["job_kinds"])
    assert found["environment"]["versions"]["onnxruntime"]
    assert found["free_bytes"] > 0
    assert abs(found["clock_offset_s"]) < 60
    assert {"ina3221", "rapl", "battery"} <= {sensor["name"] for sensor in found["sensors"]}
    assert all(sensor["found"] or sensor["reason"] for sensor in found["sensors"])
    assert "onnxruntime" in done.err


def test_doctor_says_what_is_missing(tdedge):
    tdedge("devices", "add", "here", "local:")
    tdedge("devices", "add", "bare", "local:", "--set", "python=/nowhere/python")
    done = tdedge("devices", "doctor", "--json")
    assert done.code == 3
    here, bare = done.document["devices"]
    assert here["error"] is None
    assert "'/nowhere/python'" in bare["error"]
    assert done.last == "tdedge: not ready: bare"
