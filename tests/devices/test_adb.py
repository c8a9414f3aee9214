"""An Android device without Python: jobs done through the runtimes' own programs, over the real adb and adbd.

The programs are stand-ins that run real inference and print in the formats of the real ones
(``support.programs``); the phone is Debian's adbd (``support.adbd``).
"""

import hashlib
import re
import sys
import threading
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support import eight_bits, programs
from support.adbd import Phone, adb_server, wait_until
from support.networks import save_classifier
from support.tflite_files import conv_bytes, write

from tdedge.errors import DeviceError, MissingError, UsageError
from tdedge_devices import energy
from tdedge_devices.adb_shell import FOLDER
from tdedge_devices.address import connect
from tdedge_runtimes.client import result_schema, run_job
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError
from tdedge_runtimes.memory import own_memory

GETPROP = """cat <<'END'
[ro.build.version.release]: [16]
[ro.product.manufacturer]: [Debian]
[ro.product.model]: [adbd]
[ro.soc.manufacturer]: [Example]
[ro.soc.model]: [E1]
END"""
# A battery of 4 V from which 0.5 A flow; its charge in uAh follows from the time since the start.
DUMPSYS = """if [ "$1" = battery ]; then
read up rest </proc/uptime
echo "  AC powered: false"
echo "  status: 3"
echo "  voltage: 4000"
echo "  Charge counter: $((400000000 - ${up%.*}${up#*.}0 * 5 / 36))"
fi
[ "$1" = thermalservice ] && cat <<'END'
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=39.0, mType=0, mName=CPU0, mStatus=0}
Current temperatures from HAL:
	Temperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
	Temperature{mValue=33.2, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
END"""
FAST = {"warmup_calls": 2, "warmup_seconds": 0.02, "min_blocks": 3, "max_blocks": 3, "resamples": 200}


@pytest.fixture(scope="module")
def phone():
    commands = {"getprop": GETPROP, "dumpsys": DUMPSYS}
    with adb_server(), Phone(commands=commands, folders=programs.FOLDERS, android=True) as phone:
        yield phone


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return programs.settings(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def device(phone, settings):
    with connect(f"adb://{phone.serial}", settings) as device:
        yield device


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small and a large file per runtime."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "large.tflite": write(folder / "large.tflite", conv_bytes(96)),
        "small.tflite": write(folder / "small.tflite", conv_bytes(8)),
        "net.onnx": save_classifier(folder / "net.onnx"),
    }


def valid(result):
    jsonschema.validate(result, result_schema())
    return result


def test_latency_of_models_of_both_runtimes_in_turn(device, models, phone):
    specs = {label: {"path": str(path)} for label, path in models.items()}
    result = valid(device.do({"kind": "latency", "models": specs, "options": FAST}))
    assert [len(order) for order in result["orders"]] == [3, 3, 3]
    assert len({order[0] for order in result["orders"]}) == 3  # every model was the first once
    for label, path in models.items():
        entry = result["models"][label]
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert [len(row) for row in entry["latency"]["samples_ms"]] == [2, 2, 2]
        assert "a fresh process per block and model, in turn" in entry["latency"]["method"]
        first_ms = entry["first_inference"]  # ONNX Runtime's program tells whole milliseconds
        assert first_ms["value"] or (label, first_ms["value"]) == ("net.onnx", None)
        assert entry["load"]["value"] > 0
        assert entry["inputs"]
        assert entry["outputs"]
    assert result["models"]["net.onnx"]["session"]["runtime"] == "onnxruntime"
    large, small = (result["models"][f"{name}.tflite"]["latency"]["median_ms"] for name in ("large", "small"))
    assert large > small
    assert result["ratios"]["small.tflite"]["speedup"]["value"] == pytest.approx(large / small)
    assert 0 <= result["foreign_cpu"]["value"] <= 1
    wait_until(lambda: phone.processes() == [], "nothing runs any more")


def test_latency_of_integers(device, tmp_path):
    """Files of both runtimes on 8 bits, run by the programs as they are."""
    targets = ("onnxruntime:int8", "tflite:int8")
    specs = eight_bits.specs(eight_bits.exported(eight_bits.clip(), tmp_path, *targets))
    result = valid(device.do({"kind": "latency", "models": specs, "options": FAST}))
    for target in targets:
        assert result["models"][target]["latency"]["median_ms"] > 0
        assert [one["shape"] for one in result["models"][target]["inputs"]] == [[1, 3, 6, 12, 12]]


def test_more_calls_per_block_than_the_program_tells_one_by_one(device, models):
    specs = {label: {"path": str(models[label])} for label in ("large.tflite", "net.onnx")}
    result = valid(device.do({"kind": "latency", "models": specs, "options": {**FAST, "per_block": 7}}))
    litert, ort = (result["models"][label]["latency"] for label in specs)
    assert ([len(row) for row in litert["samples_ms"]], litert["calls_per_sample"]) == ([1, 1, 1], 7)
    assert [len(row) for row in ort["samples_ms"]] == [7, 7, 7]
    assert "calls_per_sample" not in ort


def test_memory_beside_that_of_a_model_of_one_operation(device, models):
    for name, suffix in (("large.tflite", ".tflite"), ("net.onnx", ".onnx")):
        subject, base = (
            valid(device.do({"kind": "memory", "model": model, "options": FAST, "runs": 3}))["model"]
            for model in ({"path": str(models[name])}, {"baseline": suffix})
        )
        figures = own_memory(subject["memory"], base["memory"])
        for figure in ("peak_rss_bytes", "anonymous_bytes", "pss_bytes"):
            assert 1e6 < figures[figure]["value"] < 1e9
        assert figures["pss_bytes"]["value"] <= figures["peak_rss_bytes"]["value"]
        assert figures["heap_bytes"]["value"] is None
        assert "does not tell" in figures["heap_bytes"]["reason"]
        assert abs(figures["own_peak_rss_bytes"]["value"]) < figures["peak_rss_bytes"]["value"]


@pytest.mark.parametrize("name", ["large.tflite", "net.onnx"])
def test_operators(device, models, phone, name):
    model = {"path": str(models[name])}
    result = valid(device.do({"kind": "profile", "model": model, "options": FAST, "runs": 10}))
    here = run_job({"kind": "profile", "model": model, "runs": 3})["model"]["profile"]["ops"]
    told = result["model"]["profile"]
    what = "name" if name == "large.tflite" else "op_type"
    assert [(op[what], op["delegated"]) for op in told["ops"]] == [(op[what], op["delegated"]) for op in here]
    assert told["runs"] == 10
    assert told["total_median_us"] > 0
    assert list((phone.root / FOLDER[1:]).glob("profile*")) == []


@pytest.mark.parametrize("name", ["large.tflite", "net.onnx"])
def test_a_load_fills_its_window(device, models, name):
    model = {"path": str(models[name])}
    before = float(device.shell.read("/proc/uptime").split()[0])
    result = valid(
        device.do({"kind": "load", "model": model, "seconds": 1.5, "min_inferences": 20, "options": FAST})
    )
    after = float(device.shell.read("/proc/uptime").split()[0])
    load = result["load"]
    begin_s, end_s = load["begin_ns"] / 1e9, load["end_ns"] / 1e9
    assert before <= begin_s < end_s <= after
    assert end_s - begin_s >= 1.4
    assert load["inferences"] >= 20
    # The window holds the timed calls and next to nothing else.
    told = load["samples_ms"][-1:] if name == "large.tflite" else load["samples_ms"]
    mean_s = np.mean(np.concatenate(told)) / 1e3
    assert end_s - begin_s == pytest.approx(load["inferences"] * mean_s, rel=0.1)
    assert len(load["samples_ms"]) >= 2


def test_energy_by_the_batterys_charge(device, models):
    """The phone's battery gives 2 W all the time: of that, each inference takes its share."""
    rules = {"energy_idle_s": "1.5", "energy_run_s": "2", "energy_settle_s": "0.2", "energy_windows": "1"}
    model = {"path": str(models["large.tflite"])}
    jobs = {"large": {"kind": "load", "model": model, "options": FAST}}
    measured = energy.measure(device, jobs, {**rules, "energy_samples": "5"})["large"]
    assert measured["gross_j_per_inference"].get("reason") is None
    (window,) = measured["windows"]
    assert measured["sensor"] == "battery"
    assert measured["gross_j_per_inference"]["value"] == pytest.approx(
        2.0 * window["seconds"] / window["inferences"], rel=0.02
    )


def test_what_the_device_tells_of_itself(device):
    environment = device.environment()
    assert environment["system"] == "Android 16"
    assert environment["board"] == "Debian adbd"
    assert environment["cpu_model"].startswith("Example E1 (")
    assert environment["temperature_celsius"] == {"CPU0": 41.5, "VIRTUAL-SKIN": 33.2}
    assert environment["versions"]["benchmark_model"].startswith("sha256:")
    assert environment["cores"] >= 1


def test_each_file_travels_once(device, models, phone):
    job = {"kind": "latency", "models": {"a": {"path": str(models["small.tflite"])}}, "options": FAST}
    device.do(job)
    times = {path: path.stat().st_ctime_ns for path in (phone.root / FOLDER[1:] / "files").rglob("*")}
    device.do(job)
    again = {path: path.stat().st_ctime_ns for path in (phone.root / FOLDER[1:] / "files").rglob("*.tflite")}
    assert again
    assert again.items() <= times.items()


def test_a_program_that_hangs_is_ended(phone, settings, models, tmp_path):
    (tmp_path / "benchmark_model").write_text("#!/bin/sh\necho STARTING!\nsleep 400 & sleep 401\n")
    with connect(f"adb://{phone.serial}", given(tmp_path / "benchmark_model")) as device:
        job = {"kind": "latency", "models": {"a": {"path": str(models["small.tflite"])}}, "options": FAST}
        begin = time.monotonic()
        with pytest.raises(RuntimeFailed, match="benchmark_model was not done in time and was ended"):
            device.do(job, timeout_s=2.0)
        assert time.monotonic() - begin < 20
        wait_until(lambda: phone.processes() == [], "nothing runs any more")


def given(path: Path) -> dict[str, str]:
    path.chmod(0o755)
    name = path.name
    return {name: str(path), f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo STARTING!; kill -9 $$", r"was ended by signal 9 \(SIGKILL; it may have run out of memory\)"),
        (
            "echo STARTING!; echo 'ERROR: Unknown option' >&2; exit 1",
            "ended with code 1: ERROR: Unknown option",
        ),
        ("echo STARTING!", "told no inference time: STARTING!"),
    ],
)
def test_a_program_that_fails(phone, models, tmp_path, script, said):
    (tmp_path / "benchmark_model").write_text(f"#!/bin/sh\n{script}\n")
    with connect(f"adb://{phone.serial}", given(tmp_path / "benchmark_model")) as device:
        job = {"kind": "latency", "models": {"a": {"path": str(models["small.tflite"])}}, "options": FAST}
        with pytest.raises(RuntimeFailed, match=f"benchmark_model {said}"):
            device.do(job)


def test_a_killed_program_in_the_middle_of_a_job(phone, device, models):
    """Somebody's killer of memory hogs on the device."""
    failed: list[BaseException] = []

    def measure() -> None:
        job = {"kind": "load", "model": {"path": str(models["large.tflite"])}, "seconds": 60, "options": FAST}
        try:
            device.do(job)
        except RuntimeFailed as error:
            failed.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: phone.kill_processes("/python ") == 1, "its program runs")
    thread.join(30)
    assert "ended by signal 9" in str(failed[0])
    wait_until(lambda: phone.processes() == [], "nothing runs any more")


def test_a_phone_that_is_lost_in_the_middle_of_a_job(settings, models):
    with Phone(folders=programs.FOLDERS) as phone, connect(f"adb://{phone.serial}", settings) as device:
        job = {"kind": "load", "model": {"path": str(models["large.tflite"])}, "seconds": 60, "options": FAST}
        threading.Timer(4.0, phone.kill).start()
        with pytest.raises(DeviceError, match="the connection was lost"):
            device.do(job)
        wait_until(lambda: phone.processes() == [], "nothing runs any more")


def test_a_full_phone_says_so_before_it_is_full(settings, tmp_path):
    (tmp_path / "big.tflite").write_bytes(np.random.default_rng(0).bytes(5_000_000))
    job = {"kind": "memory", "model": {"path": str(tmp_path / "big.tflite")}}
    with Phone(data="4m") as phone, connect(f"adb://{phone.serial}", settings) as device:
        try:
            device.do(job)
        except DeviceError as error:
            said = error.message
        assert re.search(r"is full: .* has \S+ MB left and the files need \S+ MB", said)


def test_two_phones_at_once(device, phone, settings, models):
    job = {"kind": "latency", "models": {"a": {"path": str(models["small.tflite"])}}, "options": FAST}
    with Phone(folders=programs.FOLDERS) as other, connect(f"adb://{other.serial}", settings) as second:
        results = {}
        threads = [
            threading.Thread(target=lambda one=one: results.update({one.url: one.do(job)}))
            for one in (device, second)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(results) == {f"adb://{phone.serial}", f"adb://{other.serial}"}
        for result in results.values():
            valid(result)


def test_python_on_the_phone_does_all_jobs(phone, models, tmp_path):
    with connect(f"adb://{phone.serial}", {"python": sys.executable}) as device:
        model = {"path": str(models["net.onnx"])}
        described = run_job({"kind": "latency", "models": {"a": model}, "options": FAST})["models"]["a"]
        (info,) = described["inputs"]
        inputs, outputs = tmp_path / "in.npz", tmp_path / "out.npz"
        np.savez(inputs, **{info["name"]: np.ones(info["shape"], np.float32)})
        here = tmp_path / "here.npz"
        job = {"kind": "run", "model": model, "inputs": str(inputs)}
        valid(device.do({**job, "outputs": str(outputs)}))
        run_job({**job, "outputs": str(here)})
        with np.load(outputs) as got, np.load(here) as expected:
            assert got.files == expected.files
            for name in got.files:
                np.testing.assert_array_equal(got[name], expected[name])


def test_what_is_asked_for_wrongly(phone, device, settings, models, tmp_path):
    with pytest.raises(
        UsageError, match=r"does no 'run' job: its benchmark programs give no outputs.*web\+adb"
    ):
        device.do({"kind": "run", "model": {"path": "x.tflite"}, "inputs": "a", "outputs": "b"})
    with pytest.raises(RuntimeInputError, match=r"measures no \.xml files in openvino"):
        device.do({"kind": "memory", "model": {"path": "x.xml"}})
    with pytest.raises(RuntimeInputError, match="precision is 'float16', expected float32"):
        device.do({"kind": "memory", "model": {"path": "x.tflite", "precision": "float16"}})
    with pytest.raises(UsageError, match="it is another file"):
        connect(f"adb://{phone.serial}", {**settings, "benchmark_model_sha256": "0" * 64})
    with pytest.raises(UsageError, match="expected the SHA-256 of"):
        connect(f"adb://{phone.serial}", {"benchmark_model": settings["benchmark_model"]})
    with connect(f"adb://{phone.serial}", {}) as bare, pytest.raises(MissingError, match="needs the program"):
        bare.do({"kind": "memory", "model": {"path": str(models["small.tflite"])}})
