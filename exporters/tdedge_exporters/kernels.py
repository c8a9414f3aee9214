"""Families of kernels that a runtime can be told to prefer for a whole network.

OpenVINO executes float32 convolutions on x86-64 with kernels for tensors whose channels come last (oneDNN's
brgemm convolutions). It also has kernels for tensors whose channels lie in blocks of one SIMD vector
(``nChw16c``), of which a factor chain often gains and a dense network seldom does; see
``docs/planner.md`` for times. Both compute the same sums, in another order.

ONNX Runtime executes float32 convolutions in such blocks always, but not every operator between them; what it
lacks can be written as convolutions (:mod:`tdedge_exporters.blocked_sums`).

The choice is noted on the network to lower, in memory only: no file can bring one along. A lowering that
knows no families ignores it, and so does a machine that lacks the kernels.
"""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from tdedge_exporters.blocked_sums import suits_blocks
from tdedge_exporters.lowering import Target

#: Blocks of channels, one SIMD vector each.
BLOCKED: Final = "blocked"

_KEY = "tdedge.kernels"
#: Precisions of targets that are computed in float32; integers have one family.
_PRECISIONS = {"openvino": ("float32", "float16"), "onnxruntime": ("float32",)}
_X86 = ("x86_64", "amd64")
#: Lanes of AVX2, the least that has blocked kernels.
_LANES = 8
#: So many channels are read as they come. Where an input has more, the plug-in falls back to convolutions by
#: general matrix products in every layer, which are slow: 288 ms for R3D-18's pointwise factors, else 30 ms.
_INPUT_CHANNELS = 3


def has_blocked(target: Target, machine: str, lanes: int) -> bool:
    """Whether ``target`` may be told to prefer blocked kernels.

    Args:
        target: what a network is lowered to.
        machine: as ``platform.machine()`` of the processor that executes it.
        lanes: its SIMD lanes of float32.
    """
    known = target.precision in _PRECISIONS.get(target.runtime, ())
    return known and machine.lower() in _X86 and lanes >= _LANES


def suits_blocked(model: ir.Model, target: Target, *, is_native: bool) -> bool:
    """Whether blocked kernels can change the speed of ``model`` for the better.

    ONNX Runtime has its own where convolutions are. In OpenVINO they must begin at the inputs, images or
    clips of at most three channels, and nothing may be stored otherwise on the way.

    Args:
        model: a network.
        target: what has the kernels.
        is_native: whether all of its forms store values as they came.
    """
    if target.runtime == "onnxruntime":
        return suits_blocks(model)
    if not is_native:
        return False
    shapes = [value.shape for value in model.graph.inputs]
    extents = [tuple(shape) for shape in shapes if shape is not None and len(shape) > 2]
    return all(isinstance(each[1], int) and each[1] <= _INPUT_CHANNELS for each in extents)


def with_kernels(model: ir.Model, family: str) -> ir.Model:
    """``model`` to be executed by a family of kernels; the graph is shared with it, not copied."""
    made = ir.Model(model.graph, ir_version=model.ir_version, producer_name=model.producer_name)
    made.metadata_props.update(model.metadata_props)
    made.meta[_KEY] = family
    return made


def kernels_of(model: ir.Model) -> str:
    """The family that ``model`` is to be executed by; empty for the runtime's own choice."""
    return str(model.meta.get(_KEY, ""))
