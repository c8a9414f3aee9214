"""Operator versions on 8-bit integers: the lowest that old runtimes know these by.

Source: ``tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc``.
"""

from __future__ import annotations

from tdedge_exporters.tflite.program import Op

_VERSIONS = {
    "ADD": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "ELU": 1,
    "FULLY_CONNECTED": 4,
    "LEAKY_RELU": 1,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "QUANTIZE": 1,
    "REDUCE_MAX": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 2,
    "SLICE": 2,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
}
_GROUPED = 6
#: From this many axes on: version.
_MANY_AXES = {"PAD": {5: 4}, "SLICE": {5: 5}, "TRANSPOSE": {5: 4, 6: 6}}
_PER_CHANNEL = {"DEQUANTIZE": 5}


def int8_version(op: Op) -> int:
    """The version of an operator that reads int8.

    Raises:
        KeyError: for an operator without an integer form here.
    """
    first = op.inputs[0]
    assert first is not None
    version = _VERSIONS[op.code]
    for count, least in _MANY_AXES.get(op.code, {}).items():
        version = least if len(first.shape) >= count else version
    if op.code == "CONV_2D" and op.inputs[1] is not None and op.inputs[1].shape[3] != first.shape[3]:
        version = _GROUPED
    if first.scales is not None and len(first.scales.scales) > 1:
        version = _PER_CHANNEL.get(op.code, version)
    if op.code == "MUL" and _enlarges(op):
        version = 3
    if op.code == "RESIZE_BILINEAR" and op.options.halfPixelCenters:
        version = 3
    return version


def _enlarges(op: Op) -> bool:
    """True where the product of the scales of what is read reaches that of what is given."""
    product = 1.0
    for tensor in op.inputs:
        if tensor is not None and tensor.scales is not None:
            product *= float(tensor.scales.scales[0])
    result = op.outputs[0].scales
    return result is not None and product >= float(result.scales[0])
