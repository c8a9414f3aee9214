"""The file that is timed for a form, or for a whole network, on one target.

For an integer target grids fit nothing: the time is the same. In OpenVINO and TensorFlow Lite a form reads
and gives integers then, as it does inside a network: converting sixteen channels of a clip from float32 and
back takes longer there than most forms do, and what is left after subtracting it is noise. In ONNX Runtime
forms read and give float32 all the same: plans made without the conversions were slower there.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from tdedge_exporters import lowering
from tdedge_exporters.lowering import Lowered, Options, Target
from tdedge_exporters.quantize.assemble import with_any_grids

_INTEGER_ENDS = ("openvino", "tflite")


def lower_to_time(model: ir.Model, folder: Path, target: Target) -> Lowered:
    """Lower a whole float32 graph, to integers for an integer target.

    Raises:
        UnsupportedError: the target cannot express the graph.
        MissingError: its runtime is not installed.
    """
    return lowering.lower(with_any_grids(model) if target.calibrated else model, folder, target)


def has_integer_ends(target: Target) -> bool:
    """Whether forms are timed without conversions at their ends."""
    return target.calibrated and target.runtime in _INTEGER_ENDS


def lower_trial(model: ir.Model, folder: Path, target: Target) -> Lowered:
    """Lower a form between its adapters.

    Raises:
        UnsupportedError: the target cannot express the graph.
        MissingError: its runtime is not installed.
    """
    if not has_integer_ends(target):
        return lower_to_time(model, folder, target)
    whole = with_any_grids(model)
    if target.runtime != "tflite":
        _to_integer_ends(whole.graph)
    return lowering.lower(whole, folder, target, Options(integer_io=True))


def _to_integer_ends(graph: ir.Graph) -> None:
    """Take away what quantises inputs, and what makes float32 outputs of integers."""
    for index, value in enumerate(graph.inputs):
        readers = [node for node, _ in value.uses()]
        if [node.op_type for node in readers] == ["QuantizeLinear"]:
            whole = readers[0].outputs[0]
            graph.inputs[index] = given = ir.Value(name=value.name, type=whole.type, shape=whole.shape)
            whole.replace_all_uses_with(given)
            graph.remove(readers[0], safe=True)
    for index, value in enumerate(graph.outputs):
        maker = value.producer()
        if maker is not None and maker.op_type == "DequantizeLinear" and not value.uses():
            integers = maker.inputs[0]
            assert integers is not None
            graph.outputs[index] = integers
            graph.remove(maker)
