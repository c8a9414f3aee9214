"""The real page in real browsers, headless: both runtimes, latency, parity, and what is told of them."""

import threading
from urllib.parse import urlsplit

import jsonschema
import pytest
from support import eight_bits
from support.browsers import WebKit, chromium, opened_by, web_assets
from support.web_nets import assert_parity, export_both, model_of

from tdedge_devices.address import connect
from tdedge_devices.web.device import WebDevice
from tdedge_runtimes.client import result_schema
from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.measure import block_order

OPTIONS = {"max_seconds": 1.0, "min_blocks": 6, "warmup_seconds": 0.1}


@pytest.fixture(scope="module")
def settings():
    return {"assets": str(web_assets()), "wait_s": "60"}


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    return export_both(tmp_path_factory.mktemp("nets"))


@pytest.fixture(scope="module")
def webkit():
    with WebKit() as browser:
        yield browser


@pytest.fixture(scope="module")
def in_chromium(settings, tmp_path_factory):
    command = chromium(tmp_path_factory.mktemp("profile"))
    with connect("web://", {**settings, "browser": command}) as device:
        yield device


@pytest.fixture
def in_webkit(settings, webkit):
    with opened_by(webkit, WebDevice(urlsplit("web://"), settings)) as device:
        yield device


@pytest.fixture(params=["in_chromium", "in_webkit"])
def device(request):
    return request.getfixturevalue(request.param)


def latency_job(nets, runtimes, **options):
    models = {
        f"{label} {runtime}": {"path": str(model_of(nets[label], runtime)), "runtime": runtime}
        for runtime in runtimes
        for label in nets
    }
    return {"kind": "latency", "models": models, "options": {**OPTIONS, **options}}


def test_latency_of_both_runtimes_interleaved(device, nets):
    job = latency_job(nets, ["onnxruntime", "tflite"])
    result = device.do(job, timeout_s=120)
    jsonschema.validate(result, result_schema())
    labels = list(job["models"])
    assert list(result["models"]) == labels
    assert result["orders"] == [block_order(labels, block) for block in range(len(result["orders"]))]
    step_ms = result["environment"]["browser"]["clock_step_ms"]
    for label, entry in result["models"].items():
        latency = entry["latency"]
        assert len(latency["samples_ms"]) == len(result["orders"]) >= 6
        assert latency["median_ms"] * latency["calls_per_sample"] >= 50 * step_ms
        assert entry["load"]["value"] > 0
        assert entry["inputs"] == [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32"}]
        package = {"onnxruntime": "onnxruntime-web", "tflite": "@litertjs/core"}[label.split()[1]]
        assert (entry["session"]["package"], entry["session"]["threads"]) == (package, 1)
    assert result["ratios"].keys() == set(labels[1:])
    assert result["environment"]["versions"].keys() == {"onnxruntime-web", "@litertjs/core"}
    assert not result["environment"]["browser"]["hidden"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
@pytest.mark.parametrize("label", ["dense", "small"])
def test_outputs_are_the_native_ones(device, nets, runtime, label):
    assert_parity(device, nets[label], runtime)


@pytest.mark.parametrize("network", [eight_bits.residual, eight_bits.clip])
def test_integers_agree_with_those_of_this_machine(device, network, tmp_path):
    targets = ("onnxruntime:int8", "tflite:int8", "onnxruntime:int8-weights", "tflite:int8-weights")
    eight_bits.assert_as_here(device, eight_bits.exported(network(), tmp_path, *targets))


def test_latency_of_integers_beside_floats(device, tmp_path):
    """Files of both precisions in one interleaved run."""
    targets = ("tflite", "tflite:int8", "onnxruntime:int8")
    models = eight_bits.specs(eight_bits.exported(eight_bits.residual(), tmp_path, *targets))
    result = device.do({"kind": "latency", "models": models, "options": OPTIONS}, timeout_s=120)
    jsonschema.validate(result, result_schema())
    assert list(result["models"]) == list(targets)
    for target in targets:
        assert result["models"][target]["latency"]["median_ms"] > 0
        assert [one["dtype"] for one in result["models"][target]["inputs"]] == ["float32"]


def test_integers_at_the_ports_are_refused_with_what_to_do(device, tmp_path):
    artifact = eight_bits.exported(eight_bits.clip(), tmp_path, "tflite:int8", integer_io=True)
    (model,) = eight_bits.specs(artifact).values()
    with pytest.raises(RuntimeInputError, match=r"INT8 is not supported.* export without --integer-io"):
        device.do({"kind": "memory", "model": model})


def test_a_local_page_is_isolated_and_has_a_fine_clock(device):
    browser = device.environment()["browser"]
    assert browser["secure_context"] and browser["isolated"]
    assert browser["clock_step_ms"] < 0.1
    assert browser["gpu"] is None and browser["gpu_missing"]


def test_threads_are_those_that_were_given(in_chromium, in_webkit, nets):
    job = latency_job(nets, ["onnxruntime", "tflite"], threads=2)
    result = in_chromium.do(job, timeout_s=120)
    assert in_chromium.environment()["browser"]["threads"]
    assert {m["session"]["threads"] for m in result["models"].values()} == {2}
    result = in_webkit.do(job, timeout_s=120)  # isolated, and yet without shared memory
    given = 2 if in_webkit.environment()["browser"]["threads"] else 1
    assert result["models"]["dense onnxruntime"]["session"]["threads"] == given


def test_a_page_from_the_network_is_not_isolated(settings, webkit, nets):
    address = urlsplit("web://0.0.0.0:0")
    with opened_by(webkit, WebDevice(address, settings)) as device:
        assert "127.0.0.1" not in device.link, "this machine has no address but localhost"
        browser = device.environment()["browser"]
        assert not browser["secure_context"] and not browser["isolated"] and not browser["threads"]
        assert browser["clock_step_ms"] >= 0.1
        webkit.see("One thread, and a coarse clock")
        result = device.do(latency_job(nets, ["onnxruntime"], threads=2), timeout_s=120)
        assert {m["session"]["threads"] for m in result["models"].values()} == {1}
        median_ms = result["models"]["dense onnxruntime"]["latency"]["median_ms"]
        assert result["models"]["dense onnxruntime"]["latency"]["calls_per_sample"] * median_ms >= 5


def test_the_person_at_the_page_sees_the_result(settings, webkit, nets):
    with opened_by(webkit, WebDevice(urlsplit("web://"), settings)) as device:
        webkit.see("Waiting for the computer")
        device.do(latency_job(nets, ["tflite"]), timeout_s=120)
        webkit.see("Measured here", "dense tflite", "small tflite", "×", " µs")
    webkit.see("Finished", "You can close this page")


def test_inference_without_a_pause(device, nets):
    model = {"path": str(model_of(nets["small"], "tflite"))}
    result = device.do({"kind": "load", "model": model, "seconds": 2, "min_inferences": 50}, timeout_s=60)
    jsonschema.validate(result, result_schema())
    load = result["load"]
    seconds = (load["end_ns"] - load["begin_ns"]) * 1e-9
    assert 2 <= seconds < 20
    assert load["inferences"] >= 50
    # A sample is the mean of its calls: all calls together take between these two, and most of the time.
    shortest_s, longest_s = (load["inferences"] * load["latency"][key] * 1e-3 for key in ("min_ms", "max_ms"))
    assert shortest_s <= seconds
    assert longest_s >= 0.5 * seconds


def test_a_page_that_was_hidden_measures_once_more(settings, webkit, nets):
    hide = """Object.defineProperty(document, "visibilityState", {get: () => STATE, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));"""
    with opened_by(webkit, WebDevice(urlsplit("web://"), settings)) as device:
        webkit.see("Waiting for the computer")
        webkit.run(hide.replace("STATE", "'hidden'"))
        outcome = []
        job = latency_job(nets, ["tflite"], max_seconds=3.0)
        thread = threading.Thread(target=lambda: outcome.append(device.do(job, timeout_s=60)))
        thread.start()
        webkit.run(hide.replace("STATE", "'visible'"))
        webkit.see("Block by block" if len(nets) == 1 else "All models in turn")
        webkit.run(hide.replace("STATE", "'hidden'"))
        webkit.run(hide.replace("STATE", "'visible'"))
        thread.join()
        assert not outcome[0]["environment"]["browser"]["hidden"]
        assert (
            webkit.run(
                "return performance.getEntriesByType('resource').filter(e => "
                "e.name.endsWith('frame.html')).length"
            )
            == 2
        )


def test_memory_has_a_reason_and_no_number(device, nets):
    for model in ({"path": str(model_of(nets["small"], "tflite"))}, {"baseline": ".onnx"}):
        result = device.do({"kind": "memory", "model": model})
        jsonschema.validate(result, result_schema())
        assert result["model"]["memory"]["peak_rss_bytes"]["value"] is None


def test_errors_of_models_and_inputs_come_back(device, nets, tmp_path):
    import numpy as np

    for name, runtime in (("broken.onnx", "onnxruntime-web"), ("broken.tflite", "LiteRT.js")):
        (tmp_path / name).write_bytes(b"\0\0\0\0TFL3" + b"\1" * 500)
        with pytest.raises(RuntimeInputError, match=f"in the browser: {runtime} cannot load the model"):
            device.do({"kind": "memory", "model": {"path": str(tmp_path / name)}})
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 3, 9, 8), "float32"))
    job = {
        "kind": "run",
        "model": {"path": str(model_of(nets["dense"], "onnxruntime"))},
        "inputs": str(tmp_path / "in.npz"),
        "outputs": str(tmp_path / "out.npz"),
    }
    with pytest.raises(RuntimeInputError, match=r"input 'x' is float32 \[1, 3, 9, 8\]; expected"):
        device.do(job)
    assert not (tmp_path / "out.npz").exists()
    assert_parity(device, nets["dense"], "onnxruntime")  # and the page goes on


def test_an_imitated_gpu_is_not_called_one(settings, nets, tmp_path):
    software = chromium(tmp_path, "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader")
    software = software.replace("--disable-gpu ", "")
    with connect("web://", {**settings, "browser": software, "gpu": "webgpu"}) as device:
        assert device.environment()["browser"]["gpu"]["software"]
        with pytest.raises(RuntimeInputError, match=r"no GPU can be used: the adapter \(.*\) is software"):
            device.do(latency_job(nets, ["onnxruntime"]))


def test_webgpu_gives_the_same_outputs(settings, nets, tmp_path):
    """On an adapter that is software: what is shown is that it works, not how fast a GPU is."""
    software = chromium(tmp_path, "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader")
    software = software.replace("--disable-gpu ", "")
    with connect("web://", {**settings, "browser": software, "gpu": "software"}) as device:
        for runtime in ("onnxruntime", "tflite"):
            assert_parity(device, nets["dense"], runtime)
        result = device.do({"kind": "memory", "model": {"baseline": ".onnx"}})
        assert "no GPU" in result["model"]["session"]["execution"]["provider"]


def test_without_a_gpu_none_is_measured(settings, nets, tmp_path):
    with (
        connect("web://", {**settings, "browser": chromium(tmp_path), "gpu": "webgpu"}) as device,
        pytest.raises(RuntimeInputError, match="no GPU can be used"),
    ):
        device.do(latency_job(nets, ["tflite"]))
