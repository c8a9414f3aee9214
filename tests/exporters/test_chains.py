import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from support.graphs import Net, assert_close, assert_rewrites, ops, run

from tdedge.chain import Chain
from tdedge.factor import Factor
from tdedge_exporters.chains import find_chains, find_layers, shared_weight, survey, write_chain


def lengths(model):
    return [len(site.chain) for site in find_chains(model)]


def tucker(net, x, name="a", activation=None):
    first = net.conv(x, 2, 4, 1, 1, name=f"{name}0")
    second = net.conv(first, 3, 2, 3, 3, pads=1, name=f"{name}1")
    if activation:
        second = net.add(activation, second)
    return net.conv(second, 5, 3, 1, 1, bias=True, name=f"{name}2")


def test_a_maximal_run_is_one_chain():
    net = Net(1, 4, 8, 8)
    net.add("Relu", tucker(net, "x"))
    (site,) = find_chains(net.model())
    assert site.chain.ranks == (2, 3)
    assert site.name == "n_a0"
    assert site.input.name == "x"
    assert site.output.name == "a2"
    assert site.input_shape == (1, 4, 8, 8)
    assert [node.op_type for node in site.nodes] == ["Conv"] * 3


def test_inner_activation_belongs_to_the_chain_and_the_last_one_does_not():
    net = Net(1, 4, 8, 8)
    net.add("Relu", tucker(net, "x", activation="Relu"))
    (site,) = find_chains(net.model())
    assert [factor.activation for factor in site.chain] == [None, "relu", None]
    assert [node.op_type for node in site.nodes] == ["Conv", "Conv", "Relu", "Conv"]


def test_a_link_that_is_a_graph_output_ends_the_chain():
    net = Net(1, 4, 8, 8)
    end = tucker(net, "x")
    found = survey(net.model(end, "a0"))
    assert [len(site.chain) for site in found.chains] == [1, 2]
    assert found.refusals == (("n_a1", "the link before it must stay: 'a0' is a graph output"),)


def test_a_link_with_two_consumers_ends_the_chain():
    net = Net(1, 4, 8, 8)
    end = tucker(net, "x")
    found = survey(net.model(end, net.add("Tanh", "a1")))
    assert [len(site.chain) for site in found.chains] == [2, 1]
    assert found.refusals == (("n_a2", "the link before it must stay: 'a1' has 2 consumers"),)


def test_an_activation_read_twice_ends_the_chain():
    net = Net(1, 4, 8)
    first = net.conv("x", 4, 4, 1)
    relu = net.add("Relu", first, name="r")
    second = net.conv(relu, 4, 4, 1)
    net.add("Add", second, relu)
    found = survey(net.model())
    assert [len(site.chain) for site in found.chains] == [1, 1]
    assert "'r' has 2 consumers" in found.refusals[0][1]


def test_parallel_readers_are_chains_of_their_own():
    net = Net(1, 4, 8)
    stem = net.conv("x", 4, 4, 1)
    left, right = net.conv(stem, 4, 4, 3), net.conv(stem, 4, 4, 3)
    net.add("Add", left, right)
    assert lengths(net.model()) == [1, 1, 1]


def test_linear_chains_in_both_forms():
    net = Net(3, 8)
    first = net.add("Gemm", "x", net.weight(2, 8), transB=1)
    net.add("Gemm", first, net.weight(5, 2), net.weight(5), transB=1)
    assert lengths(net.model()) == [2]
    net = Net(2, 3, 8)
    first = net.add("MatMul", "x", net.weight(8, 2))
    second = net.add("MatMul", first, net.weight(2, 5))
    net.add("Add", second, net.weight(5))
    (site,) = find_chains(net.model())
    assert [node.op_type for node in site.nodes] == ["MatMul", "MatMul", "Add"]
    assert site.chain.macs(site.input_shape) == 6 * (16 + 10)


def test_nodes_in_subgraphs_are_left_alone():
    net = Net(1, 4, 8)
    weight = net.weight(4, 4, 1, name="w")
    body = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["inner"], name="in_body")],
        "body",
        [],
        [helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)],
    )
    condition = net.weight(array=np.array(True))
    net.nodes.append(
        helper.make_node("If", [condition], ["y"], name="if", then_branch=body, else_branch=body)
    )
    outer = net.conv("x", 4, 4, 1, weight=weight)
    net.add("Add", outer, "y")
    model = net.model()
    (site,) = find_chains(model)
    assert site.name == f"n_{outer}"
    assert shared_weight(site.parts[0]) == "w"
    x = net.sample()
    before = run(model, x)
    write_chain(model, site, site.chain)
    assert "w" in model.graph.initializers
    assert_close(run(model, x), before)


def test_layer_names_are_unique():
    net = Net(1, 4, 8)
    net.conv(net.conv("x", 4, 4, 1, name="a"), 4, 4, 1, name="b")
    net.nodes[0].name = net.nodes[1].name = "conv"
    assert list(find_layers(net.model())) == ["conv", "b"]


def split(factor: Factor, rank: int) -> Chain:
    """A pointwise factor as two, by SVD."""
    u, s, v = np.linalg.svd(
        factor.kernel.reshape(factor.kernel.shape[:2]).astype(np.float64), full_matrices=False
    )
    ones = (1,) * factor.spatial_rank
    first = Factor((s[:rank, None] * v[:rank]).reshape(rank, -1, *ones))
    return Chain((first, Factor(u[:, :rank].reshape(-1, rank, *ones), bias=factor.bias)))


@pytest.mark.parametrize("shape", [(2, 4, 8), (2, 4, 8, 8), (2, 4, 3, 4, 5), ("n", 4, 8)])
def test_write_chain_keeps_the_function_and_sets_every_shape(shape):
    net = Net(*shape)
    ones = (1,) * (len(shape) - 2)
    net.add("Relu", net.conv("x", 6, 4, *ones, bias=True, name="wide"), name="end")

    def rewrite(model):
        (site,) = find_chains(model)
        write_chain(model, site, split(site.chain.factors[0], 4))

    model = assert_rewrites(net, rewrite)
    assert ops(model) == {"Conv": 2, "Relu": 1}
    assert [node.name for node in model.graph][:2] == ["n_wide.0", "n_wide.1"]
    for node in model.graph:
        for value in node.outputs:
            assert value.shape is not None
            assert value.dtype == ir.DataType.FLOAT
    assert len(model.graph.initializers) == 3


def test_write_chain_on_a_graph_output_keeps_its_name():
    net = Net(2, 3, 8)
    net.add("MatMul", "x", net.weight(8, 5), name="logits")

    def rewrite(model):
        (site,) = find_chains(model)
        write_chain(model, site, split(site.chain.factors[0], 5))

    assert ops(assert_rewrites(net, rewrite, "logits")) == {"MatMul": 2}


def test_sites_survive_edits_before_and_after_them():
    net = Net(1, 4, 8)
    net.conv(net.add("Tanh", net.conv("x", 5, 4, 1, name="a")), 6, 5, 1, name="b")

    def rewrite(model):
        for site in find_layers(model).values():
            write_chain(model, site, split(site.chain.factors[0], 4 if site.name == "n_a" else 5))

    assert ops(assert_rewrites(net, rewrite)) == {"Conv": 4, "Tanh": 1}


def test_shared_initializers_are_not_touched():
    net = Net(1, 4, 8)
    weight = net.weight(4, 4, 1, name="w")
    net.add(
        "Add",
        net.conv("x", 4, 4, 1, weight=weight, name="a"),
        net.conv("x", 4, 4, 1, weight=weight, name="b"),
    )
    model = net.model()
    site = find_layers(model)["n_a"]
    assert shared_weight(site.parts[0]) == "w"
    write_chain(model, site, split(site.chain.factors[0], 4))
    assert "w" in model.graph.initializers
    assert ops(model) == {"Conv": 3, "Add": 1}
