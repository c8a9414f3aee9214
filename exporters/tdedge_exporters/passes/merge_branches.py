"""A sum of parallel branches that read one value, as one wider branch.

    last1(...first1(x)) + last2(...first2(x)) + ...  ->  last(...first(x))

Two factors and more: first kernels stacked along C_out, inner ones block-diagonal, last ones stacked along
C_in; exact also with biases and activations inside (:mod:`tdedge.branches`). Single factors of one
geometry: the sum of the kernels and of the biases. Exact in both cases when the branches have equal
geometry, the values inside a branch have one consumer, and no activation stands between a branch and
the sum. The number of multiply-accumulates stays (branches) or falls (single factors).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from tdedge.branches import add_branches
from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge.factor import Factor
from tdedge_exporters import graph as g
from tdedge_exporters.chains import ChainSite, replace_nodes, shared_weight, survey
from tdedge_exporters.factor_nodes import activation_of
from tdedge_exporters.passes.record import RecordingPass


class MergeBranchesPass(RecordingPass):
    """Merge Add and Sum of parallel chains of one input."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visit every sum, in graph order; a merged one can be an operand of the next."""
        modified = False
        for node in tuple(model.graph):
            if node.op_type not in ("Add", "Sum") or len(node.inputs) < 2 or node.graph is None:
                continue
            name = g.node_name(node)
            try:
                done = _merge(model, node)
            except NotExactError as refusal:
                self.record(name, False, refusal.message)
                continue
            if done is not None:
                modified = True
                self.record(name, True, done)
        return ir.passes.PassResult(model, modified)


def _merge(model: ir.Model, node: ir.Node) -> str | None:
    """Merge the operands of one sum; None where they are no branches."""
    if any(value is None or g.constant(value) is not None for value in node.inputs):
        return None
    ends = {site.output: site for site in survey(model).chains}
    branches = _branches(node, ends)
    if branches is None:
        return None
    for branch in branches:
        reason = g.not_a_link(branch.output)
        if reason is not None:
            raise NotExactError(f"an operand of the sum must stay: {reason}")
        for part in branch.parts:
            if (weight := shared_weight(part)) is not None:
                raise NotExactError(f"the weight {weight!r} of {part.name} is shared with other nodes")
    chains = [branch.chain.astype(np.float64) for branch in branches]
    merged = add_branches(chains) if len(chains[0]) > 1 or len(chains[-1]) > 1 else Chain((_sum(chains),))
    names = g.Names(model.graph)
    nodes = [*(member for branch in branches for member in branch.nodes), node]
    replace_nodes(model.graph, names, nodes, branches[0].input, node.outputs[0], merged, branches[0].name)
    return (
        f"{len(branches)} branches of {len(merged)} factor(s) merged: {', '.join(b.name for b in branches)}"
    )


def _branches(node: ir.Node, ends: dict[ir.Value, ChainSite]) -> list[ChainSite] | None:
    """The operands as chains that start at one common value, of equal length; None where there are none.

    Raises:
        NotExactError: where they are chains that cannot be one.
    """
    sites = [ends.get(value) for value in node.inputs if value is not None]
    chains = [site for site in sites if site is not None]
    if len(chains) != len(sites):
        behind = [value.producer() for value in node.inputs if value is not None]
        activated = [p for p in behind if p is not None and activation_of(p) and p.inputs[0] in ends]
        if activated and len(activated) + len(chains) == len(sites):
            raise NotExactError(f"{activated[0].op_type} stands between a branch and the sum")
        return None
    starts = [[part.input for part in site.parts] for site in chains]
    common = [value for value in starts[0] if all(value in other for other in starts[1:])]
    if not common:
        raise NotExactError(
            f"the operands read different values: {sorted({str(c.input.name) for c in chains})}"
        )
    cut = [site.segment(own.index(common[-1]), len(own)) for site, own in zip(chains, starts, strict=True)]
    if len({site.output for site in cut}) != len(cut):
        raise NotExactError("one branch is added to itself")
    return cut


def _sum(chains: Sequence[Chain]) -> Factor:
    """The sum of single factors of one geometry."""
    factors = [chain.factors[0] for chain in chains]
    geometry = {(f.kernel.shape, f.stride, f.pads, f.dilation, f.groups) for f in factors}
    if len(geometry) != 1:
        raise NotExactError("the parallel factors differ in kernel size, stride, pads, dilation or groups")
    biases = [factor.bias for factor in factors if factor.bias is not None]
    return replace(
        factors[0],
        kernel=np.sum([factor.kernel for factor in factors], axis=0),
        bias=np.sum(biases, axis=0) if biases else None,
    )
