"""What the parts of a planned network take inside it, kind by kind, by the runtime's own profile.

Parts that are timed alone find in the caches what they read and wrote last time, and may be executed by other
kernels. A profile tells what every node took among the others. ONNX Runtime and OpenVINO call a product as
the file does, or, where they fused more into it, as what they fused last; what they add (reorders) and what
multiplies nothing are moves. TensorFlow Lite's kernels inside a partition do not tell whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from benchmarks.realisation.parts import GROUPED, MOVES, NARROW, POINTWISE, WIDE, Parts
from tdedge_exporters import graph as g
from tdedge_exporters.planner.roofline import work
from tdedge_runtimes import onnxruntime_profile, openvino_profile
from tdedge_runtimes.operator_times import OpTime

_PROFILES = {"onnxruntime": onnxruntime_profile.profile, "openvino": openvino_profile.profile}
#: What the runtimes call products, whatever is fused into them.
_PRODUCTS = frozenset(
    (
        *("Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"),
        *("Convolution", "FullyConnected", "GroupConvolution"),
    )
)
#: What they put before and behind the name of a node.
_BEFORE, _BEHIND = "fused ", ("_nchwc", "/WithoutBiases")


def profiled(path: Path, runtime: str, model: ir.Model, *, threads: int, lanes: int) -> Parts:
    """The parts of a file; empty where the runtime does not tell them.

    Args:
        path: the file.
        runtime: that executes it.
        model: the float32 graph that it was lowered from.
        threads: of one inference.
        lanes: SIMD lanes.

    Raises:
        RuntimesError: it cannot be profiled.
    """
    profile = _PROFILES.get(runtime)
    if profile is None:
        return {}
    return parts_of(profile(path, threads=threads), model, lanes)


def parts_of(profile: Sequence[OpTime], model: ir.Model, lanes: int) -> Parts:
    """Kind of part -> how many, multiply-accumulates, milliseconds; moves count where they take time.

    Args:
        profile: what the runtime executes.
        model: the float32 graph that it was lowered from.
        lanes: SIMD lanes.
    """
    products = {g.node_name(node): node for node in model.graph if kind_of(node, lanes) != MOVES}
    spent = dict.fromkeys(products, 0.0)
    moves: list[float] = []
    makers = {str(value.name): node for node in model.graph for value in node.outputs}
    makers |= {g.node_name(node): node for node in model.graph}
    fused = []
    for op in profile:
        if op.name in products:
            spent[op.name] += op.median_us / 1e3
        else:
            fused.append(op)
    for op in fused:
        maker = makers.get(_stem(op.name)) if op.op_type in _PRODUCTS else None
        owner = next((name for name in _products_above(maker, products) if not spent[name]), None)
        if owner is None:
            moves.append(op.median_us / 1e3)
        else:
            spent[owner] += op.median_us / 1e3
    found: dict[str, tuple[int, int, float]] = {}
    for name, node in products.items():
        kind = kind_of(node, lanes)
        count, macs, ms = found.get(kind, (0, 0, 0.0))
        found[kind] = (count + 1, macs + round(work(node).flops / 2), ms + spent[name])
    return found | {MOVES: (len(moves), 0, sum(moves, 0.0))}


def _stem(name: str) -> str:
    for end in _BEHIND:
        name = name.removesuffix(end)
    return name.removeprefix(_BEFORE)


def _products_above(node: ir.Node | None, products: Mapping[str, ir.Node]) -> Iterator[str]:
    """The node itself where it is a product, or else those that its inputs come from, the nearest first."""
    waiting = [] if node is None else [node]
    while waiting:
        one = waiting.pop(0)
        if g.node_name(one) in products:
            yield g.node_name(one)
        else:
            makers = (value.producer() for value in one.inputs if value is not None)
            waiting += [maker for maker in makers if maker is not None]


def kind_of(node: ir.Node, lanes: int) -> str:
    """The kind of a node; see :mod:`benchmarks.realisation.parts`."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return MOVES
    weight = next((value for value in node.inputs[:2] if g.constant(value) is not None), None)
    sizes = [int(size) for size in g.dims(weight) or () if isinstance(size, int)]
    is_conv = node.op_type == "Conv"
    if is_conv and g.attr_int(node, "group", 1) > 1:
        return GROUPED
    if min(sizes[:2] if is_conv else sizes[-2:], default=lanes) < lanes:
        return NARROW
    return WIDE if is_conv and any(size > 1 for size in sizes[2:]) else POINTWISE
