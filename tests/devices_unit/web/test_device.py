"""The browser as a device, before any browser opens the page: settings, addresses, jobs it refuses."""

import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.browsers_light import fake_assets

from tdedge.errors import DeviceError, MissingError, UsageError
from tdedge_devices.address import connect
from tdedge_devices.web.device import WebDevice
from tdedge_runtimes.errors import RuntimeInputError


@pytest.fixture
def settings(tmp_path, monkeypatch):
    return {"assets": str(fake_assets(tmp_path / "assets", monkeypatch)), "wait_s": "0.3"}


def test_the_link_is_local_unless_asked(settings):
    with WebDevice(urlsplit("web://"), settings) as device:
        assert device.link.startswith(f"http://127.0.0.1:{device.port}/")
        assert (device.url, device.figure_kind, device.shell) == ("web://", "measured", None)
    with WebDevice(urlsplit("web://0.0.0.0:0"), settings) as device:
        assert "//0.0.0.0" not in device.link
    with WebDevice(urlsplit("web://"), {**settings, "link": "https://phone.example/x/"}) as device:
        assert device.link.startswith("https://phone.example/x/")
        assert len(device.link) > 45


@pytest.mark.parametrize(
    ("url", "more", "message"),
    [
        ("web://", {"hots": "0.0.0.0"}, "a browser has no setting 'hots'; it has assets, browser"),
        ("web://", {"gpu": "cuda"}, "the setting gpu is 'cuda'; expected webgpu"),
        ("web://", {"wait_s": "soon"}, "the setting wait_s is 'soon'; expected a number"),
        ("web://", {"certificate": "c.pem"}, "https needs both settings"),
        ("web://127.0.0.1/path", {}, "is no address of a browser"),
        ("web://127.0.0.1:99999", {}, "the port of .* is none"),
        ("web://", {"browser": "'"}, "the setting browser is"),
        ("web://", {"browser": " "}, "the setting browser is empty"),
    ],
)
def test_wrong_settings_are_named(settings, url, more, message):
    with pytest.raises(UsageError, match=message):
        connect(url, {**settings, **more})


def test_nobody_opens_the_page(settings, capfd):
    with pytest.raises(DeviceError, match=r"no browser opened http://127.0.0.1:\d+/... within 0.3 s"):
        connect("web://", settings)
    shown = capfd.readouterr()
    assert "http://127.0.0.1:" in shown.err
    assert shown.out == ""


def test_a_browser_that_cannot_run_is_named(settings):
    with pytest.raises(DeviceError, match="cannot start the browser 'no-such-browser'"):
        connect("web://", {**settings, "browser": "no-such-browser --headless"})
    ends = f"{sys.executable} -c 'import sys; sys.exit(\"no display\")'"
    with pytest.raises(DeviceError, match=r"the browser .* ended with code 1: no display"):
        connect("web://", {**settings, "browser": ends, "wait_s": "20"})


def test_a_browser_ends_with_all_it_started(settings, tmp_path):
    code = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '300']); "
    code += "open(sys.argv[1], 'w').write(str(p.pid)); time.sleep(300)"
    script = tmp_path / "browser.py"
    script.write_text(code)
    told = tmp_path / "pid"
    with WebDevice(
        urlsplit("web://"), {**settings, "browser": f"{sys.executable} {script} {told} {{}}"}
    ) as device:
        device.open_page()
        for _ in range(200):
            if told.exists() and told.read_text():
                break
            time.sleep(0.05)
        child = int(told.read_text())
        os.kill(child, 0)
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the browser's child lives on")


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        ({"kind": "profile", "model": {"path": "{onnx}"}}, UsageError, "cannot do a profile job"),
        ({"kind": "latency", "models": {}}, RuntimeInputError, "a latency job needs 'models'"),
        ({"kind": "latency", "models": {"a": "x.onnx"}}, RuntimeInputError, "needs either 'path'"),
        ({"kind": "latency", "models": {"a": {"path": "no.onnx"}}}, RuntimeInputError, "no model file"),
        ({"kind": "run", "model": {"path": "{onnx}"}}, RuntimeInputError, "needs 'inputs' and 'outputs'"),
        (
            {"kind": "memory", "model": {"path": "{onnx}", "runtime": "openvino"}},
            UsageError,
            "no browser runs",
        ),
        ({"kind": "memory", "model": {"path": "{onnx}", "precision": "float16"}}, UsageError, "float16"),
        ({"kind": "memory", "model": {"baseline": ".xml"}}, UsageError, "no browser runs openvino"),
        (
            {"kind": "memory", "model": {"path": "{onnx}"}, "options": {"cpus": [0]}},
            UsageError,
            "cannot pin to cores",
        ),
        (
            {"kind": "memory", "model": {"path": "{onnx}"}, "options": {"thread": 1}},
            RuntimeInputError,
            "did you mean 'threads'",
        ),
    ],
)
def test_jobs_no_browser_can_do(settings, tmp_path, job, error, message):
    (tmp_path / "net.onnx").write_bytes(b"model")
    if "{onnx}" in str(job.get("model")):
        job = {**job, "model": {**job["model"], "path": str(tmp_path / "net.onnx")}}
    with WebDevice(urlsplit("web://"), settings) as device, pytest.raises(error, match=message):
        device.do(job)


def test_without_assets_the_command_is_told(tmp_path):
    with pytest.raises(MissingError, match=r"python -m tdedge_devices.web.assets"):
        connect("web://", {"assets": str(tmp_path)})
