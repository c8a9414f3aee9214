"""A TensorFlow Lite program before it is written: tensors, operators, inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdedge_exporters.tflite.order import Shape

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Scales:
    """What the integers of a tensor stand for: ``real = (q - zero_point) * scales[c]``.

    Attributes:
        scales: (1,) float32, or (C,) one per element of ``axis``.
        zero_point: the integer that stands for 0.
        axis: of the scales, where there are several.
    """

    scales: NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


@dataclass(eq=False)
class Tensor:
    """One tensor of the file; ``data`` for a constant.

    Attributes:
        name: in the file; empty until one is given.
        shape: as stored.
        dtype: of its elements.
        data: values of a constant, in ``shape``.
        origin: name of the network's constant that ``data`` was made of, empty where there is none.
        scales: of integers that stand for real numbers.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    data: Array | None = None
    origin: str = ""
    scales: Scales | None = None


@dataclass(eq=False)
class Op:
    """One operator of the file.

    Attributes:
        code: name in the schema's ``BuiltinOperator``, such as ``CONV_2D``.
        inputs: None for an optional one that is absent.
        outputs: its results.
        options: one of the schema's ``...OptionsT`` tables.
        version: lowest operator version that has what is used here.
    """

    code: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: Any = None
    version: int = 1


@dataclass
class Program:
    """Operators in execution order.

    Attributes:
        inputs: with the names a caller uses, and their tensors.
        outputs: likewise.
        ops: every operator.
        notes: what a reader of the export should know.
    """

    inputs: list[tuple[str, Tensor]] = field(default_factory=list)
    outputs: list[tuple[str, Tensor]] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def producers(self) -> dict[Tensor, Op]:
        """Tensor -> the operator that makes it."""
        return {tensor: op for op in self.ops for tensor in op.outputs}

    def uses(self) -> dict[Tensor, int]:
        """Tensor -> how often it is read, an output of the program counted once."""
        counts: dict[Tensor, int] = {}
        for op in self.ops:
            for tensor in op.inputs:
                if tensor is not None:
                    counts[tensor] = counts.get(tensor, 0) + 1
        for _, tensor in self.outputs:
            counts[tensor] = counts.get(tensor, 0) + 1
        return counts
