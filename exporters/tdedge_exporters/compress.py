"""Apply a compression plan to an ONNX graph, in place and without torch."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateHashedInitializersPass

from tdedge.compress import CompressionReport, decompose_layers
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress
from tdedge_exporters.chains import find_layers, layer_sites, shared_weight, write_chain


def compress_model(model: ir.Model, plan: CompressionPlan, progress: Progress = SILENT) -> CompressionReport:
    """Replace the Conv and Linear layers of ``model`` that ``plan`` names by factor chains.

    Layers are named by their node, or by their output where the node has no name. Layers that share a
    weight are decomposed alike and share their factors again afterwards; the report counts each use.

    Raises:
        UsageError: when the plan names a layer or a rank that does not fit the network.
    """
    layers = find_layers(model)
    shared = any(shared_weight(site.parts[0]) for site in layers.values())
    decomposition = decompose_layers(layer_sites(model), plan, progress)
    for name, chain in decomposition.chains.items():
        write_chain(model, layers[name], chain, name=name)
    if shared:
        DeduplicateHashedInitializersPass(size_limit=2**40)(model)
    return decomposition.report
