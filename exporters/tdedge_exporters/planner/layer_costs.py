"""What a layer costs on a target once it is planned: the milliseconds a rank is chosen by.

A layer that may become many chains is not exported and timed as a network for each. It is priced as the
planner would price it inside a network::

    x -> map -> factor -> ... -> factor with its activation -> y

with every form of every segment from the cost table (timed where the table lacks it), the cheapest choice by
the planner's own search, and neither map nor changes of layout at the two ends counted: inside a network the
neighbours stand there. Chains of different formats and ranks share most of their trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from tdedge.chain import Chain
from tdedge.factor import Shape
from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import write
from tdedge_exporters.planner.candidates import Candidate, Scope, candidates
from tdedge_exporters.planner.layouts import Label
from tdedge_exporters.planner.planner import conversions, possible_conversions
from tdedge_exporters.planner.pricing import Pricing
from tdedge_exporters.planner.search import search
from tdedge_exporters.planner.units import Network, network

_X, _Y = "x", "y"


def chain_ms(
    chains: Sequence[tuple[Chain, Shape]], pricing: Pricing, scope: Scope, progress: Progress = SILENT
) -> list[float]:
    """Milliseconds of every chain in its place, planned.

    Args:
        chains: each with its input shape (N, C_in, *spatial), or (..., C_in) for a Linear layer.
        pricing: times on the target.
        scope: what may be tried.
        progress: told about every batch of trials.

    Raises:
        RuntimesError: nothing could be timed.
    """
    nets = [network(chain_model(chain, shape, pricing.opset)) for chain, shape in chains]
    offered = [candidates(net, scope) for net in nets]
    needed = [c for group in offered for c in group if not _is_end(c)]
    inner = [
        conversion
        for net, group in zip(nets, offered, strict=True)
        for conversion in possible_conversions(net, group)
        if not _is_outside(net, conversion[0])
    ]
    pricing.prepare(needed, inner, progress)
    return [_cheapest(net, group, pricing) for net, group in zip(nets, offered, strict=True)]


def chain_model(chain: Chain, shape: Shape, opset: int) -> ir.Model:
    """The chain behind a map, its last factor activated: what it is inside a network."""
    float32 = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name=_X, type=float32, shape=ir.Shape(shape))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": opset}, name="layer")
    names = g.Names(graph)
    before = g.new_node("Relu", [x], name=names.fresh("before"), output=names.fresh(_X), like=x, shape=shape)
    graph.append(before)
    *inner, last = chain
    activated = last if last.activation is not None else replace(last, activation="relu")
    for index, factor in enumerate((*inner, activated)):
        value = graph.node(len(graph) - 1).outputs[0]
        graph.extend(write(graph, names, factor, value, f"factor{index}"))
    y = graph.node(len(graph) - 1).outputs[0]
    y.name = _Y
    graph.outputs.append(y)
    return ir.Model(graph, ir_version=10)


def _cheapest(net: Network, offered: Sequence[Candidate], pricing: Pricing) -> float:
    def conversion(value: ir.Value, source: Label, target: Label) -> float:
        return 0.0 if _is_outside(net, value) else pricing.conversion_ms(value, source, target)

    costs = [0.0 if _is_end(each) else pricing.candidate_ms(each) for each in offered]
    chosen = search(net, offered, costs, conversion).chosen
    prices = dict(zip(map(id, offered), costs, strict=True))
    made = sum(prices[id(each)] for each in chosen)
    return made + sum(conversion(*each) for each in conversions(net, chosen))


def _is_end(candidate: Candidate) -> bool:
    """True for the map in front, which stands for the neighbour there."""
    return candidate.units[0].kind == "map" and candidate.inputs[0].is_graph_input()


def _is_outside(net: Network, value: ir.Value) -> bool:
    """True for the network's input and output, and what the map in front gives."""
    maker = net.makers.get(value)
    return value.is_graph_input() or value.is_graph_output() or (maker is not None and maker.index == 0)
