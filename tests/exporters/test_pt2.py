"""Archives that torch exported: only plain graphs and plain weights get in."""

import io
import json
import pickle
import stat
import zipfile

import pytest
import torch
from support.refusing import Bomb, refused
from torch import nn

from tdedge_exporters import pt2
from tdedge_exporters.capture import capture


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
