"""Lower a network to a .tflite file and run it: what the tests of every operator family need."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import helper
from support.graphs import Net, run

from tdedge.errors import UnsupportedError
from tdedge.golden import to_layout
from tdedge_exporters.export import rewrite
from tdedge_exporters.lowering import Options
from tdedge_exporters.tflite.target import lower


@dataclass(frozen=True)
class LoweredFile:
    """A loaded file.

    Attributes:
        content: the file.
        interpreter: that holds it, with one thread.
        layout: axis order of its inputs.
        ops: operators of the file.
        plan: what runs: ``DELEGATE`` for each part that XNNPACK took, the names of all other operators.
        notes: what the lowering noted.
    """

    content: bytes
    interpreter: Interpreter
    layout: str
    ops: list[str]
    plan: list[str]
    notes: tuple[str, ...]

    @property
    def partitions(self) -> int:
        """How many parts run, each operator outside XNNPACK counted as one."""
        return len(self.plan)

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs as ONNX has them."""
        return self.interpreter.get_signature_runner()(**to_layout(dict(feed), self.layout))


def lowered(model: ir.Model, layout: str = "nchw", precision: str = "float32") -> LoweredFile:
    """``model`` after the passes of the export, as a loaded ``.tflite`` file."""
    copy, _ = rewrite(model)
    with tempfile.TemporaryDirectory() as folder:
        made = lower(copy, Path(folder), precision, Options(input_layout=layout))
        return loaded(made.entry.read_bytes(), layout, made.notes)


def loaded(content: bytes, layout: str = "nchw", notes: tuple[str, ...] = ()) -> LoweredFile:
    """A ``.tflite`` file, loaded."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter._get_ops_details()
    ops = [detail["op_name"] for detail in details if detail["op_name"] != "DELEGATE"]
    return LoweredFile(content, interpreter, layout, ops, _plan(interpreter, details), notes)


def _plan(interpreter: Interpreter, details: list[dict]) -> list[str]:
    """Operators that run: a delegate makes its outputs in place of the operators it took."""
    maker = {}
    for detail in details:  # delegates come last
        maker.update((index, detail) for index in map(int, detail["outputs"]))
    waiting = [detail["index"] for detail in interpreter.get_output_details()]
    running: dict[int, str] = {}
    while waiting:
        detail = maker.get(waiting.pop())
        if detail is not None and detail["index"] not in running:
            running[detail["index"]] = detail["op_name"]
            waiting.extend(map(int, detail["inputs"]))
    return [running[index] for index in sorted(running)]


def with_opset(net: Net, opset: int) -> ir.Model:
    """The network of ``net`` in another opset, with the shapes of all values."""
    outputs = [helper.make_empty_tensor_value_info(net.nodes[-1].output[0])]
    graph = helper.make_graph(net.nodes, "net", net.inputs, outputs, net.initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True))


def assert_lowers(
    net: Net, layout: str = "nchw", *, opset: int = 18, tolerance: float = 1e-5, partitions: int | None = 1
) -> LoweredFile:
    """The lowered network gives what ONNX Runtime gives, and runs in that many parts (None: in any)."""
    model = with_opset(net, opset)
    x = net.sample()
    (expected,) = run(model, x)
    made = lowered(model, layout)
    (actual,) = made.run({"x": x}).values()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-3)
    assert partitions in (None, made.partitions), made.plan
    return made


def refusal(net: Net, opset: int = 22) -> str:
    """The one line that says why the network cannot be lowered."""
    with pytest.raises(UnsupportedError) as caught:
        lowered(with_opset(net, opset))
    return str(caught.value)
