import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file, save_model
from torch import nn

from tdedge.cost import network_cost
from tdedge.errors import MissingError, UsageError
from tdedge_exporters.capture import OPSET, capture, load_module
from tdedge_exporters.reference import evaluate

LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


class Small(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, 2)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.conv(x)))).mean((2, 3)))


class Two(nn.Module):
    def forward(self, left, right):
        return left @ right


FACTORY = """
import torch
from torch import nn

print("the factory's module talks")

class Net(nn.Module):
    def __init__(self, example=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.example_input_array = example

    def forward(self, x):
        print("forward talks")
        return torch.relu(self.conv(x))

def plain(): return Net()
def pair(): return Net(), torch.zeros(1, 3, 8, 8)
def carried(): return Net(torch.zeros(1, 3, 6, 6))
def failing(): raise KeyError("no weights")
def leaving(): raise SystemExit(3)
def number(): return 3
def untold(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(5, 2))
constant = 3
instance = Net(torch.zeros(1, 3, 5, 5))
"""


def graph_file(path, shape, opset=OPSET, nodes=None, **kwargs):
    nodes = nodes or [helper.make_node("Relu", ["x"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        kwargs.pop("weights", []),
    )
    imports = kwargs.pop("imports", [helper.make_opsetid("", opset)])
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8, **kwargs), path)
    return path


def parity(captured, module, *inputs):
    """Largest difference to the module in evaluation mode, relative to its output's scale."""
    modes = [child.training for child in module.modules()]
    names = [value.name for value in captured.model.graph.inputs]
    got = evaluate(captured.model, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})
    with torch.no_grad():
        expected = module.eval()(*inputs).double().numpy()
    for child, mode in zip(module.modules(), modes, strict=True):
        child.training = mode
    (value,) = got.values()
    return np.abs(value - expected).max() / np.abs(expected).max()


def assert_static(model):
    for node in model.graph:
        assert all(
            value.shape is not None and value.shape.is_static() for value in node.outputs if value.name
        )


def test_importing_capture_leaves_torch_alone():
    code = "import sys, tdedge_exporters.capture; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_opset_9_networks_become_opset_18(path):
    captured = capture(path)
    model = captured.model
    assert (captured.kind, captured.name) == ("onnx", path.stem)
    assert model.opset_imports[""] == OPSET
    assert len(model.graph.inputs) == 1
    assert captured.notes == []
    assert_static(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert network_cost(model).macs > 1e8


def test_conversion_keeps_the_function(tmp_path):
    """Inner axes of Softmax and Unsqueeze changed their meaning between opsets."""
    weights = [numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")]
    nodes = [
        helper.make_node("Unsqueeze", ["w"], ["u"], axes=[0, 2]),
        helper.make_node("Add", ["x", "u"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=1),
    ]
    path = graph_file(tmp_path / "old.onnx", [2, 4, 3], opset=9, nodes=nodes, weights=weights)
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = evaluate(capture(path).model, {"x": x})["y"]
    assert np.abs(got - session.run(None, {"x": x})[0]).max() < 1e-6


@pytest.mark.parametrize("opset", [9, OPSET])
def test_large_weights_listed_as_inputs_are_constants(tmp_path, opset):
    weight = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 500]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3), path)
    captured = capture(path)
    assert [value.name for value in captured.model.graph.inputs] == ["x"]
    x = np.ones((2, 3), np.float32)
    assert np.allclose(evaluate(captured.model, {"x": x})["y"], x @ weight.astype(np.float64))


def test_newer_opset_is_kept_and_noted(tmp_path):
    captured = capture(graph_file(tmp_path / "new.onnx", [1, 2], opset=21))
    assert captured.model.opset_imports[""] == 21
    assert any("opset 21 is newer than 18" in note for note in captured.notes)
    with pytest.raises(UsageError, match="uses opset 27; at most 26"):
        capture(graph_file(tmp_path / "future.onnx", [1, 2], opset=27))


def test_dynamic_batch_becomes_one(tmp_path):
    captured = capture(graph_file(tmp_path / "a.onnx", ["batch", 3, 8]))
    assert captured.model.graph.inputs[0].shape.numpy() == (1, 3, 8)
    assert captured.model.graph.outputs[0].shape.numpy() == (1, 3, 8)
    assert captured.notes == ["input 'x': dynamic axis 0 (batch) fixed at 1"]


@pytest.mark.parametrize("name", ["x", ""])
def test_input_shape_fixes_every_axis(tmp_path, name):
    path = graph_file(tmp_path / "a.onnx", ["batch", 3, "time"])
    captured = capture(path, input_shapes={name: (4, 3, 9)})
    assert captured.model.graph.outputs[0].shape.numpy() == (4, 3, 9)
    assert captured.notes == []


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (None, r"input 'x': axis 2 \(time\) has no fixed size; pass --input-shape x=1,3,224,224"),
        ({"y": (1, 3, 4)}, r"names input 'y'; the network takes \['x'\]"),
        ({"x": (1, 3)}, "has 2 axes; the network declares"),
        ({"x": (1, 4, 4)}, "axis 1 is fixed at 3 by the network; got 4"),
    ],
)
def test_wrong_or_missing_shapes_are_explained(tmp_path, shapes, message):
    with pytest.raises(UsageError, match=message):
        capture(graph_file(tmp_path / "a.onnx", ["batch", 3, "time"]), input_shapes=shapes)


def test_one_symbol_has_one_size(tmp_path):
    with pytest.raises(UsageError, match=r"axis 1 \(n\) is 4, elsewhere 3"):
        capture(graph_file(tmp_path / "a.onnx", ["n", "n"]), input_shapes={"x": (3, 4)})
    captured = capture(graph_file(tmp_path / "b.onnx", ["n", "n"]), input_shapes={"x": (3, 3)})
    assert captured.model.graph.inputs[0].shape.numpy() == (3, 3)


def test_an_input_without_rank_needs_a_shape(tmp_path):
    path = graph_file(tmp_path / "a.onnx", None)
    with pytest.raises(UsageError, match="input 'x' has no shape; pass --input-shape x="):
        capture(path)
    assert capture(path, input_shapes={"": (2, 5)}).model.graph.outputs[0].shape.numpy() == (2, 5)


def test_sizes_computed_from_the_batch_become_static(tmp_path):
    weights = [
        numpy_helper.from_array(np.array(0), "zero"),
        numpy_helper.from_array(np.array([-1]), "rest"),
        numpy_helper.from_array(np.array([0]), "axes"),
    ]
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    captured = capture(graph_file(tmp_path / "a.onnx", ["n", 3, 4], nodes=nodes, weights=weights))
    assert captured.model.graph.outputs[0].shape.numpy() == (1, 12)


def test_sizes_that_depend_on_data_are_refused(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(UsageError, match=r"'i' \(of NonZero node .*\) has no static shape"):
        capture(graph_file(tmp_path / "a.onnx", [2, 3], nodes=nodes))


def test_contradicting_shapes_are_refused(tmp_path):
    weights = [numpy_helper.from_array(np.ones((5, 2), np.float32), "w")]
    path = graph_file(
        tmp_path / "a.onnx", [2, 3], nodes=[helper.make_node("MatMul", ["x", "w"], ["y"])], weights=weights
    )
    with pytest.raises(UsageError, match="do not fit each other"):
        capture(path)


def test_local_functions_are_inlined(tmp_path):
    body = [helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Neg", ["r"], ["b"])]
    opset = helper.make_opsetid("", OPSET)
    function = helper.make_function("mine", "Twice", ["a"], ["b"], body, [opset])
    path = graph_file(
        tmp_path / "a.onnx",
        [2, 3],
        nodes=[helper.make_node("Twice", ["x"], ["y"], domain="mine")],
        imports=[opset, helper.make_opsetid("mine", 1)],
        functions=[function],
    )
    model = capture(path).model
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]
    assert not model.functions


def test_operators_of_other_domains_are_refused(tmp_path):
    path = graph_file(
        tmp_path / "a.onnx",
        [2, 3],
        nodes=[helper.make_node("Fused", ["x"], ["y"], domain="com.vendor", name="f1")],
        imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.vendor", 1)],
    )
    with pytest.raises(UsageError, match=r"node 'f1' is Fused of domain 'com.vendor'"):
        capture(path)


@pytest.mark.parametrize("op", ["RandomNormalLike", "BatchNormalization"])
def test_results_that_change_from_run_to_run_are_refused(tmp_path, op):
    ones = numpy_helper.from_array(np.ones(3, np.float32), "w")
    if op == "BatchNormalization":
        node = helper.make_node(op, ["x", "w", "w", "w", "w"], ["y", "m", "v"], training_mode=1, name="n1")
    else:
        node = helper.make_node(op, ["x"], ["y"], name="n1")
    path = graph_file(tmp_path / "a.onnx", [2, 3, 4], nodes=[node], weights=[ones])
    with pytest.raises(UsageError, match=rf"node 'n1' \({op}\).*evaluation mode"):
        capture(path)


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
