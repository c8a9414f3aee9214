"""Hostile and broken inputs: each ends in one clear line, and nothing it asks for happens."""

import io
import json
import os
import pickle
import stat
import zipfile

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tdedge.errors import UsageError
from tdedge_exporters import pt2, safe_onnx, static
from tdedge_exporters.capture import capture, load_module

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def proto(weight=None, shape=(2, 3)):
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 4))],
            [weight or numpy_helper.from_array(WEIGHT, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


def external(folder, location="w.bin", *, dims=(3, 4), extra=(), **entries):
    """A model in ``folder`` whose weight lies at ``location``; nothing is written there."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in [("location", location), *entries.items(), *extra]:
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "net.onnx"
    onnx.save_model(proto(tensor), path)
    return path


@pytest.fixture
def home(tmp_path):
    """A model's folder beside a secret it must not reach."""
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


def refused(path, match, **options):
    with pytest.raises(UsageError, match=match) as caught:
        capture(path, **options)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 700


def test_external_data_beside_the_model_is_read(home):
    (home / "w.bin").write_bytes(b"pad!" + WEIGHT.tobytes())
    captured = capture(external(home, offset=4, length=48))
    assert np.array_equal(captured.model.graph.initializers["w"].const_value.numpy(), WEIGHT)
    (home / "sub").mkdir()
    (home / "sub" / "w.bin").write_bytes(WEIGHT.tobytes())
    captured = capture(external(home, "sub/w.bin"))
    (home / "sub" / "w.bin").unlink()
    assert np.array_equal(captured.model.graph.initializers["w"].const_value.numpy(), WEIGHT)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "sub/../../secret.bin", "./../secret.bin", "..\\secret.bin"]
)
def test_external_data_cannot_leave_the_folder(home, location):
    (home / "sub").mkdir()
    refused(external(home, location), "may lie outside the model's folder")


def test_absolute_external_data_is_refused(home):
    for location in (
        str(home.parent / "secret.bin"),
        str(home / "w.bin"),
        "C:\\w.bin",
        "\\\\host\\w.bin",
        "",
    ):
        (home / "w.bin").write_bytes(WEIGHT.tobytes())
        refused(external(home, location), "expected a path relative to the model's folder")


def test_relative_model_path_does_not_disable_the_checks(home, monkeypatch):
    """With a bare file name the folder's name is empty; the working folder is the model's folder."""
    monkeypatch.chdir(home)
    external(home, "../secret.bin")
    refused("net.onnx", "may lie outside")
    external(home)
    refused("net.onnx", "No such file")
    (home / "w.bin").write_bytes(WEIGHT.tobytes())
    assert capture("net.onnx").name == "net"


def test_links_are_refused(home):
    (home / "w.bin").symlink_to(home.parent / "secret.bin")
    refused(external(home), "goes through a symbolic link")
    (home / "w.bin").unlink()
    (home / "sub").symlink_to(home.parent)
    refused(external(home, "sub/secret.bin"), "goes through a symbolic link")
    os.link(home.parent / "secret.bin", home / "w.bin")
    refused(external(home), "has hard links elsewhere")


def test_only_plain_files_are_read(home):
    refused(external(home), "No such file")
    (home / "w.bin").mkdir()
    refused(external(home), "is not a file")
    (home / "w.bin").rmdir()
    os.mkfifo(home / "w.bin")
    refused(external(home), "is not a file")


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"offset": 4}, "44 bytes of external data; its shape needs 48"),
        ({"offset": 1000}, "lie outside 'w.bin'"),
        ({"length": 1 << 60}, "lie outside 'w.bin'"),
        ({"offset": 40, "length": 48}, "bytes 40 to 88 lie outside"),
        ({"length": 44}, "44 bytes of external data; its shape needs 48"),
        ({"offset": -4}, "offset '-4' of its external data is not a non-negative integer"),
        ({"length": "4e9"}, "length '4e9' of its external data is not"),
        ({"offset": "9" * 5000}, "is not a non-negative integer"),
        ({"dims": (1 << 40, 1 << 40)}, "its shape needs"),
        ({"dims": (-3, -4)}, "impossible shape"),
        ({"extra": [("location", "other.bin")]}, "describes its external data twice"),
    ],
)
def test_ranges_outside_the_file_are_refused(home, entries, match):
    (home / "w.bin").write_bytes(WEIGHT.tobytes())
    refused(external(home, **entries), match)


def test_external_data_has_a_total_limit(home, monkeypatch):
    (home / "w.bin").write_bytes(WEIGHT.tobytes())
    path = external(home)
    monkeypatch.setattr(safe_onnx, "MAX_EXTERNAL_BYTES", 47)
    refused(path, "external data of more than")


def test_external_data_of_attributes_is_checked_too(home):
    tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=(3, 4))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    inner = helper.make_graph([helper.make_node("Constant", [], ["k"], value=tensor)], "inner", [], [])
    network = proto()
    network.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    onnx.save_model(network, home / "net.onnx")
    refused(home / "net.onnx", "tensor 'hidden': external data at '../secret.bin' may lie outside")


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a model", b"\x08\xff\xff\xff", b"PK\x03\x04"])
def test_files_that_are_no_model(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    refused(path, r"net\.onnx is not a (readable|valid) ONNX model: ")


def test_missing_files_and_folders(tmp_path):
    refused(tmp_path / "net.onnx", "is not a readable ONNX model: No such file")
    (tmp_path / "net.onnx").mkdir()
    refused(tmp_path / "net.onnx", "not a file")


def test_file_size_is_checked_before_reading(tmp_path, monkeypatch):
    onnx.save_model(proto(), tmp_path / "net.onnx")
    monkeypatch.setattr(safe_onnx, "MAX_FILE_BYTES", 10)
    refused(tmp_path / "net.onnx", "at most 10 are possible")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_files_never_escape_as_other_errors(tmp_path, cuts):
    data = bytearray(proto().SerializeToString())
    for position, value in cuts:
        data[position % len(data)] = value
    path = tmp_path / "net.onnx"
    path.write_bytes(bytes(data))
    try:
        capture(path)
    except UsageError as error:
        assert error.message


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
def test_truncated_files(tmp_path, keep):
    data = proto().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data[: int(len(data) * keep)])
    refused(tmp_path / "net.onnx", "is not a")


def test_tensor_that_lies_about_its_size(tmp_path):
    tensor = numpy_helper.from_array(WEIGHT, "w")
    tensor.dims[0] = 1 << 40
    onnx.save_model(proto(tensor), tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "tensor 'w' stores 48 bytes; its shape needs")


def test_invalid_graphs(tmp_path):
    network = proto()
    network.graph.node[0].input[0] = "nowhere"
    onnx.save_model(network, tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "is not a valid ONNX model")
    network = proto()
    network.graph.node[0].op_type = "NoSuchOperator"
    onnx.save_model(network, tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "NoSuchOperator")


def test_small_file_cannot_ask_for_a_huge_tensor(tmp_path, monkeypatch):
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape")
    network = proto(shape, shape=(1,))
    del network.graph.node[:]
    network.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["f"]))
    network.graph.node.append(helper.make_node("Add", ["f", "x"], ["y"]))
    network.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save_model(network, tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", r"takes 4096.0 GiB; at most 4 GiB")
    monkeypatch.setattr(static, "MAX_TENSOR_BYTES", 10)
    onnx.save_model(proto(), tmp_path / "net.onnx")
    refused(tmp_path / "net.onnx", "are accepted")


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (open, (self.marker, "w"))


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 4)\n")
    return f"{path}:make"


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_pickled_objects_are_not_loaded_as_weights(tmp_path, factory, suffix):
    marker, path = tmp_path / "marker", tmp_path / f"w{suffix}"
    for content in (Bomb(marker), {"weight": torch.zeros(4, 3), "bias": Bomb(marker)}, nn.Linear(3, 4)):
        torch.save(content, path)
        with pytest.raises(UsageError, match="holds pickled objects beside tensors and is not loaded"):
            load_module(factory, weights=path)
    path.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(UsageError):
        load_module(factory, weights=path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64, b"PK\x03\x04"])
def test_broken_weights(tmp_path, factory, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"w\.(safetensors|pt)"):
        load_module(factory, weights=path)


def test_weights_that_are_no_state(tmp_path, factory):
    for content in ([torch.zeros(3)], {"weight": 3}, torch.zeros(3)):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(UsageError, match="expected a state dict"):
            load_module(factory, weights=tmp_path / "w.pt")
    with pytest.raises(UsageError, match="does not exist"):
        load_module(factory, weights=tmp_path / "missing.pt")
    with pytest.raises(UsageError, match="unknown suffix"):
        load_module(factory, weights=tmp_path / "w.bin")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Members of a sound ``.pt2`` archive."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 5, 5),)), path)
    with zipfile.ZipFile(path) as stored:
        return {name: stored.read(name) for name in stored.namelist()}


def name_of(archive, ending):
    return next(name for name in archive if name.endswith(ending))


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as stored:
        for name, content in members.items():
            stored.writestr(name, content)
    return path


def change(archive, ending, edit):
    """The members with one JSON document edited in place."""
    name = name_of(archive, ending)
    document = json.loads(archive[name])
    edit(document)
    return {**archive, name: json.dumps(document).encode()}


def test_pt2_needs_trust(tmp_path, archive):
    refused(write(tmp_path / "net.pt2", archive), "pass --trust")


def test_repacked_pt2_is_accepted(tmp_path, archive):
    assert capture(write(tmp_path / "net.pt2", archive), trust=True).kind == "pt2"


WEIGHTS, GRAPH = "model_weights_config.json", "models/model.json"


def nodes(document):
    return document["graph_module"]["graph"]["nodes"]


@pytest.mark.parametrize(
    ("ending", "edit", "match"),
    [
        (WEIGHTS, lambda d: d["config"]["0.bias"].update(use_pickle=True), "use_pickle"),
        (WEIGHTS, lambda d: d["config"]["0.bias"].update(use_pickle=1), "use_pickle"),
        (WEIGHTS, lambda d: d["config"]["0.bias"].update(use_pickle="false"), "use_pickle"),
        (WEIGHTS, lambda d: d["config"]["0.bias"].update(path_name="opaque_obj_0"), "is no tensor"),
        (WEIGHTS, lambda d: d["config"]["0.bias"].update(path_name="../../x"), "is no tensor"),
        (GRAPH, lambda d: nodes(d)[0].update(target="torch.os.system"), "calls 'torch.os.system'"),
        (
            GRAPH,
            lambda d: nodes(d)[0].update(target="torch.ops.load_library"),
            "calls 'torch.ops.load_library'",
        ),
        (GRAPH, lambda d: nodes(d)[0].update(target="_operator.attrgetter"), "calls '_operator.attrgetter'"),
        (GRAPH, lambda d: nodes(d)[0]["inputs"][0].update(arg={"as_operator": "torch.load"}), "torch.load"),
        (
            GRAPH,
            lambda d: nodes(d)[0]["inputs"][0].update(arg={"as_custom_obj": {"name": "o"}}),
            "custom object",
        ),
        (
            GRAPH,
            lambda d: (
                d["graph_module"]["graph"]["tensor_values"]["x"].update(
                    sizes=[{"as_expr": {"expr_str": "__import__('os')", "hint": None}}]
                )
                if "x" in d["graph_module"]["graph"]["tensor_values"]
                else d.update(range_constraints={"expr_str": "__import__('os')"})
            ),
            "expressions to be evaluated",
        ),
        (GRAPH, lambda d: d.update(guards_code=["__import__('os')"]), "expressions to be evaluated"),
    ],
)
def test_pt2_that_would_run_something_is_refused(tmp_path, archive, ending, edit, match):
    refused(write(tmp_path / "net.pt2", change(archive, ending, edit)), match, trust=True)


def test_pt2_with_pickled_objects_is_refused(tmp_path, archive):
    marker = tmp_path / "marker"
    for ending, content in (
        ("sample_inputs/model.pt", Bomb(marker)),
        ("sample_inputs/model.pt", ((nn.Linear(1, 1),), {})),
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        members = {**archive, name_of(archive, ending): buffer.getvalue()}
        refused(write(tmp_path / "net.pt2", members), "holds pickled objects beside tensors", trust=True)
    root = next(iter(archive)).split("/")[0]
    legacy = {**archive, f"{root}/data/weights/model.pt": pickle.dumps(Bomb(marker))}
    refused(write(tmp_path / "net.pt2", legacy), "holds pickled objects beside tensors", trust=True)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "data/aotinductor/model/model.so",
        "data/weights/../../x",
        "evil.py",
        "models/other.json",
        "data/aotinductor/model/kernel.cubin",
    ],
)
def test_pt2_with_other_members_is_refused(tmp_path, archive, name):
    root = next(iter(archive)).split("/")[0]
    members = {**archive, f"{root}/{name}": b"\x7fELF"}
    refused(write(tmp_path / "net.pt2", members), "refused", trust=True)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "C:/x", "other/archive_format", "a\\b"])
def test_pt2_with_odd_names_is_refused(tmp_path, archive, name):
    refused(write(tmp_path / "net.pt2", {**archive, name: b"x"}), "refused", trust=True)


def test_pt2_with_a_link_is_refused(tmp_path, archive):
    path = write(tmp_path / "net.pt2", archive)
    info = zipfile.ZipInfo(next(iter(archive)).split("/")[0] + "/data/weights/weight_9")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as stored:
        stored.writestr(info, "/etc/passwd")
    refused(path, "is a link", trust=True)


def test_pt2_with_a_name_twice_is_refused(tmp_path, archive):
    path = write(tmp_path / "net.pt2", archive)
    with zipfile.ZipFile(path, "a") as stored, pytest.warns(UserWarning, match="Duplicate"):
        stored.writestr(name_of(archive, GRAPH), b"{}")
    refused(path, "two members of one name", trust=True)


def test_pt2_bombs_are_refused(tmp_path, archive, monkeypatch):
    root = next(iter(archive)).split("/")[0]
    big = {**archive, f"{root}/data/weights/weight_9": bytes(1 << 20)}
    refused(write(tmp_path / "net.pt2", big, zipfile.ZIP_DEFLATED), "grows 100-fold", trust=True)
    path = write(tmp_path / "net.pt2", archive)
    monkeypatch.setattr(pt2, "MAX_BYTES", 100)
    refused(path, "unpacks to more than", trust=True)
    monkeypatch.setattr(pt2, "MAX_ENTRIES", 3)
    refused(path, "members; expected 1 to 3", trust=True)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x05\x06" + bytes(18)])
def test_files_that_are_no_pt2(tmp_path, content):
    (tmp_path / "net.pt2").write_bytes(content)
    refused(tmp_path / "net.pt2", r"net\.pt2", trust=True)
    refused(tmp_path / "missing.pt2", "not a readable .pt2 archive", trust=True)


def test_pt2_without_a_graph_or_with_broken_json(tmp_path, archive):
    graph = name_of(archive, GRAPH)
    without = {name: content for name, content in archive.items() if name != graph}
    refused(write(tmp_path / "net.pt2", without), "holds no models/model.json", trust=True)
    refused(write(tmp_path / "net.pt2", {**archive, graph: b"{"}), "is not JSON", trust=True)
    for depth in (700, 100_000):
        deep = b"[" * depth + b"]" * depth
        refused(write(tmp_path / "net.pt2", {**archive, graph: deep}), r"net\.pt2", trust=True)
    refused(write(tmp_path / "net.pt2", {**archive, graph: b"{}"}), "cannot be loaded by torch", trust=True)


def test_dynamic_pt2_is_refused_with_advice(tmp_path):
    module, batch = nn.Conv2d(3, 4, 3).eval(), torch.export.Dim("batch")
    program = torch.export.export(module, (torch.zeros(2, 3, 5, 5),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    refused(tmp_path / "net.pt2", "export it with static shapes", trust=True)
