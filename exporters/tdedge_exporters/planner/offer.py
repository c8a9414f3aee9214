"""What a form offers: one exact way to execute a factor, the layouts it reads and leaves, and its nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tdedge.factor import Factor, Shape
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.layouts import Layout

Emit = Callable[[Emitter, ir.Value], ir.Value]


@dataclass(frozen=True, eq=False)
class Offer:
    """One way to execute a factor.

    Attributes:
        form: name of the form, with its parameters.
        emit: writes the nodes: the input, stored as ``reads``, to the output, stored as ``gives``.
        reads: layout of the input.
        gives: layout of the output.
        is_partial: whether it adds up results of several products, which integers round one by one, where
            another offer of these layouts gives one product all of it.
        work: multiply-accumulates it executes, over those of the factor.
    """

    form: str
    emit: Emit
    reads: Layout = Layout.NATIVE
    gives: Layout = Layout.NATIVE
    is_partial: bool = False
    work: float = 1.0


def padded(factor: Factor, zeros_in: int, zeros_out: int) -> Factor:
    """``factor`` with zero channels after its own, exactly: zero rows read nothing, zero columns give zero.

    A depthwise factor pads both sides alike. The activation must map 0 to 0 where ``zeros_out`` is not 0:
    the caller checks with :func:`keeps_zero`.
    """
    if not zeros_in and not zeros_out:
        return factor
    kernel, groups = factor.kernel, factor.groups
    if factor.is_depthwise:
        assert zeros_in == zeros_out
        groups += zeros_out
        widths = [(0, zeros_out)] + [(0, 0)] * (kernel.ndim - 1)
    else:
        assert groups == 1
        widths = [(0, zeros_out), (0, zeros_in)] + [(0, 0)] * (kernel.ndim - 2)
    bias = None if factor.bias is None else np.pad(factor.bias, (0, zeros_out))
    return replace(factor, kernel=np.pad(kernel, widths), groups=groups, bias=bias)


def keeps_zero(factor: Factor) -> bool:
    """True where a zero channel is still zero after the factor's activation."""
    return factor.activation != "sigmoid"


def can_pad(factor: Factor) -> bool:
    """True for factors that :func:`padded` knows: dense and depthwise ones."""
    return factor.groups == 1 or factor.is_depthwise


def with_channels(shape: Shape, channels: int, axes: int) -> Shape:
    """``shape`` with another number of channels; ``axes`` spatial axes follow them."""
    at = len(shape) - 1 - axes
    return (*shape[:at], channels, *shape[at + 1 :])
