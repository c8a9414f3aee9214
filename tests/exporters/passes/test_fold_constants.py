import numpy as np
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.passes import fold_constants
from tdedge_exporters.passes.fold_constants import FoldConstantsPass


def contraction(net, rank, size):
    """A 3x3 kernel put together from a Tucker core and factors at run time."""
    core = net.add("Transpose", net.weight(3, 3, rank, rank), perm=[2, 3, 0, 1])
    out = net.add("Einsum", core, net.weight(size, rank), equation="rsxy,or->osxy")
    flat = net.add("Reshape", out, net.weight(array=np.array([size, rank, 9])))
    both = net.add("MatMul", net.add("Transpose", flat, perm=[2, 0, 1]), net.weight(rank, 4))
    back = net.add("Transpose", both, perm=[1, 2, 0])
    return net.add("Reshape", back, net.weight(array=np.array([size, 4, 3, 3])))


def test_a_contraction_of_weights_becomes_one_kernel():
    net = Net(1, 4, 6, 6)
    net.conv("x", 5, 4, 3, 3, weight=contraction(net, 2, 5))
    step = FoldConstantsPass()
    model = assert_rewrites(net, step)
    assert ops(model) == {"Conv": 1}
    assert len(model.graph.initializers) == 1
    assert "2 Reshape" in reasons(step.records, True)


def test_large_contractions_fold_and_large_repetitions_do_not(monkeypatch):
    monkeypatch.setattr(fold_constants, "OTHER_ELEMENTS", 16)
    net = Net(1, 4, 6, 6)
    value = net.conv("x", 5, 4, 3, 3, weight=contraction(net, 2, 5))
    shape = net.weight(array=np.array([1, 5, 4, 4]))
    net.add("Add", value, net.add("Expand", net.weight(5, 1, 1), shape))
    model = assert_rewrites(net, FoldConstantsPass())
    assert ops(model) == {"Conv": 1, "Expand": 1, "Add": 1}


def test_constants_become_initializers_and_the_rest_stays():
    net = Net(1, 4)
    value = net.add("Constant", value_floats=[1.0, 2.0, 3.0, 4.0])
    net.add("Mul", net.add("Identity", "x"), value)
    model = assert_rewrites(net, FoldConstantsPass())
    assert ops(model) == {"Mul": 1}
    assert not any(value.metadata_props for value in model.graph.initializers.values())


def test_an_overridable_initializer_is_not_folded():
    net = Net(1, 4)
    weight = net.weight(4, name="w")
    net.add("Mul", "x", net.add("Neg", weight))
    model = net.model()
    model.graph.inputs.append(model.graph.initializers["w"])
    FoldConstantsPass()(model)
    assert ops(model) == {"Neg": 1, "Mul": 1}


def test_a_failure_is_recorded_and_the_graph_kept(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(fold_constants, "fold_constants_ir", fail)
    net = Net(1, 4)
    net.add("Relu", "x")
    step = FoldConstantsPass()
    assert_rewrites(net, step)
    assert reasons(step.records) == "constant folding stopped: no such operator"
