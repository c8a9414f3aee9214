"""Mixed precision: which products stay float32 so that the outputs have the signal-to-noise ratio asked for.

How noisy a product is by itself: its result with its input and its weight on their grids, both taken from the
float32 network, against the exact result. The noisiest are kept in float32; how many is found by bisection on
the outputs' own ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.quantize.calibrate import Runner
from tdedge_exporters.quantize.grids import Array, Grids
from tdedge_exporters.quantize.report import sqnr_db


def noisiest(
    model: ir.Model, grids: Grids, samples: Sequence[Mapping[str, Array]]
) -> list[tuple[str, float]]:
    """(product, its own signal-to-noise ratio in dB), the noisiest first.

    Args:
        model: float32.
        grids: of its activations and weights.
        samples: a few feeds.
    """
    probed = model.clone()
    names = g.Names(probed.graph)
    probes: dict[str, tuple[str, str]] = {}
    for node in list(probed.graph):
        weight, data = (node.inputs[1], node.inputs[0]) if len(node.inputs) > 1 else (None, None)
        grid = grids.weights.get(weight.name or "") if weight is not None else None
        array = g.float_constant(weight)
        if grid is None or array is None or data is None or data.name not in grids.activations:
            continue
        read = grids.activations[data.name or ""]
        result = node.outputs[0]
        stem = names.fresh(f"{result.name}/probe")
        on_grid = _round(probed.graph, node, data, read.scale, read.zero_point, stem)
        rounded = g.add_initializer(probed.graph, names.fresh(f"{stem}/weight"), grid.round(array))
        twin = ir.Node(
            "", node.op_type, [on_grid, rounded, *node.inputs[2:]], node.attributes.values(), name=stem
        )
        twin.outputs[0].name = stem
        twin.outputs[0].type, twin.outputs[0].shape = result.type, result.shape
        probed.graph.insert_after(node, twin)
        probes[g.node_name(node)] = (str(result.name), stem)
    runner = Runner(probed)
    sums = {name: np.zeros(2) for name in probes}
    everything = [value for pair in probes.values() for value in pair]
    for chunk in _pairs(runner.chunks(everything), everything):
        for values in runner.run(samples, chunk):
            for name, (exact, rough) in probes.items():
                if exact in values and rough in values:
                    real = values[exact].astype(np.float64).ravel()
                    error = values[rough].ravel() - real
                    sums[name] += (real @ real, error @ error)
    ratios = {name: sqnr_db(*each) for name, each in sums.items()}
    return sorted(((name, ratio) for name, ratio in ratios.items() if ratio is not None), key=lambda p: p[1])


def keep_for(
    ranked: Sequence[tuple[str, float]], reaches: Callable[[Sequence[str]], float | None], least_db: float
) -> list[str]:
    """The fewest of the noisiest products that must stay float32.

    Args:
        ranked: see :func:`noisiest`.
        reaches: the outputs' ratio in dB with these products kept; None without any noise.
        least_db: ratio to reach.

    Returns:
        The products; all of them where even that does not suffice.
    """

    def enough(count: int) -> bool:
        ratio = reaches([name for name, _ in ranked[:count]])
        return ratio is None or ratio >= least_db

    low, high = 0, len(ranked)
    if enough(0):
        return []
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return [name for name, _ in ranked[:high]]


def _round(graph: ir.Graph, node: ir.Node, data: ir.Value, scale: float, zero: int, stem: str) -> ir.Value:
    """``data`` on a grid, before ``node``."""
    constants = [
        g.add_initializer(graph, f"{stem}/scale", np.array(scale, np.float32)),
        g.add_initializer(graph, f"{stem}/zero", np.array(zero, np.uint8)),
    ]
    there = ir.Node("", "QuantizeLinear", [data, *constants], name=f"{stem}/quantize")
    there.outputs[0].name, there.outputs[0].type = f"{stem}/q", ir.TensorType(ir.DataType.UINT8)
    back = ir.Node("", "DequantizeLinear", [there.outputs[0], *constants], name=f"{stem}/dequantize")
    back.outputs[0].name, back.outputs[0].type = f"{stem}/dq", data.type
    there.outputs[0].shape = back.outputs[0].shape = data.shape
    graph.insert_before(node, [there, back])
    return back.outputs[0]


def _pairs(chunks: Sequence[Sequence[str]], everything: Sequence[str]) -> list[list[str]]:
    """The chunks, no pair of neighbours in ``everything`` torn apart."""
    place = {name: at // 2 for at, name in enumerate(everything)}
    made: list[list[str]] = []
    seen: set[int] = set()
    for chunk in chunks:
        wanted = sorted({place[name] for name in chunk} - seen)
        seen.update(wanted)
        if wanted:
            made.append([name for at in wanted for name in everything[2 * at : 2 * at + 2]])
    return made
