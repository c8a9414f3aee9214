"""Dense 3-D networks with ``CONV_3D`` operators: what converters make of them for TensorFlow Lite.

Our own lowering never uses ``CONV_3D``. Here it does, for every convolution that has no groups; all else is
lowered as ever, normalisations are folded and activations fused, which converters do not always do.
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import conv_pads
from tdedge_exporters.tflite.assemble import assemble
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops import conv
from tdedge_exporters.tflite.ops.rule import Rule
from tdedge_exporters.tflite.ops.table import OPS
from tdedge_exporters.tflite.patterns import prepare
from tdedge_exporters.tflite.window import Axis, effective_pads, is_same
from tdedge_exporters.tflite.writer import write

#: Bytes of a process over those of the windows of its largest convolution, at most: THETIS takes 10 GiB for
#: windows of 5.2.
_OF_WINDOWS = 2.7


def write_conv3d(model: ir.Model, path: Path) -> Path:
    """Write a float32 network whose inputs are as ONNX has them."""
    graph = model.graph.clone()
    prepare(graph)
    program, _ = assemble(graph, inputs_last=False, rules={**OPS, "Conv": Rule(_lower, _policy)})
    path.write_bytes(write(program, {}))
    return path


def needed_bytes(model: ir.Model) -> float:
    """What a process that runs it may take: the kernel holds every window of a convolution at once."""
    most = 0
    for node in model.graph:
        if _is_3d(node):
            taps = g.dims(node.inputs[1]) or ()
            sizes = (*(g.dims(node.outputs[0]) or ())[2:], *taps[1:])
            most = max(most, 4 * math.prod(int(size) for size in sizes if isinstance(size, int)))
    return _OF_WINDOWS * most


def _is_3d(node: ir.Node) -> bool:
    if node.op_type != "Conv" or g.attr_int(node, "group", 1) != 1:
        return False
    return len(g.dims(node.inputs[1]) or ()) == 5  # type: ignore[arg-type]


def _policy(node: ir.Node) -> Policy:
    return Policy.LAST if _is_3d(node) else conv.policy(node)


def _lower(b: Builder, node: ir.Node) -> None:
    if not _is_3d(node):
        conv.lower(b, node)
        return
    data, weight, result = node.inputs[0], node.inputs[1], node.outputs[0]
    sizes, kernel, out = b.shape(data)[2:], b.shape(weight), b.shape(result)[2:]
    strides, dilations = (g.attr_ints(node, key, (1,) * 3) for key in ("strides", "dilations"))
    pads = conv_pads(node, kernel[2:], sizes)
    axes = [Axis(*each) for each in zip(sizes, kernel[2:], strides, dilations, pads, out, strict=True)]
    x, same = b.get_last(data), is_same(*axes)
    if not same:
        x = b.pad(x, [(0, 0), *map(effective_pads, axes), (0, 0)])
    array = b.array(node, 1)
    assert array is not None
    weights = b.constant(array.transpose(2, 3, 4, 1, 0))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    offset = b.get(bias) if bias is not None else b.zeros(kernel[0])
    options = schema.Conv3DOptionsT()
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideD, options.strideH, options.strideW = strides
    options.dilationDFactor, options.dilationHFactor, options.dilationWFactor = dilations
    b.put_last(result, b.emit("CONV_3D", [x, weights, offset], b.last_shape(result), options))
