"""Elements picked along one axis by constant indices, and axes repeated.

XNNPACK has no gather, mirror padding, tiling or reversal. It has slices, concatenations and products, and
those move float32 elements just as exactly: a list of indices is cut into runs that are one slice each, and
an axis of size 1 is repeated by a product with ones. Where the runs are many, or the elements are integers,
which XNNPACK does not take anyway, one built-in operator does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.tflite.program import Tensor
from tdedge_exporters.tflite.tensors import TensorOps

#: More runs than this are one ``GATHER``.
_MOST_RUNS = 16
_GATHER_VERSIONS = {"int8": 2, "bool": 3, "int16": 4}
_TILE_VERSIONS = {"int8": 2, "int16": 3}


def take(b: TensorOps, tensor: Tensor, axis: int, indices: Sequence[int]) -> Tensor:
    """``numpy.take(tensor, indices, axis)`` for constant indices, all of them in ``[0, size)``."""
    size = tensor.shape[axis]
    if tensor.data is not None:
        return b.derived(tensor, np.take(tensor.data, np.asarray(indices, np.int64), axis))
    if list(indices) == list(range(size)):
        return tensor
    runs = _runs(indices)
    moves = len(runs) == 1 and runs[0][2] > 0
    if not moves and (tensor.dtype != np.float32 or len(runs) > _MOST_RUNS):
        return gather(b, tensor, axis, b.integers(indices))
    parts: list[Tensor] = []
    for first, count, step in runs:
        if step == 0:
            parts.append(repeat(b, b.slice(tensor, axis, first, first + 1), axis, count))
        else:
            parts.append(b.slice(tensor, axis, first, first + (count - 1) * step + 1, step))
    return b.concat(parts, axis)


def gather(b: TensorOps, tensor: Tensor, axis: int, indices: Tensor) -> Tensor:
    """``GATHER`` along one axis; ``indices`` of any rank, int32 or int64, not negative."""
    before, after = tensor.shape[:axis], tensor.shape[axis + 1 :]
    seen = b.reshape(tensor, (math.prod(before), tensor.shape[axis], math.prod(after)))
    flat = b.reshape(indices, (math.prod(indices.shape),))
    options = schema.GatherOptionsT()
    options.axis = 1
    shape = (seen.shape[0], flat.shape[0], seen.shape[2])
    version = _GATHER_VERSIONS.get(tensor.dtype.name, 1)
    made = b.emit("GATHER", [seen, flat], shape, options, version=version)
    return b.reshape(made, (*before, *indices.shape, *after))


def repeat(b: TensorOps, tensor: Tensor, axis: int, count: int) -> Tensor:
    """The whole tensor ``count`` times along one axis."""
    before, size, after = tensor.shape[:axis], tensor.shape[axis], tensor.shape[axis + 1 :]
    target = (*before, size * count, *after)
    if count == 1:
        return tensor
    if tensor.data is not None:
        multiples = [count if each == axis else 1 for each in range(len(target))]
        return b.derived(tensor, np.tile(tensor.data, multiples))
    seen = b.reshape(tensor, (math.prod(before), 1, size * math.prod(after)))
    shape = (seen.shape[0], count, seen.shape[2])
    if tensor.dtype == np.float32:
        made = b.binary("MUL", seen, b.constant(np.ones((1, count, 1))))
    else:
        version = _TILE_VERSIONS.get(tensor.dtype.name, 1)
        made = b.emit("TILE", [seen, b.integers((1, count, 1))], shape, version=version)
    return b.reshape(made, target)


def _runs(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first, count, step) of each stretch of equal steps; a falling step is taken one by one."""
    runs: list[tuple[int, int, int]] = []
    at = 0
    while at < len(indices):
        step = indices[at + 1] - indices[at] if at + 1 < len(indices) else 1
        end = at + 1
        while step >= 0 and end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        runs.append((indices[at], end - at, step if end - at > 1 else 1))
        at = end
    return runs
