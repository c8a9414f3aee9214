import pytest
from support.eight_bits import clip, residual
from support.graphs import Net

from tdedge_exporters.quantize.exact import for_integers
from tdedge_exporters.quantize.scheme import scheme


def groups(model, keep=()):
    return [[value.name for value in group] for group in scheme(model, keep).groups]


def test_a_result_that_an_activation_alone_reads_is_computed_together_with_it():
    found = groups(residual())
    names = [name for group in found for name in group]
    assert {"stem", "b", "sum", "q"}.isdisjoint(names)
    assert {"x", "a", "c", "d", "e", "r"} <= set(names)


def test_what_only_moves_numbers_shares_a_grid():
    found = groups(residual())
    assert ["e", "p"] in found
    assert ["pooled", "flat"] in found


def test_the_result_of_the_network_stays_real_and_has_a_grid():
    made = scheme(residual())
    assert [value.name for value in made.edges] == ["y"]
    assert ["y"] in groups(residual())


def test_every_product_is_on_integers():
    for model in (residual(), clip()):
        assert len(scheme(model).products) == len(scheme(model).weights) == 5


def test_a_product_that_is_kept_is_none():
    made = scheme(residual(), ["n_b"])
    assert "n_b" not in made.products
    assert made.kept == {"n_b": "asked for"}
    names = [value.name for group in made.groups for value in group]
    assert "a" in names  # the sum reads it, and stays on integers with what does not change there
    assert "b" not in names
    assert "c" in names  # the product behind it reads integers all the same


def test_parts_that_are_joined_share_a_grid_constants_too():
    net = Net(1, 4, 6, 6)
    net.conv("x", 4, 4, 1, 1, name="a")
    net.conv("x", 4, 4, 1, 1, name="b")
    zeros = net.weight(array=[[[[0.0] * 6] * 6]] * 1)
    net.add("Concat", "a", "b", zeros, axis=1, name="c")
    net.conv("c", 4, 9, 3, 3, name="y")
    found = next(group for group in groups(net.model()) if "c" in group)
    assert set(found) == {"a", "b", "c", zeros}


def test_a_choice_among_tensors_shares_their_grid():
    net = Net(1, 4, 6, 6)
    net.conv("x", 4, 4, 1, 1, name="a")
    net.conv("x", 4, 4, 1, 1, name="b")
    net.add("Max", "a", "b", name="m")
    net.conv("m", 4, 4, 1, 1, name="y")
    assert ["a", "b", "m"] in groups(net.model())


@pytest.mark.parametrize("op", ["Erf", "Tanh", "Softplus"])
def test_what_has_no_integers_stays_real(op):
    net = Net(1, 4, 6, 6)
    net.conv("x", 4, 4, 1, 1, name="a")
    net.add(op, "a", name="curve")
    net.add("Exp", "curve", name="y")
    names = [name for group in groups(net.model()) for name in group]
    assert "a" in names
    assert "curve" not in names


def test_a_mean_over_all_places_is_pooled_on_integers():
    net = Net(1, 4, 6, 6)
    net.conv("x", 4, 4, 1, 1, name="a")
    axes = net.weight(array=[2, 3])
    net.add("ReduceMean", "a", axes, keepdims=0, name="m")
    net.add("Gemm", "m", net.weight(3, 4), transB=1, name="y")
    whole = for_integers(net.model())
    names = [name for group in groups(whole) for name in group]
    assert {"a", "m"} <= set(names)
