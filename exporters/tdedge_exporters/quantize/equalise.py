"""Gauge equalisation: ranges shared between the channels of a link, exactly.

What lies between two products is free up to one factor per channel: with s_c > 0

    W1[c] / s_c,  b1[c] / s_c     then     W2[:, c] * s_c

is the same network, also with ReLU, LeakyReLU or pooling between (they are positively homogeneous, and a
zero of the padding stays zero). One grid for the whole tensor then serves channels of like range. Scaling
every channel to the same range makes the rounding of activations smallest, but that of W2 larger, whose rows
then differ; so

    s_c = R_c^a / M_c^(1 - a)      R_c: range of channel c;  M_c: largest weight that reads it

is tried for some a, and the one with the least noise behind W2 is taken, by the model of independent
roundings (step^2 / 12 each):

    noise = sum_o [ step_x^2 / 12 * sum_c,t (W2[o,c,t] s_c)^2  +  step_o^2 / 12 * sum_c,t E[x_c^2] / s_c^2 ]

Whether that helps the outputs is for the caller to measure, in the forms that a target executes.

(Sources: Nagel et al., "Data-free quantization through weight equalization and bias correction", arXiv
1906.04721; Xiao et al., "SmoothQuant", arXiv 2211.10438, for the exponent.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.quantize.calibrate import observe
from tdedge_exporters.quantize.grids import LEVELS, WEIGHT_LEVELS, Array
from tdedge_exporters.quantize.scheme import weight_axis
from tdedge_exporters.quantize.statistics import Statistics, together

#: Exponents that are tried.
EXPONENTS = (0.25, 0.5, 0.75, 1.0)
#: A link is rescaled where that takes at least this share of its noise away.
LEAST_GAIN = 0.02
#: Largest factor between two channels.
_MOST = 1e4

#: A channel of few values is taken to reach this many times the root of its mean square.
_LIKELY = 4.0

#: Positively homogeneous, channel by channel.
_HOMOGENEOUS = frozenset(
    (
        "Relu",
        "LeakyRelu",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "Dropout",
    )
)


@dataclass(frozen=True)
class Link:
    """Two products and what lies between them.

    Attributes:
        maker: gives the channels.
        reader: reads them, its weight (C_out, C_in/groups, *k), or a Gemm's.
        value: what the reader reads.
    """

    maker: ir.Node
    reader: ir.Node
    value: ir.Value


@dataclass(frozen=True)
class Rescaled:
    """One link that was rescaled.

    Attributes:
        value: name of what lies on it.
        exponent: that was chosen.
        noise_db: how much less noise the model sees behind the reader.
    """

    value: str
    exponent: float
    noise_db: float


def equalised(
    model: ir.Model, samples: Sequence[Mapping[str, Array]], progress: Progress = SILENT
) -> tuple[ir.Model, list[Rescaled]]:
    """An exactly equal copy of a float32 network with its links rescaled, and which those are.

    Args:
        model: after the exact rewrites, before planning.
        samples: calibration data, one feed each.
        progress: told about the calibration.

    Raises:
        UsageError: a tensor is not finite on the samples.
    """
    return rescaled(model, together(seen_on_links(model, samples, progress=progress)))


def seen_on_links(
    model: ir.Model, samples: Sequence[Mapping[str, Array]], parts: int = 1, progress: Progress = SILENT
) -> list[dict[str, Statistics]]:
    """What :func:`rescaled` must know, by :func:`observe`, for every part of the samples.

    Raises:
        UsageError: a tensor is not finite on the samples.
    """
    names = list(dict.fromkeys(link.value.name or "" for link in links(model)))
    return observe(model, names, samples, parts, histograms=False, progress=progress) if names else [{}]


def rescaled(model: ir.Model, statistics: Mapping[str, Statistics]) -> tuple[ir.Model, list[Rescaled]]:
    """As :func:`equalised`, by what was seen on samples."""
    copy = model.clone()
    made = [_rescale(link, statistics[link.value.name or ""]) for link in links(copy)]
    return copy, [each for each in made if each is not None]


def links(model: ir.Model) -> list[Link]:
    """Every link of a graph: makers and readers whose weights nobody else reads."""
    found = []
    for node in model.graph:
        if not _is_scalable(node):
            continue
        value: ir.Value | None = node.outputs[0]
        reader = g.only_user(node.outputs[0])
        while reader is not None and reader.op_type in _HOMOGENEOUS and len(reader.outputs) == 1:
            value = reader.outputs[0]
            reader = g.only_user(value)
        if reader is None or value is None or reader.inputs[0] is not value or not _is_scalable(reader):
            continue
        if (node.op_type == "Gemm") == (reader.op_type == "Gemm"):
            found.append(Link(node, reader, value))
    return found


def _is_scalable(node: ir.Node) -> bool:
    if node.op_type not in ("Conv", "Gemm") or weight_axis(node) is None:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    constants = [node.inputs[1], *([bias] if bias is not None else [])]
    alone = all(value is not None and len(value.uses()) == 1 for value in constants)
    initial = all(value is not None and value.is_initializer() for value in constants)
    return alone and initial


def _rescale(link: Link, seen: Statistics) -> Rescaled | None:
    weight = _by_input(link.reader)
    reach = _reach(seen)
    largest = np.abs(weight).max(axis=(0, 2))
    alive = (reach > 0) & (largest > 0)
    if len(reach) != weight.shape[1] or alive.sum() < 2:
        return None
    before = _noise(weight, seen, np.ones(len(reach)))
    best: tuple[float, float, Array] | None = None
    for exponent in EXPONENTS:
        scale = np.ones(len(reach))
        scale[alive] = reach[alive] ** exponent / largest[alive] ** (1 - exponent)
        scale[alive] /= np.exp(np.log(scale[alive]).mean())
        scale = np.clip(scale, 1 / _MOST, _MOST)
        noise = _noise(weight, seen, scale)
        if best is None or noise < best[0]:
            best = noise, exponent, scale
    assert best is not None
    noise, exponent, scale = best
    if not noise < (1 - LEAST_GAIN) * before:
        return None
    _divide(link.maker, scale)
    _multiply(link.reader, scale)
    return Rescaled(str(link.value.name), exponent, float(10 * np.log10(before / noise)))


def _reach(seen: Statistics) -> Array:
    """Range of every channel: the largest value seen, or what more samples of its power would show."""
    largest = np.maximum(np.abs(seen.channel_low), np.abs(seen.channel_high)).astype(np.float64)
    return np.maximum(largest, _LIKELY * np.sqrt(seen.channel_power))


def _noise(weight: Array, seen: Statistics, scale: Array) -> float:
    """Noise behind a reader of weight (C_out per group, C_in, taps), by the model in the module's text."""
    reach = (_reach(seen) / scale).max()
    sides = (seen.channel_low.min() < 0) + (seen.channel_high.max() > 0)
    step = sides * reach / LEVELS
    scaled = weight * scale[:, None]
    steps = np.abs(scaled).max(axis=(1, 2)) / WEIGHT_LEVELS
    power = (seen.channel_power / scale**2).sum() * weight.shape[2]
    return float(step**2 * (scaled**2).sum() + (steps**2).sum() * power)


def _by_input(node: ir.Node) -> Array:
    """A weight as (C_out per group, C_in, taps): every input channel with the weights that read it."""
    array = g.float_constant(node.inputs[1])
    assert array is not None
    if node.op_type == "Gemm":
        wide = array if g.attr_int(node, "transB", 0) else array.T
        return wide[:, :, None].astype(np.float64)
    groups = g.attr_int(node, "group", 1)
    out, into = array.shape[:2]
    split = array.reshape(groups, out // groups, into, -1).astype(np.float64)
    return np.moveaxis(split, 0, 1).reshape(out // groups, groups * into, -1)


def _divide(maker: ir.Node, scale: Array) -> None:
    """Output channels of the maker, its bias too, over ``scale``."""
    array = g.float_constant(maker.inputs[1])
    assert array is not None
    axis = weight_axis(maker)
    spread = scale.reshape([-1 if each == axis else 1 for each in range(array.ndim)])
    _store(maker.inputs[1], array / spread)
    bias = maker.inputs[2] if len(maker.inputs) > 2 else None
    if bias is not None:
        held = g.float_constant(bias)
        assert held is not None
        _store(bias, held / scale.reshape(held.shape))


def _multiply(reader: ir.Node, scale: Array) -> None:
    """What the reader does with each channel, times ``scale``."""
    array = g.float_constant(reader.inputs[1])
    assert array is not None
    if reader.op_type == "Gemm":
        _store(reader.inputs[1], array * (scale if g.attr_int(reader, "transB", 0) else scale[:, None]))
        return
    groups = g.attr_int(reader, "group", 1)
    out, into = array.shape[:2]
    rows = np.repeat(scale.reshape(groups, into), out // groups, axis=0)
    _store(reader.inputs[1], array * rows.reshape(out, into, *(1,) * (array.ndim - 2)))


def _store(value: ir.Value | None, array: Array) -> None:
    assert value is not None and value.dtype is not None
    value.const_value = ir.tensor(array.astype(value.dtype.numpy()), name=value.name)
