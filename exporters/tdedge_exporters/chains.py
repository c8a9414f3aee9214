"""Find factor chains in an ONNX graph, and write chains back.

A chain is a maximal run of factors (see :mod:`tdedge_exporters.factor_nodes`) whose inner links have one
consumer and are no graph output. An activation (Relu, Clip to 0..6, Sigmoid, Tanh) *between* two factors
belongs to the first of them, which makes the link *activated*; one after the last factor stays outside
the chain. Only the main graph is searched; bodies of If and Loop are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge.compress import LayerSite
from tdedge.factor import Shape
from tdedge_exporters import graph as g
from tdedge_exporters.factor_nodes import FactorNode, activation_of, read, with_activation, write


@dataclass(frozen=True, eq=False)
class ChainSite:
    """A chain and where a graph computes it.

    Attributes:
        parts: one per factor, in order; the output of each is the input of the next.
    """

    parts: tuple[FactorNode, ...]

    @property
    def chain(self) -> Chain:
        """The factors."""
        return Chain(tuple(part.factor for part in self.parts))

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Every node of the chain, in order."""
        return tuple(node for part in self.parts for node in part.nodes)

    @property
    def input(self) -> ir.Value:
        """What the first factor reads."""
        return self.parts[0].input

    @property
    def output(self) -> ir.Value:
        """What the last factor gives."""
        return self.parts[-1].output

    @property
    def input_shape(self) -> Shape:
        """Shape of the input, with 1 for a symbolic batch."""
        return self.parts[0].input_shape

    @property
    def name(self) -> str:
        """Name of the first node."""
        return self.parts[0].name

    def segment(self, start: int, stop: int) -> ChainSite:
        """Factors ``start`` to ``stop - 1``."""
        return ChainSite(self.parts[start:stop])


@dataclass(frozen=True)
class Survey:
    """Every chain of a graph, and why other nodes and links are none.

    Attributes:
        chains: in graph order; a factor with no neighbour is a chain of one.
        refusals: (node name, reason) of nodes that are no factors and of links that end a chain.
    """

    chains: tuple[ChainSite, ...]
    refusals: tuple[tuple[str, str], ...]


def survey(model: ir.Model) -> Survey:
    """Every chain of the main graph, with the reasons where one ends early."""
    factors, refusals = _factors(model.graph)
    by_input: dict[ir.Value, FactorNode] = {}
    for part in factors:
        by_input[part.input] = part
    chains: list[ChainSite] = []
    inner: set[int] = set()
    for part in factors:
        if id(part.nodes[0]) in inner:
            continue
        parts = [part]
        while (link := _next(parts[-1], by_input, refusals)) is not None:
            parts[-1:] = link
            inner.add(id(parts[-1].nodes[0]))
        chains.append(ChainSite(tuple(parts)))
    return Survey(tuple(chains), tuple(refusals))


def _factors(graph: ir.Graph) -> tuple[list[FactorNode], list[tuple[str, str]]]:
    factors, refusals = [], []
    for node in graph:
        try:
            part = read(node)
        except NotExactError as reason:
            refusals.append((g.node_name(node), reason.message))
            continue
        if part is not None:
            factors.append(part)
    return factors, refusals


def _next(
    part: FactorNode, by_input: dict[ir.Value, FactorNode], refusals: list[tuple[str, str]]
) -> tuple[FactorNode, FactorNode] | None:
    """``part`` (with its activation) and the factor it is linked to; None where the chain ends."""
    extended = part
    for node in part.output.consumers():
        activation = activation_of(node)
        if activation is not None and node.outputs[0] in by_input:
            extended = with_activation(part, node, activation)
    follower = by_input.get(extended.output)
    if follower is None or follower.factor.spatial_rank != part.factor.spatial_rank:
        return None
    for link in dict.fromkeys((part.output, extended.output)):
        reason = g.not_a_link(link)
        if reason is not None:
            refusals.append((follower.name, f"the link before it must stay: {reason}"))
            return None
    return extended, follower


def find_chains(model: ir.Model) -> list[ChainSite]:
    """Every maximal chain of the main graph, in graph order; lone factors are chains of one."""
    return list(survey(model).chains)


def find_layers(model: ir.Model) -> dict[str, ChainSite]:
    """Every single factor of the main graph under a unique name: its node's, or that node's output's."""
    layers: dict[str, ChainSite] = {}
    for part in _factors(model.graph)[0]:
        name = part.name if part.name not in layers else str(part.nodes[0].outputs[0].name)
        layers[name] = ChainSite((part,))
    return layers


def layer_sites(model: ir.Model) -> dict[str, LayerSite]:
    """Every Conv and Linear layer with its input shape (batch 1 where symbolic), by unique name."""
    return {
        name: LayerSite(site.parts[0].factor, site.input_shape) for name, site in find_layers(model).items()
    }


def shared_weight(part: FactorNode) -> str | None:
    """Name of the factor's kernel where other nodes use it too, or None."""
    return part.weight.name if len(part.weight.uses()) > 1 or part.weight.is_graph_output() else None


def write_chain(model: ir.Model, site: ChainSite, chain: Chain, name: str | None = None) -> None:
    """Replace the nodes of ``site`` by those of ``chain``, in place.

    The output keeps its name, type, uses and rank as graph output. Weights get the element type of
    the input, new values their shapes. Initializers nothing uses any more are removed, shared ones stay.

    Args:
        model: the model ``site`` was found in.
        site: what to replace.
        chain: what to compute instead; reads and gives what ``site`` does.
        name: stem of the new nodes' names; the first old node's where None.
    """
    names = g.Names(model.graph)
    stem = name or site.name
    replace_nodes(model.graph, names, site.nodes, site.input, site.output, chain, stem)


def replace_nodes(
    graph: ir.Graph,
    names: g.Names,
    nodes: Iterable[ir.Node],
    data: ir.Value,
    output: ir.Value,
    chain: Chain,
    stem: str,
) -> None:
    """Replace ``nodes``, that compute ``output`` from ``data``, by those of ``chain``."""
    old = list(dict.fromkeys(nodes))
    for node in old:
        names.release(node.name)
    new: list[ir.Node] = []
    value = data
    for index, factor in enumerate(chain):
        new += write(graph, names, factor, value, f"{stem}.{index}" if len(chain) > 1 else stem)
        value = new[-1].outputs[0]
    g.replace(old, new, output)
