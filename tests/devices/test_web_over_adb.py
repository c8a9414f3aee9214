"""``web+adb://``: a real adbd, ``adb reverse``, and a real Chromium on the device's side."""

import threading
from pathlib import Path

import jsonschema
import pytest
from support.adbd import Phone, adb_server
from support.browsers import chromium, web_assets
from support.networks import save_classifier
from support.web_nets import assert_parity, export_both, model_of

from tdedge.errors import DeviceError, UsageError
from tdedge_devices import energy
from tdedge_devices.address import connect
from tdedge_devices.web.over_adb import CHROME
from tdedge_runtimes.client import result_schema

# What ``am start -a ACTION -d URL -n COMPONENT`` does on a phone, for a browser that has no window.
AM = """
[ "$1" = start ] || exit 1
while [ $# -gt 0 ]; do
  case "$1" in -d) url=$2; shift;; -n) component=$2; shift;; esac
  shift
done
echo "Starting: Intent {{ act=android.intent.action.VIEW dat=$url cmp=$component }}"
if [ "$component" != {chrome} ]; then
  echo "Error: Activity class {{$component}} does not exist."
  exit 0
fi
export HOME=/data/local/tmp
{chromium} "$url" >/data/local/tmp/browser.log 2>&1 </dev/null &
"""


@pytest.fixture(scope="module")
def phone():
    am = AM.format(chrome=CHROME, chromium=chromium(Path("/data/local/tmp/profile")))
    with adb_server(), Phone(commands={"am": am}) as phone:
        yield phone


@pytest.fixture(scope="module")
def settings():
    return {"assets": str(web_assets()), "wait_s": "60"}


def test_the_browser_of_a_phone(phone, settings, tmp_path):
    nets = export_both(tmp_path)
    with connect(f"web+adb://{phone.serial}", settings) as device:
        assert device.url == f"web+adb://{phone.serial}"
        browser = device.environment()["browser"]
        assert browser["isolated"] and browser["clock_step_ms"] < 0.1
        assert "Chrome" in browser["user_agent"]
        assert device.shell is not None
        assert device.shell.run(["echo", "here"]).text == "here"
        models = {
            f"{label} {runtime}": {"path": str(model_of(nets[label], runtime))}
            for runtime in ("onnxruntime", "tflite")
            for label in nets
        }
        options = {"max_seconds": 1.0, "min_blocks": 4}
        result = device.do({"kind": "latency", "models": models, "options": options}, timeout_s=120)
        jsonschema.validate(result, result_schema())
        assert list(result["models"]) == list(models)
        for runtime in ("onnxruntime", "tflite"):
            assert_parity(device, nets["small"], runtime)
        jobs = {"a": {"path": str(model_of(nets["small"], "tflite"))}}
        figures = energy.measure(device, jobs, {})
        assert "another clock" in str(figures["a"])
        assert device.shell.adb.call("reverse", "--list").strip()
        forwarded = device.shell.adb
    assert not forwarded.call("reverse", "--list").strip()


def test_a_phone_that_loses_its_cable_in_mid_job(settings, tmp_path):
    am = AM.format(chrome=CHROME, chromium=chromium(Path("/data/local/tmp/profile")))
    models = {"a": {"path": str(save_classifier(tmp_path / "net.onnx"))}}
    job = {"kind": "latency", "models": models, "options": {"max_seconds": 60.0, "max_blocks": 1_000_000}}
    with (
        adb_server(),
        Phone(commands={"am": am}) as phone,
        connect(f"web+adb://{phone.serial}", settings) as device,
    ):
        device._exchange._silence_s = 10
        cut = threading.Timer(3, phone.kill)
        cut.start()
        with pytest.raises(DeviceError, match="nothing was heard of the page"):
            device.do(job, timeout_s=60)
        cut.join()


def test_a_browser_that_is_not_there(phone, settings):
    with pytest.raises(DeviceError, match=r"cannot open a browser on .*org\.none.* does not exist"):
        connect(f"web+adb://{phone.serial}", {**settings, "component": "org.none/Main"})


def test_no_such_phone_and_no_such_setting(phone, settings):
    with pytest.raises(DeviceError, match="no-such-phone"):
        connect("web+adb://no-such-phone", settings)
    with pytest.raises(UsageError, match=r"web\+adb:// has no setting 'browser'"):
        connect(f"web+adb://{phone.serial}", {**settings, "browser": "x"})
