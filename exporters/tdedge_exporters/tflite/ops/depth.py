"""Space to depth and back: one transpose of four axes each in channels-last.

With blocks of ``B`` and channels in the order (row in block, column in block, channel)::

    (N*H, W, B, B*C)  <->  (N*H, B, W, B*C)  ==  (N, H*B, W*B, C)

``DepthToSpace`` in mode CRD has the channel first; its channels are put in that order before.
"""

from __future__ import annotations

import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops.rule import Rule, Rules


def lower_to_space(b: Builder, node: ir.Node) -> None:
    """``DepthToSpace``, modes DCR and CRD."""
    data, result = node.inputs[0], node.outputs[0]
    block = g.attr_int(node, "blocksize", 1)
    n, channels, height, width = b.shape(data)
    c = channels // block**2
    x = b.get_last(data)
    if g.attr_string(node, "mode", "DCR") == "CRD":
        x = b.transpose(b.reshape(x, (n * height * width, c, block**2)), (0, 2, 1))
    blocks = b.reshape(x, (n * height, width, block, block * c))
    made = b.reshape(b.transpose(blocks, (0, 2, 1, 3)), (n, height * block, width * block, c))
    b.put_last(result, made, non_negative=b.is_non_negative(data))


def lower_to_depth(b: Builder, node: ir.Node) -> None:
    """``SpaceToDepth``."""
    data, result = node.inputs[0], node.outputs[0]
    block = g.attr_int(node, "blocksize", 1)
    n, c, height, width = b.shape(data)
    rows, columns = height // block, width // block
    blocks = b.get_last(data, (n * rows, block, columns, block * c))
    made = b.reshape(b.transpose(blocks, (0, 2, 1, 3)), (n, rows, columns, block**2 * c))
    b.put_last(result, made, non_negative=b.is_non_negative(data))


RULES: Rules = {
    "DepthToSpace": Rule(lower_to_space, Policy.LAST),
    "SpaceToDepth": Rule(lower_to_depth, Policy.LAST),
}
