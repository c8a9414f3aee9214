"""What a pass says about a node it looked at, and the base of passes that visit one node at a time."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import onnx_ir as ir

from tdedge.compose import NotExactError
from tdedge_exporters.graph import node_name


@dataclass(frozen=True)
class PassRecord:
    """One node, and what a pass did with it.

    Attributes:
        pass_name: class name of the pass.
        node: name of the node (its first output's where it has none).
        changed: True where the node was rewritten.
        reason: what was done, or the condition that did not hold.
    """

    pass_name: str
    node: str
    changed: bool
    reason: str


class RecordingPass(ir.passes.InPlacePass):
    """An in-place pass that collects a record for every node it changed or declined to change."""

    def __init__(self) -> None:
        self.records: list[PassRecord] = []

    def record(self, node: str, changed: bool, reason: str) -> None:
        """Append one record."""
        self.records.append(PassRecord(type(self).__name__, node, changed, reason))


class NodePass(RecordingPass):
    """A pass over the nodes of the main graph, in order; nodes in subgraphs are left alone."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visit every node once; a node an earlier rewrite removed is skipped."""
        modified = False
        for node in tuple(model.graph):
            if node.graph is None or node.domain not in ("", "ai.onnx"):
                continue
            name = node_name(node)
            try:
                done = self.rewrite(model.graph, node)
            except NotExactError as refusal:
                self.record(name, False, refusal.message)
                continue
            if done is not None:
                modified = True
                self.record(name, True, done)
        return ir.passes.PassResult(model, modified)

    @abstractmethod
    def rewrite(self, graph: ir.Graph, node: ir.Node) -> str | None:
        """Rewrite ``node`` and say what was done; None where the node is no candidate.

        Raises:
            NotExactError: for a candidate that must stay; the message is the reason.
        """
