"""Networks, and files of them, that the tests of capture read."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from tdedge_exporters.capture import OPSET
from tdedge_exporters.reference import evaluate


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
