"""Times of single operators: which they are, in what order, and every refusal."""

import sys
from pathlib import Path

import ai_edge_litert
import jsonschema
import numpy as np
import pytest
from support.tflite_files import Op, Open, tflite_bytes, write

from tdedge_runtimes import tflite_profile
from tdedge_runtimes.client import profile_model, result_schema, run_job
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, RuntimeMissing
from tdedge_runtimes.tflite_profile import profile, summarise


@pytest.fixture
def mixed(tmp_path):
    """Two partitions of XNNPACK around CUMSUM, which it leaves alone, and CUMSUM again."""
    names = ["RELU", "CUMSUM", "TANH", "CUMSUM"]
    tensors = {name: Open((1, 4)) for name in ("x", "a", "b", "c", "y")} | {"axis": np.array(1, np.int32)}
    ops = [
        Op(name, [before, "axis"] if name == "CUMSUM" else [before], [after], "Cumsum" * (name == "CUMSUM"))
        for name, before, after in zip(names, "xabc", "abcy", strict=True)
    ]
    return write(tmp_path / "mixed.tflite", tflite_bytes(tensors, ops, ["x"], ["y"]))


def test_every_operator_of_every_partition_is_told_in_order(mixed):
    ops = profile(mixed, runs=4)
    assert [op.ordinal for op in ops] == [0, 1, 2, 3]
    assert [op.delegated for op in ops] == [True, False, True, False]
    assert [op.name for op in ops[1::2]] == ["CUMSUM", "CUMSUM"]
    assert ops[0].name.startswith("Clamp")
    assert ops[2].name.startswith("TanH")
    assert [op.node for op in ops] == [0, 1, 0, 3]  # in each partition from 0, in the file by place
    for op in ops:
        assert op.kind == "measured"
        assert op.min_us <= op.median_us <= op.max_us
        assert op.min_us <= op.mean_us <= op.max_us


@pytest.mark.parametrize("threads", [1, 2])
def test_a_convolution_is_told_by_its_kernel(nets, threads):
    names = [op.name.partition(" (")[0] for op in profile(nets / "small.tflite", threads=threads, runs=2)]
    assert names == ["Transpose", "Convolution", "Convolution", "Transpose"]


def test_a_fresh_process_gives_a_valid_result(nets, mixed):
    result = profile_model(mixed, runs=3, threads=2)
    jsonschema.Draft202012Validator(result_schema()).validate(result)
    assert (result["kind"], result["options"]["threads"]) == ("profile", 2)
    assert result["model"]["file"] == "mixed.tflite"
    told = result["model"]["profile"]
    assert told["runs"] == 3
    assert len(told["ops"]) == 4
    assert told["total_median_us"] == sum(op["median_us"] for op in told["ops"])


def test_given_inputs_are_used(tmp_path):
    """An index outside makes this file fail; the inputs of the two sides are told apart by name."""
    tensors = {"x": Open((4,)), "at": Open((1,), "int32"), "y": Open((1,))}
    signature = ({"where": "at", "values": "x"}, {"taken": "y"})
    ops = [Op("GATHER", ["x", "at"], ["y"], "Gather")]
    path = write(tmp_path / "net.tflite", tflite_bytes(tensors, ops, ["x", "at"], ["y"], signature))
    good = {"values": np.zeros(4, np.float32), "where": np.int32([3])}
    assert len(profile(path, runs=2, inputs=good)) == 1
    np.savez(tmp_path / "in.npz", **good)
    assert profile_model(path, runs=1, inputs=tmp_path / "in.npz")["model"]["profile"]["runs"] == 1
    with pytest.raises(RuntimeFailed, match="LiteRtRunCompiledModel returned status"):
        profile(path, inputs={**good, "where": np.int32([9])})
    with pytest.raises(RuntimeInputError, match="input 'where' is missing"):
        profile(path, inputs={"values": good["values"]})


@pytest.mark.parametrize(
    ("option", "value"), [("runs", 0), ("runs", True), ("threads", 1.5), ("threads", -1)]
)
def test_counts_are_whole_numbers(mixed, option, value):
    with pytest.raises(RuntimeInputError, match=f"{option} is"):
        profile(mixed, **{option: value})


def test_files_that_cannot_be_profiled_are_one_line(nets):
    with pytest.raises(RuntimeInputError, match=r"cannot load 'broken\.tflite'"):
        profile_model(nets / "broken.tflite")
    with pytest.raises(RuntimeInputError, match="runs is 0"):
        profile_model(nets / "small.tflite", runs=0)
    with pytest.raises(RuntimeInputError, match="a profile needs a model with 'path'"):
        run_job({"kind": "profile", "model": {"baseline": ".tflite"}})


def test_an_untested_version_is_refused(mixed, monkeypatch):
    monkeypatch.setattr(ai_edge_litert, "__version__", "99.0")
    with pytest.raises(RuntimeMissing) as raised:
        profile(mixed)
    tested = tflite_profile.TESTED_VERSIONS[-1]
    assert raised.value.message == (
        f"profiling needs ai-edge-litert {tested}, but ai-edge-litert 99.0 is installed; "
        f"install it with: pip install 'ai-edge-litert=={tested}'"
    )
    assert raised.value.install == f"pip install 'ai-edge-litert=={tested}'"


def test_a_library_without_a_call_is_refused(mixed, tmp_path, monkeypatch):
    """Another library under the same name, as a later wheel may bring."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    other = next(line.split()[-1] for line in maps.splitlines() if "libc.so" in line)
    (tmp_path / "libLiteRt.so").symlink_to(other)
    monkeypatch.setattr(ai_edge_litert, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(RuntimeMissing, match="its library has no LiteRtCreateEnvironment"):
        profile(mixed)


def test_no_library_is_refused(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(ai_edge_litert, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(RuntimeMissing, match=r"its libLiteRt\.so cannot be loaded"):
        profile(mixed)


def test_the_older_package_cannot_be_profiled(mixed, tmp_path, monkeypatch):
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text("__version__ = '2.14.0'\n")
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "ai_edge_litert"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(RuntimeMissing, match=r"but tflite-runtime 2\.14\.0 is installed"):
        profile(mixed)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tflite_runtime"]:
        del sys.modules[name]


def test_times_are_taken_over_the_runs():
    ops = summarise([[("A", True, 0, 3), ("B", False, 1, 8)], [("A", True, 0, 5), ("B", False, 1, 1)]])
    assert (ops[0].mean_us, ops[0].median_us, ops[0].min_us, ops[0].max_us) == (4.0, 4.0, 3.0, 5.0)
    assert (ops[1].name, ops[1].ordinal, ops[1].mean_us) == ("B", 1, 4.5)


@pytest.mark.parametrize(
    "runs", [[[], []], [[("A", True, 0, 1)], [("B", True, 0, 1)]], [[("A", True, 0, 1)], []]]
)
def test_runs_that_differ_are_refused(runs):
    with pytest.raises(RuntimeFailed, match="shows no operators, or others in each run"):
        summarise(runs)
