"""Torch modules, factories and their weights as sources."""

import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import save_file, save_model
from support.capturing import FACTORY, Small, Two, assert_static, graph_file, parity

from tdedge.errors import MissingError, UsageError
from tdedge_exporters.capture import OPSET, capture, load_module
from tdedge_exporters.reference import evaluate


def test_module_is_captured_in_evaluation_mode_and_left_alone(capfd):
    module = Small().train()
    module.norm.eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    x = torch.randn(2, 3, 9, 9)
    captured = capture(module, example=x)
    assert (captured.kind, captured.name) == ("module", "Small")
    assert captured.model.opset_imports[""] == OPSET
    assert_static(captured.model)
    assert parity(captured, module, x) < 1e-6
    assert module.training
    assert module.head.training
    assert not module.norm.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(captured.example[0], x)
    assert capfd.readouterr() == ("", "")


def test_later_changes_of_the_module_do_not_reach_the_graph():
    module, x = Small(), torch.randn(1, 3, 8, 8)
    captured = capture(module, example=x)
    before = evaluate(captured.model, {"x": x.numpy()})
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.zero_()
    after = evaluate(captured.model, {"x": x.numpy()})
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("shapes", [{"": (2, 3, 9, 9)}, {"x": (2, 3, 9, 9)}])
def test_module_with_a_shape_instead_of_an_example(shapes):
    captured = capture(Small(), input_shapes=shapes)
    assert captured.model.graph.inputs[0].shape.numpy() == (2, 3, 9, 9)


def test_module_with_several_inputs():
    x, y = torch.randn(2, 3), torch.randn(3, 4)
    assert parity(capture(Two(), example=(x, y)), Two(), x, y) < 1e-6
    captured = capture(Two(), input_shapes={"right": (3, 4), "left": (2, 3)})
    assert [value.name for value in captured.model.graph.inputs] == ["left", "right"]
    with pytest.raises(UsageError, match="input 'left' of Two needs an --input-shape"):
        capture(Two(), input_shapes={"right": (3, 4)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "inputs of Small are not known; pass --input-shape x="),
        ({"input_shapes": {"z": (1, 3, 8, 8)}}, r"names input 'z'; Small takes \['x'\]"),
        ({"example": "picture"}, "an example input is a str"),
        ({"example": torch.zeros(1, 3, 8, 8), "input_shapes": {"x": (1, 3, 9, 9)}}, "has shape"),
        ({"example": torch.zeros(1, 5, 8, 8)}, "torch cannot export Small to ONNX: "),
        ({"example": torch.zeros(1, 3, 8, 8), "weights": Path("w.safetensors")}, "module:factory"),
    ],
)
def test_wrong_module_options_are_explained(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        capture(Small(), **options)
    assert len(caught.value.message) < 500


def test_other_precisions_become_float32():
    module, x = Small().double(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    captured = capture(module, example=x)
    assert captured.model.graph.inputs[0].dtype == ir.DataType.FLOAT
    assert captured.notes == ["exported as a float32 copy on the CPU"]
    assert module.conv.weight.dtype == torch.float64
    assert parity(captured, module.float(), x.float()) < 1e-6


@pytest.fixture(scope="module")
def factories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    (folder / "tdedge_test_nets.py").write_text(FACTORY)
    (folder / "tdedge_test_broken.py").write_text("import no_such_package_at_all\n")
    (folder / "tdedge_test_user.py").write_text("from tdedge_test_nets import plain\n")
    return folder


@pytest.mark.parametrize("by", ["module", "file"])
def test_factory(factories, by, capfd):
    source = "tdedge_test_nets:pair" if by == "module" else f"{factories / 'tdedge_test_nets.py'}:pair"
    path = list(sys.path)
    captured = capture(source, python_path=[factories] if by == "module" else [])
    assert (captured.kind, captured.name) == ("factory", "pair")
    assert captured.notes == [f"ran the code of {Path(source).name}"]
    assert captured.model.graph.inputs[0].shape.numpy() == (1, 3, 8, 8)
    assert sys.path == path
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("name", "size"), [("carried", 6), ("instance", 5)])
def test_factory_with_the_example_on_the_module(factories, name, size):
    captured = capture(f"{factories / 'tdedge_test_nets.py'}:{name}")
    assert captured.model.graph.inputs[0].shape.numpy() == (1, 3, size, size)


def test_given_shapes_win_over_the_factorys_example(factories):
    source = f"{factories / 'tdedge_test_nets.py'}:pair"
    captured = capture(source, input_shapes={"x": (2, 3, 7, 7)})
    assert captured.model.graph.inputs[0].shape.numpy() == (2, 3, 7, 7)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tdedge_no_such:make", "there is no module 'tdedge_no_such'; pass --python-path"),
        ("tdedge_test_nets:", "names no factory"),
        ("tdedge_test_nets:missing", "there is no 'missing' in tdedge_test_nets"),
        ("tdedge_test_nets:constant", "constant is a int; expected a function"),
        (
            "tdedge_test_nets:failing",
            r"failing\(\) failed: KeyError: 'no weights' \(tdedge_test_nets.py",
        ),
        ("tdedge_test_nets:leaving", r"calling leaving\(\) failed: SystemExit"),
        ("tdedge_test_nets:number", r"number\(\) returned int; expected a torch module"),
        ("tdedge_test_nets:plain", "pass --input-shape x="),
        ("tdedge_test_nets:untold", "pass --input-shape "),
        ("tdedge_test_broken:make", "failed: ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("nowhere.py:make", "nowhere.py does not exist"),
    ],
)
def test_factory_mistakes_are_one_line(factories, source, message):
    with pytest.raises(UsageError, match=message):
        capture(source, python_path=[factories])


def test_the_working_folder_is_not_importable(factories, monkeypatch):
    monkeypatch.chdir(factories)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(factories))])
    sys.modules.pop("tdedge_test_nets", None)
    with pytest.raises(UsageError, match="there is no module 'tdedge_test_nets'"):
        capture("tdedge_test_nets:pair")
    with pytest.raises(UsageError, match="--python-path"):
        capture("tdedge_test_user.py:plain")
    with pytest.raises(UsageError, match="is not a folder"):
        capture("tdedge_test_nets:pair", python_path=[factories / "missing"])


def write(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_are_loaded_strictly(factories, tmp_path, suffix):
    source = f"{factories / 'tdedge_test_nets.py'}:pair"
    module, example = load_module(source)
    state = {key: torch.randn_like(value) for key, value in module.state_dict().items()}
    path = write(state, tmp_path / f"w{suffix}")
    captured = capture(source, weights=path)
    stored = captured.model.graph.initializers["conv.weight"].const_value.numpy()
    assert np.array_equal(stored, state["conv.weight"].numpy())
    assert example.shape == (1, 3, 8, 8)
    for change, message in (
        ({"conv.bias": None}, "1 missing: conv.bias"),
        ({"extra": torch.zeros(1)}, "1 unexpected: extra"),
        (
            {"conv.bias": torch.zeros(7)},
            r"1 of another shape: conv.bias \(7,\) instead of \(4,\)",
        ),
    ):
        changed = {key: value for key, value in {**state, **change}.items() if value is not None}
        with pytest.raises(UsageError, match=message):
            capture(source, weights=write(changed, path))


def test_checkpoints_hold_the_state_under_a_key(factories, tmp_path):
    source = f"{factories / 'tdedge_test_nets.py'}:pair"
    state = {key: value + 1 for key, value in load_module(source)[0].state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pt")
    module, _ = load_module(source, weights=tmp_path / "w.pt")
    assert torch.equal(module.conv.bias, state["conv.bias"])


def test_tied_weights_are_stored_once(tmp_path):
    code = (
        "from torch import nn\n"
        "def make():\n"
        "    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))\n"
        "    net[1].weight = net[0].weight\n"
        "    return net\n"
    )
    (tmp_path / "tied.py").write_text(code)
    source = f"{tmp_path / 'tied.py'}:make"
    first, _ = load_module(source)
    save_model(first, str(tmp_path / "w.safetensors"))
    second, _ = load_module(source, weights=tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("net.safetensors", "holds weights and no network; pass module:factory"),
        ("net.pt", "holds weights and no network"),
        ("net.pth", "holds weights and no network"),
        ("net.tflite", "is no network this can read; expected a .onnx file"),
        ("net", "is no network this can read"),
        (3, "the source is a int"),
    ],
)
def test_sources_that_are_no_network(source, message):
    with pytest.raises(UsageError, match=message):
        capture(source)


def test_options_of_modules_do_not_go_with_files(tmp_path):
    path = graph_file(tmp_path / "a.onnx", [1, 2])
    with pytest.raises(UsageError, match="--weights go with module:factory"):
        capture(path, weights=tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="an example goes with a torch module"):
        capture(path, example=np.zeros((1, 2)))


def test_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingError, match=r"pip install 'tdedge\[torch\]'"):
        capture("anything:make")


def test_pt2_equals_its_module(tmp_path):
    module, x = Small().eval(), torch.randn(1, 3, 8, 8)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "net.pt2")
    captured = capture(tmp_path / "net.pt2", trust=True)
    assert (captured.kind, captured.name) == ("pt2", "net")
    assert_static(captured.model)
    assert parity(captured, module, x) < 1e-6
