"""What goes wrong with pages: killed, reloaded, silent, too slow; each ends with one clear line."""

import http.client
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from support.browsers import WebKit, chromium, opened_by, web_assets
from support.networks import save_classifier

from tdedge.errors import DeviceError
from tdedge_devices.address import connect
from tdedge_devices.web.device import WebDevice

LONG = {"max_seconds": 60.0, "max_blocks": 1_000_000}


@pytest.fixture(scope="module")
def settings():
    return {"assets": str(web_assets()), "wait_s": "60"}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture
def browser(settings, tmp_path):
    """A Chromium that a person might have opened, and the device that waits for it."""
    device = WebDevice(urlsplit("web://"), settings, silence_s=20)
    command = [*shlex.split(chromium(tmp_path)), device.link]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        device.wait()
        yield device, process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        device.close()


def latency(net, **options):
    return {"kind": "latency", "models": {"a": {"path": str(net)}}, "options": options}


def in_mid_job(device, job, act, timeout_s=60):
    """Do a job, act when the page has it, and give the error it ends with."""
    outcome = []

    def do():
        try:
            outcome.append(device.do(job, timeout_s=timeout_s))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=do)
    thread.start()
    end = time.monotonic() + 30
    while device._exchange._job is None or device._exchange._job.page is None:
        assert time.monotonic() < end, "the page never took the job"
        time.sleep(0.05)
    time.sleep(1.5)  # by now it measures
    act()
    thread.join(60)
    return outcome[0]


def test_a_browser_killed_in_mid_job(browser, net):
    device, process = browser
    error = in_mid_job(device, latency(net, **LONG), lambda: os.killpg(process.pid, signal.SIGKILL))
    assert isinstance(error, DeviceError)
    assert "nothing was heard of the page for 20 s: the browser was closed" in error.message
    with pytest.raises(DeviceError, match="no browser opened"):
        device._wait_s = 0.2
        device.do(latency(net))


def test_a_frozen_browser_is_noticed(browser, net):
    device, process = browser
    device._exchange._silence_s = 8
    error = in_mid_job(device, latency(net, **LONG), lambda: os.killpg(process.pid, signal.SIGSTOP))
    assert isinstance(error, DeviceError)
    assert "nothing was heard of the page" in error.message


def test_a_browser_of_ours_that_dies_in_mid_job(settings, net, tmp_path):
    with connect("web://", {**settings, "browser": chromium(tmp_path)}) as device:
        group = device._browser._process.pid
        error = in_mid_job(device, latency(net, **LONG), lambda: os.killpg(group, signal.SIGKILL))
    assert isinstance(error, DeviceError)
    assert "was ended by signal 9" in error.message


def test_a_page_reloaded_in_mid_job_fails_it_and_takes_the_next(settings, net):
    with WebKit() as webkit, opened_by(webkit, WebDevice(urlsplit("web://"), settings)) as device:

        def reload():
            webkit.ask("POST", f"{webkit._session}/refresh", {})

        error = in_mid_job(device, latency(net, **LONG), reload)
        assert isinstance(error, DeviceError)
        assert "reloaded" in error.message and "in the middle of the job" in error.message
        result = device.do(latency(net, max_seconds=0.2), timeout_s=60)
        assert result["models"]["a"]["latency"]["median_ms"] > 0
        webkit.open("about:blank")
        device._wait_s = 0.3
        end = time.monotonic() + 10
        while device._exchange.has_page():
            assert time.monotonic() < end, "the page did not say that it was closed"
            time.sleep(0.05)
        with pytest.raises(DeviceError, match="no browser opened"):
            device.environment()


def test_a_job_too_long_is_stopped_in_the_page(browser, net):
    device, _ = browser
    with pytest.raises(DeviceError, match=r"the page took longer than 2 s and was told to stop"):
        device.do(latency(net, **LONG), timeout_s=2)
    start = time.monotonic()
    result = device.do(latency(net, max_seconds=0.2), timeout_s=30)
    assert result["kind"] == "latency"
    assert time.monotonic() - start < 25  # the page did not finish the minute of the first


def test_malformed_posts_in_mid_job_change_nothing(browser, net):
    device, _ = browser

    def post():
        for path in ("result", "outputs", "hello", "beat", "error"):
            connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=10)
            page = device._exchange._page
            connection.request("POST", f"/{device._server.token}/{path}?page={page}&job=none", b"{{{")
            assert connection.getresponse().status in (400, 409, 200)
            connection.close()

    result = in_mid_job(device, latency(net, max_seconds=3.0), post)
    assert not isinstance(result, Exception), result
    assert result["models"]["a"]["latency"]["median_ms"] > 0


def test_the_computer_gone_is_told_to_the_person(settings):
    code = "import sys, time; from tdedge_devices.address import connect; "
    code += "device = connect('web://', {'assets': sys.argv[1]}); time.sleep(300)"
    command = [sys.executable, "-c", code, settings["assets"]]
    with WebKit() as webkit, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as computer:
        webkit.open(next(line for line in computer.stderr if "http://" in line).strip())
        webkit.see("Waiting for the computer")
        computer.kill()
        webkit.see("No connection", "Start it again and open the new link", timeout_s=60)


def test_a_taken_port(settings):
    with (
        WebDevice(urlsplit("web://"), settings) as device,
        pytest.raises(DeviceError, match=r"cannot listen on .*choose another port"),
    ):
        connect(f"web://127.0.0.1:{device.port}", settings)
