"""Exports to 8 bits, end to end: calibrated on samples, judged on others, explained, verified again."""

import json
import os

import numpy as np
import onnx_ir as ir
import pytest
from support.eight_bits import clip, residual, samples, save_samples

from tdedge.artifact import read_manifest
from tdedge.errors import GateError, UsageError
from tdedge.golden import for_target, to_reals
from tdedge.plan import make_plan
from tdedge_devices import parity
from tdedge_exporters import onnxruntime, openvino
from tdedge_exporters.export import export
from tdedge_exporters.prepare import Source
from tdedge_exporters.quantize.settings import Int8
from tdedge_exporters.verification import verify_artifact, verify_files
from tdedge_runtimes.client import run_job
from tdedge_runtimes.session import open_session

INT8 = ("onnxruntime:int8", "openvino:int8", "tflite:int8")
WEIGHTS = ("onnxruntime:int8-weights", "openvino:int8-weights", "tflite:int8-weights")
NETWORKS = {"residual": residual, "clip": clip}
#: Convolutions that composing leaves of them; one matrix product follows.
CONVOLUTIONS = {"residual": 4, "clip": 3}


@pytest.fixture(scope="module", params=NETWORKS)
def exported(request, tmp_path_factory):
    """(folder with net.onnx and data.npz, result of the export to every form of 8 bits, and to float32)."""
    folder = tmp_path_factory.mktemp(request.param)
    model = NETWORKS[request.param]()
    ir.save(model, folder / "net.onnx")
    data = save_samples(folder / "data.npz", model, 16)
    to = (*INT8, *WEIGHTS, "onnxruntime")
    return folder, export(folder / "net.onnx", folder / "out", to=to, calibration=data)


def test_every_target_is_near_the_network_on_samples_held_out(exported):
    folder, result = exported
    entries = {entry.target: entry for entry in result.manifest.targets}
    assert set(entries) == {*INT8, *WEIGHTS, "onnxruntime"}
    for name, entry in entries.items():
        found = entry.parity
        assert found["passed"]
        assert (found["min_sqnr_db"], found["tolerance"]) == {
            "int8": (20.0, None), "int8-weights": (25.0, None), "float32": (None, 1e-4)
        }[entry.precision]  # fmt: skip
        if name in INT8:
            assert 25 < found["sqnr_db"] < 60
            assert found["outputs"][0]["top1_agreement"] is not None
            assert entry.quality.held_out == 4
            assert entry.quality.samples == 12
            assert entry.quality.products == CONVOLUTIONS[folder.name.rstrip("0")] + 1
            assert entry.quality.kept == {}
            assert len(entry.quality.worst) == 5
        else:
            assert entry.quality is None
            assert found["sqnr_db"] > 30


def test_the_files_run_on_integers(exported):
    folder, result = exported
    found = onnxruntime.integer_operators(result.folder / "model-int8.onnx")
    assert found["QLinearConv"] == CONVOLUTIONS[folder.name.rstrip("0")]
    assert all(openvino.products(result.folder / "model-int8.xml").values())
    with open_session("tflite", result.folder / "model-int8.tflite") as session:
        assert session.describe()["execution"]["delegate_partitions"] == 1
        assert session.inputs[0].dtype == "float32"


def test_the_whole_report_is_in_the_artifact(exported):
    _, result = exported
    manifest = read_manifest(result.folder)
    for entry in manifest.targets:
        name = f"quality-{entry.target.replace(':', '-')}.json"
        assert (name in {file.path for file in entry.files}) == (entry.target in INT8)
        if entry.target not in INT8:
            continue
        stored = json.loads((result.folder / name).read_text())
        assert stored["target"] == entry.target
        assert stored["tensors"] == result.quality[entry.target].to_json()["tensors"]
        worst = min(t["sqnr_db"] for t in stored["tensors"] if t["sqnr_db"] is not None)
        assert entry.quality.worst[0].sqnr_db == worst


def test_the_golden_input_is_a_sample_held_out(exported):
    folder, result = exported
    with np.load(folder / "data.npz") as data, np.load(result.folder / "golden.npz") as golden:
        assert np.array_equal(golden["input.x"], data["x"][12:13])


def test_the_artifact_verifies_again_here_and_by_the_rule_of_devices(exported):
    _, result = exported
    reports = verify_artifact(result.folder)
    assert all(report.passed for report in reports.values())
    assert reports["onnxruntime:int8"].min_sqnr_db <= 20.0
    strict = verify_artifact(result.folder, min_sqnr_db=70)
    assert not any(strict[name].passed for name in INT8)
    assert strict["onnxruntime"].passed
    path = result.folder / "model-int8.onnx"
    found = parity.check(run_job, {"path": str(path)}, result.folder, "onnxruntime:int8")
    assert found["passed"]
    assert found["tolerance"] is None


def test_files_are_compared_on_the_samples_of_the_export(exported):
    folder, result = exported
    file = result.folder / "model-int8.onnx"
    (report,) = verify_files(
        Source(folder / "net.onnx"), [file], precision="int8", calibration=folder / "data.npz"
    ).values()
    entry = next(e for e in result.manifest.targets if e.target == "onnxruntime:int8")
    assert report.worst.sqnr_db == pytest.approx(entry.parity["sqnr_db"])
    with pytest.raises(UsageError, match="give --inputs or --calibration"):
        verify_files(Source(folder / "net.onnx"), [file], precision="int8")
    with pytest.raises(UsageError, match="give one of them"):
        verify_files(
            *(Source(folder / "net.onnx"), [file]), inputs=folder / "a.npz", calibration=folder / "data.npz"
        )


@pytest.fixture
def net(tmp_path):
    """A residual network as a file, and its data."""
    ir.save(residual(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx", save_samples(tmp_path / "data.npz", residual(), 8)


def test_integer_ends_are_told_of_and_verified(net):
    source, data = net
    folder = source.parent / "out"
    result = export(source, folder, to="tflite:int8,onnxruntime:int8", calibration=data, integer_io=True)
    entry, other = result.manifest.targets
    assert entry.integers["x"].dtype == "int8"
    assert other.integers == {}
    (feed,) = samples(residual(), 1)
    with open_session("tflite", folder / entry.entry) as session:
        assert session.inputs[0].dtype == session.outputs[0].dtype == "int8"
        got = to_reals(session.run(for_target(feed, entry)), entry.integers)["y"]
    with open_session("onnxruntime", source) as session:
        wanted = session.run(feed)["y"]
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()
    assert all(report.passed for report in verify_artifact(folder).values())
    spec = {"path": str(folder / entry.entry)}
    assert parity.check(run_job, spec, folder, "tflite:int8")["passed"]


def test_products_stay_float_until_the_ratio_is_reached(net):
    source, _ = net
    folder = source.parent
    # Enough samples that those held out are like those that decide.
    data = save_samples(folder / "many.npz", residual(), 48)
    plain = export(source, folder / "a", to="onnxruntime:int8", calibration=data)
    (entry,) = plain.manifest.targets
    wanted = entry.parity["sqnr_db"] + 4
    int8 = Int8(min_sqnr_db=wanted)
    (better,) = export(
        source, folder / "b", to="onnxruntime:int8", calibration=data, int8=int8
    ).manifest.targets
    assert better.parity["sqnr_db"] >= wanted == better.parity["min_sqnr_db"]
    assert 0 < len(better.quality.kept) < 5
    assert better.quality.products == 5 - len(better.quality.kept)


def test_what_is_asked_to_stay_float_does(net):
    source, data = net
    result = export(
        *(source, source.parent / "out"),
        to="onnxruntime:int8",
        calibration=data,
        int8=Int8(keep=("n_y",), equalise=False),
    )
    (entry,) = result.manifest.targets
    assert entry.quality.kept == {"n_y": "asked for"}
    assert entry.quality.equalised == 0
    assert entry.notes == ["ONNX Runtime computes 1 products in float32: n_y"]


def test_below_the_floor_nothing_is_left_and_the_noisiest_are_named(net):
    source, data = net
    with pytest.raises(GateError) as raised:
        export(
            source,
            source.parent / "out",
            to="openvino:int8",
            calibration=data,
            int8=Int8(method="minmax", min_sqnr_db=300),
        )
    text = raised.value.message
    assert text.startswith("openvino:int8: quality failed: output 'y' has ")
    for words in ("(int8 floor 300.0 dB)", "6 were used", "another --calibration-method than minmax"):
        assert words in text
    assert sorted(os.listdir(source.parent)) == ["data.npz", "net.onnx"]


def test_random_samples_are_warned_about(net):
    source, _ = net
    result = export(source, source.parent / "out", to="onnxruntime:int8", calibration="random")
    assert any("accuracy on real data is unknown" in text for text in result.manifest.warnings)
    assert result.manifest.targets[0].quality.samples == 32


def test_weights_alone_need_no_data(net):
    source, _ = net
    result = export(source, source.parent / "out", to=WEIGHTS)
    sizes = {file.path: file.size_bytes for entry in result.manifest.targets for file in entry.files}
    assert sizes["model-int8-weights.bin"] > 0
    assert not any(name.startswith("quality") for name in sizes)
    assert all(report.passed for report in verify_artifact(result.folder).values())


def test_bfloat16_where_the_processor_has_it(net):
    source, _ = net
    capabilities = openvino.openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        with pytest.raises(Exception, match="this processor has no bfloat16"):
            export(source, source.parent / "out", to="openvino:bfloat16")
        return
    (entry,) = export(source, source.parent / "out", to="openvino:bfloat16").manifest.targets
    assert (entry.precision, entry.parity["tolerance"]) == ("bfloat16", 1e-1)
    assert 1e-5 < entry.parity["max_rel"] < 5e-2


def test_int8_of_a_decomposed_network(net):
    source, data = net
    plan = make_plan("tucker", ratio=0.5)
    result = export(source, source.parent / "out", to=INT8, plan=plan, calibration=data)
    for entry in result.manifest.targets:
        assert entry.parity["passed"]
        assert entry.quality.products > 5
    assert result.manifest.compression_error["max_rel"] > 1e-3


def test_equal_exports_are_equal_files(net):
    source, data = net
    for name in ("one", "two"):
        export(source, source.parent / name, to=(*INT8, *WEIGHTS), calibration=data)
    for file in sorted(os.listdir(source.parent / "one")):
        one, two = ((source.parent / name / file).read_bytes() for name in ("one", "two"))
        assert one == two, file
        assert str(source.parent).encode() not in one
