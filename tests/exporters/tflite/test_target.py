import json

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.graphs import Net
from support.integers_tflite import integers, sqnr_db
from support.lowering_tflite import lowered
from support.networks import classifier

from tdedge.errors import UnsupportedError, UsageError
from tdedge_exporters.export import export
from tdedge_exporters.lowering import Options
from tdedge_exporters.prepare import Source
from tdedge_exporters.tflite.target import lower, probe
from tdedge_exporters.verification import verify_artifact, verify_files
from tdedge_exporters.verify import Reference, random_inputs
from tdedge_runtimes.session import open_session


def saved(model: ir.Model, folder) -> str:
    ir.save(model, folder / "net.onnx")
    return str(folder / "net.onnx")


def metadata(content: bytes) -> dict[str, dict]:
    model = schema.ModelT.InitFromPackedBuf(content)
    return {
        entry.name.decode(): json.loads(bytes(model.buffers[entry.buffer].data)) for entry in model.metadata
    }


def deep(seed: int = 0) -> Net:
    """Video in, with values of every order inside."""
    net = Net(1, 3, 4, 6, 6, seed=seed)
    a = net.add("Relu", net.conv("x", 8, 3, 3, 3, 3, bias=True, pads=1, name="a"), name="b")
    c = net.conv(a, 8, 8, 3, 1, 1, pads=[1, 0, 0, 1, 0, 0], name="c")
    d = net.add("Add", a, c, name="d")
    e = net.add("Flatten", d, name="e")
    net.add("Gemm", e, net.weight(5, 8 * 144), transB=1, name="y")
    return net


def test_file_says_what_it_is(tmp_path):
    manifest = export(saved(classifier(), tmp_path), tmp_path / "out", to="tflite").manifest
    content = (tmp_path / "out" / "model.tflite").read_bytes()
    about = metadata(content)["tdedge"]
    assert about["network_sha256"] == manifest.network_sha256
    assert len(manifest.network_sha256) == 64
    assert about["tdedge_version"] == manifest.tdedge_version
    assert about["input_layout"] == manifest.targets[0].input_layout == "nchw"


def test_network_identity_depends_on_the_weights(tmp_path):
    first, second, again = (
        export(saved(classifier(seed), tmp_path), tmp_path / name, to="tflite").manifest.network_sha256
        for seed, name in ((0, "a"), (1, "b"), (0, "c"))
    )
    assert first == again != second


def test_inputs_channels_last(tmp_path):
    result = export(
        saved(classifier(), tmp_path), tmp_path / "out", to="onnxruntime,tflite", input_layout="nhwc"
    )
    layouts = {entry.target: entry.input_layout for entry in result.manifest.targets}
    assert layouts == {"onnxruntime": "nchw", "tflite": "nhwc"}
    assert all(report.passed for report in verify_artifact(result.folder).values())
    files = verify_files(Source(tmp_path / "net.onnx"), [result.folder / "model.tflite"])
    assert all(report.passed for report in files.values())
    file = lowered(classifier(), "nhwc")
    assert file.interpreter.get_input_details()[0]["shape"].tolist() == [1, 8, 8, 3]
    assert "TRANSPOSE" not in file.ops


def test_unknown_input_layout():
    with pytest.raises(UsageError, match="unknown input layout 'nchwc'; expected nchw or nhwc"):
        Options(input_layout="nchwc")


def test_float16_weights_are_half_the_size(tmp_path):
    result = export(saved(deep().model(), tmp_path), tmp_path / "out", to="tflite,tflite:float16")
    whole, half = (
        (tmp_path / "out" / name).stat().st_size for name in ("model.tflite", "model-float16.tflite")
    )
    assert half < 0.65 * whole
    errors = [entry.parity["max_rel"] for entry in result.manifest.targets]
    assert errors[0] < 1e-6 < errors[1] < 1e-2
    file = lowered(deep().model(), precision="float16")
    assert file.plan == ["DELEGATE"]
    assert "DEQUANTIZE" in file.ops


def test_integer_file_says_so_and_opens_in_a_session(tmp_path):
    made = integers(deep())
    file = lower(made.model, tmp_path, "int8")
    assert file.entry.name == "model-int8.tflite"
    assert str(file.target) == "tflite:int8"
    with open_session("tflite", file.entry, precision="int8") as session:
        assert [info.dtype for info in (*session.inputs, *session.outputs)] == ["float32"] * 2
        assert session.describe()["execution"]["delegate_partitions"] == 1
        got = session.run(made.feed)["y"]
    assert sqnr_db(made.outputs()[1][0], got) > 35


def test_probe_gives_real_numbers_of_an_integer_file(tmp_path):
    made = integers(deep())
    file = lower(made.model, tmp_path, "int8")
    wanted = Reference(made.real, [made.feed])._evaluator.run(made.feed, intermediates=True)
    got = probe(file.entry, made.feed, ["b", "c", "d", "y"])
    assert set(got) == {"b", "c", "d", "y"}
    for name, value in got.items():
        assert value.dtype == np.float32
        assert value.shape == wanted[name].shape
        assert sqnr_db(wanted[name], value) > 28


def test_weight_that_float16_cannot_hold(tmp_path):
    net = Net(1, 3, 6, 6)
    net.conv("x", 4, 3, 1, 1, weight=net.weight(array=np.full((4, 3, 1, 1), 1e5)))
    with pytest.raises(UnsupportedError, match=r"exceeds 65504, the largest float16 number; export float32"):
        lower(net.model(), tmp_path, "float16")
    assert list(tmp_path.iterdir()) == []


def test_probe_gives_inner_tensors_as_the_network_has_them(tmp_path):
    model = deep().model()
    file = lower(model, tmp_path, "float32")
    reference = Reference(model, random_inputs(model, 0, 1))
    names = ["b", "c", "d", "y", "nothing"]
    got = probe(file.entry, reference.inputs[0], names)
    wanted = reference._evaluator.run(reference.inputs[0], intermediates=True)
    assert set(got) == {"b", "c", "d", "y"}
    for name, value in got.items():
        assert value.shape == wanted[name].shape
        assert np.abs(value - wanted[name]).max() <= 1e-5 * np.abs(wanted[name]).max()


def test_first_layer_joins_its_frames_before_the_transpose():
    file = lowered(deep().model())
    assert file.ops.index("CONCATENATION") < file.ops.index("TRANSPOSE") < file.ops.index("CONV_2D")
    assert file.plan == ["DELEGATE"]


def test_operator_without_a_lowering_is_named(tmp_path):
    net = Net(1, 3, 6, 6)
    net.add("Relu", net.add("Det", "x", name="d"))
    with pytest.raises(UnsupportedError, match=r"tflite: node 'n_d' \(Det\): there is no lowering") as caught:
        export(saved(net.model(), tmp_path), tmp_path / "out", to="tflite")
    assert "leave tflite out of --to" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_operator_of_another_domain_is_named(tmp_path):
    model = classifier()
    model.graph[1].domain = "com.example"
    with pytest.raises(UnsupportedError, match=r"\(com.example.Relu\)"):
        lower(model, tmp_path, "float32")


def test_open_shape_is_named(tmp_path):
    model = classifier()
    model.graph.inputs[0].shape = ir.Shape(["n", 3, 8, 8])
    with pytest.raises(UnsupportedError, match=r"tensor 'x' has no static shape; fix the input shapes"):
        lower(model, tmp_path, "float32")


def test_input_that_is_an_output_gets_a_tensor_of_its_own():
    net = Net(1, 3, 4)
    net.add("Identity", "x", name="y")
    net.add("Relu", "x", name="z")
    file = lowered(net.model("y", "z"))
    x = net.sample()
    got = file.run({"x": x})
    assert np.array_equal(got["y"], x)
    assert np.array_equal(got["z"], np.maximum(x, 0))


def test_the_given_model_is_not_changed(tmp_path):
    model = deep().model()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    lower(model, tmp_path, "float32")
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
