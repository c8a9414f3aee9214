"""Which grid every tensor of a program is on: the grids of the network's values, and of what lies between.

Tensors that hold a value of the network are on its grid. Operators that only move numbers, or choose among
them, have one grid for what they read and write; what averages or cuts never leaves the range of what it
reads. So a tensor in between, that of a padded, sliced or joined view, takes the grid of the tensor it was
made of, or else of the only tensor that is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tdedge_exporters.quantize.grids import Grid
from tdedge_exporters.tflite.order import Order
from tdedge_exporters.tflite.program import Op, Program, Tensor

#: Operators on integers whose input and output must be on one grid.
MOVES = frozenset(
    (
        *("CONCATENATION", "MAX_POOL_2D", "PAD", "REDUCE_MAX", "RESHAPE", "RESIZE_BILINEAR"),
        *("SLICE", "TRANSPOSE"),
    )
)
#: Cut off, as a grid does where it ends.
CUTS = frozenset(("MAXIMUM", "MINIMUM", "RELU", "RELU6", "RELU_N1_TO_1"))
#: Their results lie in the range of what they read.
_MEANS = frozenset(("AVERAGE_POOL_2D", "MEAN"))


def is_real(tensor: Tensor | None) -> bool:
    """True for a tensor of float32 numbers."""
    return tensor is not None and tensor.dtype == np.float32


def operands(op: Op) -> list[Tensor]:
    """Computed float32 inputs of an operator."""
    return [tensor for tensor in op.inputs if tensor is not None and is_real(tensor) and tensor.data is None]


def is_repetition(op: Op) -> bool:
    """True for the product with ones that repeats a tensor."""
    constants = [tensor.data for tensor in op.inputs if tensor is not None and tensor.data is not None]
    return op.code == "MUL" and any(bool((data == 1).all()) for data in constants)


def spread(
    program: Program,
    holds: Mapping[Tensor, tuple[ir.Value, Order]],
    sources: Mapping[Tensor, Tensor],
    grids: Mapping[str, Grid],
) -> dict[Tensor, Grid]:
    """The grids of a program's computed tensors; tensors that have none are absent.

    Args:
        program: of float32 tensors.
        holds: tensor -> the network's value it holds.
        sources: view -> the tensor it is a reshape of; views that nothing reads need not be in the program.
        grids: name of a value -> its grid.
    """
    found: dict[Tensor, Grid] = {}
    for tensor, (value, _) in holds.items():
        if (grid := grids.get(value.name or "")) is not None and is_real(tensor) and tensor.data is None:
            found[tensor] = grid
    for view, source in sources.items():
        if view in found and source not in holds:
            found.setdefault(source, found[view])
    while _forwards(program, found) or _backwards(program, found):
        pass
    return found


def _forwards(program: Program, found: dict[Tensor, Grid]) -> bool:
    before = len(found)
    for op in program.ops:
        result, data = op.outputs[0], operands(op)
        moves = op.code in MOVES or op.code in CUTS or op.code in _MEANS or is_repetition(op)
        cuts = op.code in CUTS and op.code != "MAXIMUM"  # of two tensors on one grid the larger is on it too
        if not moves or result in found or not is_real(result) or (cuts and len(data) != 1):
            continue
        known = {found.get(tensor) for tensor in data}
        if len(known) == 1 and (grid := known.pop()) is not None:
            found[result] = grid
    return len(found) > before


def _backwards(program: Program, found: dict[Tensor, Grid]) -> bool:
    before = len(found)
    readers: dict[Tensor, list[Op]] = {}
    for op in program.ops:
        for tensor in operands(op):
            readers.setdefault(tensor, []).append(op)
    ends = {tensor for _, tensor in program.outputs}
    for op in reversed(program.ops):
        for tensor in op.outputs:
            users = readers.get(tensor, [])
            if tensor in found or tensor in ends or not is_real(tensor) or not users:
                continue
            passed = {found.get(user.outputs[0]) for user in users}
            if len(passed) == 1 and all(user.code in MOVES or user.code in CUTS for user in users):
                grid = passed.pop()
                if grid is not None:
                    found[tensor] = grid
    return len(found) > before
