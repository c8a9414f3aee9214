"""``tdedge bench --on``: this machine as a device, and devices that are not there."""

import json

import jsonschema
import pytest
from support import players
from support.networks import save_classifier

from tdedge.cli.on_devices import duration_s
from tdedge.errors import UsageError
from tdedge.report.schema import schema

FAST = ("--seconds", "0", "--rounds", "1", "--no-memory", "--no-progress")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TDEDGE_DEVICES", str(tmp_path / "devices.toml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def artifacts(tdedge, folder):
    """base and small, for ONNX Runtime alone."""
    net = save_classifier(folder / "net.onnx")
    common = ("--effort", "none", "--to", "onnxruntime", "-q")
    tdedge("export", net, *common, "-o", "base")
    tdedge("export", net, *common, "-o", "small", "--format", "tucker", "--ranks", "2,2")
    return folder


def test_everything_that_is_written(tdedge, artifacts):
    written = ("-o", "result.json", "--report", "page.html", "--markdown", "run.md", "--node-data", "nodes")
    asked = ("--energy", "--sustained", "1", "--profile", "--log", "run.jsonl")
    done = tdedge("bench", "base", "small", "--on", "local:", *FAST, *written, *asked, "--json")
    assert done.code == 0, done.err
    document = json.loads((artifacts / "result.json").read_text())
    assert document == done.document
    jsonschema.Draft202012Validator(schema()).validate(document)
    entry = document["devices"]["local:"]["targets"]["onnxruntime"]
    assert entry["valid"]
    assert [one["passed"] for one in entry["parity"].values()] == [True, True]
    assert "local:, onnxruntime" in (artifacts / "page.html").read_text()
    assert (artifacts / "run.md").read_text().startswith("# Benchmark")
    assert len(list((artifacts / "nodes").iterdir())) == 2
    assert (artifacts / "run.jsonl").read_text().count('"piece"') == 9
    again = tdedge("report", "result.json", "--json")
    assert again.code == 0
    assert again.document["devices"] == document["devices"]


def test_a_device_that_is_gone_keeps_the_results_of_the_other(tdedge, artifacts):
    tdedge("devices", "add", "here", "local:")
    tdedge("devices", "add", "gone", "replay:/nowhere/recording")
    done = tdedge("bench", "base", "small", "--on", "here,gone", *FAST, "-o", "result.json")
    document = json.loads((artifacts / "result.json").read_text())
    jsonschema.Draft202012Validator(schema()).validate(document)
    assert document["devices"]["here"]["targets"]["onnxruntime"]["valid"]
    (error,) = document["devices"]["gone"]["errors"]
    assert done.code == error["exit_code"] != 0
    assert done.last.startswith("tdedge: gone: ")


def test_a_server_that_is_not_there_is_exit_code_4(tdedge, artifacts):
    done = tdedge("bench", "base", "small", "--on", "ssh://nobody@127.0.0.1:1", *FAST, "-o", "result.json")
    assert done.code == 4
    assert "127.0.0.1:1" in done.last
    assert (artifacts / "result.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "2"], "--rounds is for devices; name them with --on"),
        (["--energy"], "--energy is for devices"),
        (["--sustained", "1m"], "--sustained is for devices"),
        (["--on", "local:", "--resume"], "--resume goes on with a log; name it with --log"),
        (["--on", "pi5"], "there is no device 'pi5'"),
        (["--on", "local:,local:"], "--on names the device 'local:' twice"),
        (["--on", "local:", "--sustained", "soon"], "--sustained 'soon'; expected a time such as 30m"),
        (["--on", "local:", "--rounds", "0"], "--rounds 0; expected at least 1"),
        (["--on", "local:", "--log", "there.jsonl"], "there.jsonl exists; pass --resume"),
        (["--on", "local:", "--node-data", "nodes"], "--node-data needs the time of single operators"),
    ],
)
def test_mistakes_are_one_line(tdedge, artifacts, arguments, words):
    (artifacts / "there.jsonl").write_text("")
    done = tdedge("bench", "base", "small", *arguments, "--no-progress")
    assert (done.code, done.out) == (2, "")
    assert words in done.last
    assert done.err.count("\n") == 1


def test_a_bare_interpreter_is_exit_code_3(tdedge, artifacts):
    tdedge("devices", "add", "bare", "local:", "--set", "python=/nowhere/python")
    done = tdedge("bench", "base", "small", "--on", "bare", *FAST)
    assert done.code == 3
    assert "/nowhere/python" in done.last


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("90s", 90), ("1h", 3600), ("1.5", 1.5)])
def test_durations(text, seconds):
    assert duration_s(text, "--sustained") == seconds


@pytest.mark.parametrize("text", ["", "0", "-1s", "30 min", "2d", "25h", "1e3"])
def test_other_durations_are_refused(text):
    with pytest.raises(UsageError, match="--sustained"):
        duration_s(text, "--sustained")


def test_energy_of_a_recorded_device(tdedge, artifacts):
    """A Raspberry Pi's sensor that plays a known power, the real sampler, a real model, to the page."""
    players.install(artifacts / "pi", "vcgencmd")
    brief = {
        "idle_s": 0.8,
        "run_s": 1.2,
        "settle_s": 0.05,
        "windows": 1,
        "samples": 10,
        "drift": 0.5,
        "gap_s": 2,
    }
    settings = [word for name, value in brief.items() for word in ("--set", f"energy_{name}={value}")]
    tdedge("devices", "add", "pi", f"replay:{artifacts / 'pi'}", *settings)
    asked = ("--energy", "--log", "run.jsonl", "-o", "result.json", "--report", "page.html")
    done = tdedge("bench", "base", "small", "--on", "pi", *FAST, *asked)
    document = json.loads((artifacts / "result.json").read_text())
    jsonschema.Draft202012Validator(schema()).validate(document)
    assert done.code == 0, done.err
    entry = document["devices"]["pi"]["targets"]["onnxruntime"]
    gross = entry["energy"]["base"]["gross_j_per_inference"]
    assert gross["kind"] == "replayed"
    (window,) = entry["energy"]["base"]["windows"]
    power_w = gross["value"] * window["inferences"] / window["seconds"]
    assert power_w == pytest.approx(players.WAVE.mean, rel=0.2)
    assert "12 rails" in done.out or "rails" in done.out
    assert "computed from a recording" in (artifacts / "page.html").read_text()
    assert list((artifacts / "run.energy" / "onnxruntime").iterdir())
