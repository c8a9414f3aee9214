"""``tdedge bench`` on phones: two side by side, one lost in the middle, interrupted, and gone on with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from support import programs
from support.adbd import Phone, adb_server, wait_until
from support.networks import save_classifier

TDEDGE = str(Path(sys.executable).with_name("tdedge"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two artifacts of one network for LiteRT, and the programs for the phones."""
    folder = tmp_path_factory.mktemp("bench")
    net = str(save_classifier(folder / "net.onnx"))
    common = ["export", net, "--effort", "none", "--to", "tflite", "-q"]
    for name, rule in (("base", []), ("small", ["--format", "tucker", "--ranks", "2,2"])):
        subprocess.run([TDEDGE, *common, "-o", str(folder / name), *rule], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def phones():
    with (
        adb_server(),
        Phone(folders=programs.FOLDERS, android=True) as one,
        Phone(folders=programs.FOLDERS) as two,
    ):
        yield one, two


@pytest.fixture
def bench(folder, phones, tmp_path):
    """A call that starts ``tdedge bench base small --on DEVICES``."""
    environment = {
        **os.environ,
        "TDEDGE_DEVICES": str(tmp_path / "devices.toml"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    settings = programs.settings(folder)
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    for name, phone in zip(("one", "two"), phones, strict=True):
        add = [TDEDGE, "devices", "add", name, f"adb://{phone.serial}", *words]
        subprocess.run(add, check=True, capture_output=True, env=environment)

    def start(*options):
        command = [
            TDEDGE,
            "bench",
            str(folder / "base"),
            str(folder / "small"),
            "--seconds",
            "1",
            "--rounds",
            "1",
        ]
        log = ["--log", str(tmp_path / "log.jsonl")]
        return subprocess.Popen(
            [*command, "--no-memory", *log, *options], env=environment, text=True, stderr=subprocess.PIPE
        )

    return start


def measures(phone):
    return any("--graph=" in line for line in phone.processes())


def nothing_runs(phones):
    wait_until(lambda: [phone.processes() for phone in phones] == [[], []], "nothing runs on the phones")


def test_a_phone_is_lost_and_the_bench_gone_on_with(bench, phones, tmp_path):
    one = phones[0]
    result = tmp_path / "result.json"
    running = bench("--on", "one,two", "-o", str(result))
    wait_until(lambda: measures(one), "the first phone measures")
    one.kill()
    _, said = running.communicate(timeout=200)
    assert running.returncode == 4, said
    assert f"cannot reach {one.serial}" in said.splitlines()[-1]
    nothing_runs(phones)
    kept = json.loads(result.read_text())
    assert "two" in json.dumps(kept)

    one.switch_on()
    running = bench("--on", "one,two", "-o", str(result), "--force", "--resume")
    _, said = running.communicate(timeout=200)
    assert running.returncode == 0, said
    assert "two: tflite/latency" not in said  # what was measured is not measured again
    assert "one: tflite/latency" in said
    schema = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads(result.read_text()), schema)


def test_an_interrupted_bench_leaves_nothing_on_the_phone(bench, phones):
    running = bench("--on", "one")
    wait_until(lambda: measures(phones[0]), "the phone measures")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    nothing_runs(phones)
