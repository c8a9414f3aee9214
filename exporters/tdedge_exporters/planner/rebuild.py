"""A network written again, every part in the form that was chosen for it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from tdedge_exporters import graph as g
from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.layouts import NATIVE, Label, convert
from tdedge_exporters.planner.units import Network, static_shape


class _Held:
    """The values of the new graph: original value -> label -> new value."""

    def __init__(self, e: Emitter) -> None:
        self.e = e
        self._values: dict[ir.Value, dict[Label, ir.Value]] = {}

    def put(self, value: ir.Value, label: Label, made: ir.Value) -> None:
        if label == NATIVE:
            made.name, made.type, made.shape = value.name, value.type, value.shape
        self._values.setdefault(value, {})[label] = made

    def get(self, value: ir.Value, label: Label) -> ir.Value:
        if value not in self._values:
            return self.e.adopt(value)
        held = self._values[value]
        if label not in held:
            source, made = next(iter(held.items()))
            self.e.stem = f"{value.name}.{label}"
            self.put(value, label, convert(self.e, made, static_shape(value), source, label))
        return held[label]


def rebuild(net: Network, chosen: Sequence[Candidate]) -> ir.Model:
    """The network with every unit covered by one of ``chosen``, which are in execution order.

    Values that are native before and after keep their names.
    """
    old = net.model.graph
    inputs = [ir.Value(name=v.name, type=v.type, shape=v.shape) for v in old.inputs]
    e = Emitter(_names(old))
    held = _Held(e)
    for value, made in zip(old.inputs, inputs, strict=True):
        held.put(value, NATIVE, made)
    for candidate in chosen:
        given = [held.get(value, candidate.reads) for value in candidate.inputs]
        e.stem = f"{candidate.units[-1].name}.{candidate.form}"
        for value, made in zip(candidate.outputs, candidate.emit(e, given), strict=True):
            held.put(value, candidate.gives, made)
    outputs = [held.get(value, NATIVE) for value in old.outputs]
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=e.nodes,
        initializers=list(e.constants.values()),
        opset_imports=dict(old.opset_imports),
        name=old.name,
        doc_string=old.doc_string,
    )
    model = ir.Model(graph, ir_version=net.model.ir_version, producer_name=net.model.producer_name)
    model.metadata_props.update(net.model.metadata_props)
    g.drop_unused(graph, list(graph.initializers.values()))
    return model


def _names(graph: ir.Graph) -> set[str]:
    names = {str(value.name) for value in graph.inputs} | set(graph.initializers)
    for node in graph:
        names.add(str(node.name))
        names |= {str(value.name) for value in node.outputs}
    return names
