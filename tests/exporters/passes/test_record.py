import dataclasses

import pytest
from support.graphs import Net

from tdedge.compose import NotExactError
from tdedge_exporters.passes.record import NodePass, PassRecord


class _RenamePass(NodePass):
    def rewrite(self, graph, node):
        if node.op_type == "Relu":
            return "seen"
        if node.op_type == "Tanh":
            raise NotExactError("not\nthis")
        return None


def test_every_outcome_is_recorded_once():
    net = Net(1, 4)
    net.add("Sigmoid", net.add("Tanh", net.add("Relu", "x")))
    step = _RenamePass()
    assert step(net.model()).modified
    assert step.records == [
        PassRecord("_RenamePass", "n_relu0", True, "seen"),
        PassRecord("_RenamePass", "n_tanh1", False, "not this"),
    ]


def test_other_domains_are_not_visited():
    net = Net(1, 4)
    net.add("Relu", "x")
    model = net.model()
    model.graph[0].domain = "com.example"
    step = _RenamePass()
    assert not step(model).modified
    assert not step.records


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PassRecord("p", "n", True, "r").reason = "other"
