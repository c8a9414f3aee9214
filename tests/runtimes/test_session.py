"""The protocol in every runtime: equal outputs, the same refusals."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.session import (
    RUNTIMES,
    TensorInfo,
    check_inputs,
    describe_file,
    load_inputs,
    open_session,
    random_inputs,
    runtime_of,
    save_arrays,
)

EVERY = pytest.mark.parametrize("runtime", list(RUNTIMES))


def assert_parity(got, expected, tolerance=1e-5):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


@EVERY
def test_outputs_equal_the_reference(nets, net_for, runtime):
    with open_session(runtime, net_for(runtime)) as session:
        inputs = random_inputs(session.inputs, seed=3)
        outputs = session.run(inputs)
    expected = ReferenceEvaluator(onnx.load(nets / "small.onnx")).run(None, inputs)[0]
    assert list(outputs) == ["y"]
    assert outputs["y"].dtype == np.float32
    assert_parity(outputs["y"], expected)


@EVERY
def test_inputs_and_outputs_are_described(net_for, runtime):
    with open_session(runtime, net_for(runtime)) as session:
        assert session.inputs == (TensorInfo("x", (1, 3, 12, 12), "float32"),)
        assert session.outputs == (TensorInfo("y", (1, 4, 5, 5), "float32"),)


@EVERY
def test_outputs_belong_to_the_caller(net_for, runtime):
    with open_session(runtime, net_for(runtime)) as session:
        first = session.run(random_inputs(session.inputs, seed=1))["y"]
        kept = first.copy()
        second = session.run(random_inputs(session.inputs, seed=2))["y"]
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    second[:] = 0


@EVERY
def test_a_bound_call_leaves_run_alone(net_for, runtime):
    with open_session(runtime, net_for(runtime)) as session:
        one, two = (random_inputs(session.inputs, seed=seed) for seed in (1, 2))
        expected = session.run(two)["y"]
        call = session.bind(one)
        call()
        assert np.array_equal(session.run(two)["y"], expected)


@EVERY
def test_describe_tells_what_is_in_force(net_for, runtime):
    with open_session(runtime, net_for(runtime), threads=2) as session:
        described = session.describe()
    assert described["runtime"] == runtime
    assert described["threads"] == 2
    assert described["version"][0].isdigit()
    assert "CPU" in described["execution"]["provider"]


@EVERY
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing; expected float32 [1, 3, 12, 12]"),
        ({"x": np.zeros((1, 3, 12, 12), np.float32), "z": np.zeros(1)}, "has no input 'z'; its inputs are x"),
        ({"x": np.zeros((1, 3, 12), np.float32)}, "float32 [1, 3, 12]; expected float32 [1, 3, 12, 12]"),
        ({"x": np.zeros((1, 3, 12, 13), np.float32)}, "float32 [1, 3, 12, 13]; expected"),
        ({"x": np.zeros((1, 3, 12, 12))}, "is float64 [1, 3, 12, 12]; expected float32"),
    ],
)
def test_wrong_inputs_are_named(net_for, runtime, inputs, message):
    with open_session(runtime, net_for(runtime)) as session:
        for use in (session.run, session.bind):
            with pytest.raises(RuntimeInputError) as raised:
                use(inputs)
            assert message in raised.value.message
            assert raised.value.exit_code == 2


@EVERY
def test_an_unreadable_file_is_one_line(net_for, runtime):
    with pytest.raises(RuntimeInputError) as raised:
        open_session(runtime, net_for(runtime, "broken"))
    assert str(raised.value).startswith(f"{runtime} cannot load 'broken.")
    assert "\n" not in str(raised.value)


@EVERY
def test_a_closed_session_says_so(net_for, runtime):
    session = open_session(runtime, net_for(runtime))
    session.close()
    for use in (session.describe, lambda: session.run(random_inputs(session.inputs))):
        with pytest.raises(RuntimeInputError, match="closed"):
            use()


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_are_whole_numbers(nets, threads):
    with pytest.raises(RuntimeInputError, match="threads"):
        open_session("onnxruntime", nets / "small.onnx", threads=threads)


def test_unknown_names(nets):
    with pytest.raises(RuntimeInputError, match="expected one of onnxruntime, openvino, tflite"):
        open_session("tensorrt", nets / "small.onnx")
    with pytest.raises(RuntimeInputError, match="unknown precision 'int3'"):
        open_session("onnxruntime", nets / "small.onnx", precision="int3")
    with pytest.raises(RuntimeInputError, match="no model file at"):
        open_session("onnxruntime", nets / "absent.onnx")
    with pytest.raises(RuntimeInputError, match=r"reads 'a\.pt'; expected a file ending in \.onnx"):
        runtime_of("folder/a.pt")


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("a.onnx", "onnxruntime"), ("b/A.ORT", "onnxruntime"), ("c.xml", "openvino"), ("d.tflite", "tflite")],
)
def test_the_suffix_names_the_runtime(name, runtime):
    assert runtime_of(name) == runtime


def test_random_inputs_by_dtype():
    infos = tuple(
        TensorInfo(name, (50, 4), name) for name in ("float32", "float16", "uint8", "int8", "int64", "bool")
    )
    inputs = random_inputs(infos, seed=5)
    again = random_inputs(infos, seed=5)
    other = random_inputs(infos, seed=6)
    for info in infos:
        assert inputs[info.name].dtype.name == info.dtype
        assert inputs[info.name].shape == (50, 4)
        assert np.array_equal(inputs[info.name], again[info.name])
        assert not np.array_equal(inputs[info.name], other[info.name])
    assert set(np.unique(inputs["int64"])) == {0, 1}
    assert inputs["uint8"].max() > 200
    assert inputs["int8"].min() < -60
    assert abs(inputs["float32"].std() - 1) < 0.3


def test_random_inputs_need_fixed_numbers():
    with pytest.raises(RuntimeInputError, match=r"float32 \[\?, 3\]"):
        random_inputs((TensorInfo("x", (None, 3), "float32"),))
    with pytest.raises(RuntimeInputError, match="complex64"):
        random_inputs((TensorInfo("x", (3,), "complex64"),))


def test_inputs_come_out_contiguous_and_in_order():
    infos = (TensorInfo("b", (3, 2), "float32"), TensorInfo("a", (), "int64"))
    given = {"a": np.array(7), "b": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    checked = check_inputs(infos, given)
    assert list(checked) == ["b", "a"]
    assert checked["b"].flags.c_contiguous
    assert np.array_equal(checked["b"], given["b"])
    assert checked["a"].shape == ()


def test_inputs_from_a_file(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(3), y=np.ones((2, 2)))
    loaded = load_inputs(tmp_path / "x.npz")
    assert {name: value.shape for name, value in loaded.items()} == {"x": (3,), "y": (2, 2)}


def test_arrays_of_any_name_are_written(tmp_path):
    """Among them the names of parameters of numpy.savez."""
    arrays = {"file": np.arange(3), "allow_pickle": np.float32(2), "a/b:0": np.ones((2, 3), np.int8).T}
    save_arrays(tmp_path / "y.npz", arrays)
    loaded = load_inputs(tmp_path / "y.npz")
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert np.array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
    with pytest.raises(ValueError, match="Object arrays"):
        save_arrays(tmp_path / "z.npz", {"x": np.array([{}], dtype=object)})


def test_files_that_hold_no_arrays(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "text.npz").write_text("hello")
    for name in ("objects.npz", "one.npy", "text.npz", "absent.npz"):
        with pytest.raises(RuntimeInputError, match=f"cannot read inputs from .*{name}"):
            load_inputs(tmp_path / name)


def test_a_file_is_described_without_its_folder(tmp_path):
    (tmp_path / "m.xml").write_bytes(b"ab")
    alone = describe_file(tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(b"c")
    both = describe_file(tmp_path / "m.xml")
    assert (alone["file"], alone["file_bytes"], both["file_bytes"]) == ("m.xml", 2, 3)
    assert both["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # "abc"
    assert alone["sha256"] != both["sha256"]
