"""The layout of whole graphs: how many transposes are left, and that the assignment is the cheapest."""

import itertools

import numpy as np
import pytest
from support.graphs import Net, run
from support.lowering_tflite import lowered

from tdedge_exporters.tflite.layout import _Cut, is_copy_free, physical_permutation
from tdedge_exporters.tflite.order import FIRST, Order, natural


def transposes(net: Net, *outputs: str, layout: str = "nchw") -> int:
    """Transposes of the lowered file, whose outputs must be right."""
    model = net.model(*outputs)
    x = net.sample()
    expected = run(model, x)
    file = lowered(model, layout)
    got = file.run({"x": x})
    for value, wanted in zip(model.graph.outputs, expected, strict=True):
        assert got[value.name].shape == wanted.shape
        assert np.abs(got[value.name] - wanted).max() <= 1e-5 * np.abs(wanted).max()
    return file.ops.count("TRANSPOSE")


def body(net: Net) -> str:
    """A residual block with everything that works in either layout."""
    x = net.conv("x", 8, 3, 3, 3, pads=1)
    a = net.add("Relu", x)
    b = net.add("Relu", net.conv(a, 8, 8, 3, 3, pads=1))
    c = net.add("Add", a, b)
    return net.conv(c, 6, 8, 1, 1)


def test_one_transpose_at_each_end():
    net = Net(1, 3, 9, 8)
    body(net)
    assert transposes(net) == 2


def test_channels_last_inputs_need_none_at_the_beginning():
    net = Net(1, 3, 9, 8)
    body(net)
    assert transposes(net, layout="nhwc") == 1


def test_classifier_needs_none_at_the_end():
    net = Net(2, 3, 9, 8)
    y = net.add("Flatten", net.add("GlobalAveragePool", body(net)))
    net.add("Gemm", y, net.weight(4, 6), net.weight(4), transB=1)
    assert transposes(net) == 1


def test_flattened_image_is_folded_into_the_weights():
    net = Net(2, 3, 9, 8)
    y = net.add("Relu", net.add("Flatten", body(net)))
    net.add("Gemm", y, net.weight(4, 6 * 72), net.weight(4), transB=1)
    assert transposes(net) == 1


def test_flattened_image_that_is_an_output_is_transposed():
    net = Net(2, 3, 9, 8)
    net.add("Flatten", body(net))
    assert transposes(net) == 2


def test_shuffle_is_one_transpose_of_its_own():
    net = Net(2, 3, 6, 6)
    y = net.conv("x", 8, 3, 3, 3)
    y = net.add("Reshape", y, net.weight(array=[2, 2, 4, 4, 4]))
    y = net.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = net.add("Reshape", y, net.weight(array=[2, 8, 4, 4]))
    y = net.conv(y, 5, 8, 1, 1)
    net.add("GlobalAveragePool", y)
    assert transposes(net) == 2


def test_network_that_is_written_channels_last_needs_none():
    net = Net(1, 9, 8, 3)
    y = net.add("Transpose", "x", perm=[0, 3, 1, 2])
    y = net.conv(y, 8, 3, 3, 3)
    net.add("Transpose", y, perm=[0, 2, 3, 1])
    assert transposes(net) == 0


def test_work_outside_convolutions_stays_as_it_is():
    net = Net(1, 3, 9, 8)
    a = net.add("Relu", "x")
    net.add("Add", a, "x")
    assert transposes(net) == 0


def test_a_value_read_twice_is_transposed_once():
    net = Net(1, 3, 9, 8)
    a = net.add("Relu", "x")
    b = net.conv(a, 8, 3, 3, 3)
    c = net.conv(a, 8, 3, 3, 3)
    net.add("GlobalAveragePool", net.add("Add", b, c))
    assert transposes(net) == 1


def test_small_side_of_a_branch_is_transposed():
    """Two channels-first ends with a big and a small tensor between: the cut takes the small one."""
    net = Net(1, 2, 16, 16)
    a = net.conv("x", 64, 2, 3, 3, pads=1)
    b = net.conv(a, 2, 64, 3, 3, pads=1)
    c = net.add("Relu", b)
    net.add("Add", c, "x")
    assert transposes(net) == 2


def test_video_has_no_tensor_of_five_axes_inside():
    net = Net(1, 3, 6, 8, 8)
    a = net.add("Relu", net.conv("x", 8, 3, 3, 3, 3, pads=1))
    b = net.conv(a, 8, 8, 3, 1, 1, pads=[1, 0, 0, 1, 0, 0])
    net.add("GlobalAveragePool", net.add("Add", a, b))
    model = net.model()
    file = lowered(model)
    assert file.ops.count("TRANSPOSE") == 1
    ranks = [len(d["shape"]) for d in file.interpreter.get_tensor_details()]
    assert ranks.count(5) == 2  # the network's own input and output
    assert any("more than 4 axes" in note for note in file.notes)
    assert file.plan == ["DELEGATE"]


def test_permutation_across_orders():
    last = natural((2, 3, 4, 5))
    assert physical_permutation((2, 3, 4, 5), last, (0, 2, 3, 1), FIRST) == (0, 1, 2, 3)
    assert physical_permutation((2, 3, 4, 5), FIRST, (0, 2, 3, 1), FIRST) == (0, 2, 3, 1)
    assert physical_permutation((2, 60), Order(2, 3, 20), (0, 1), FIRST) is None
    assert is_copy_free((2, 3, 4, 5), last, (0, 2, 3, 1), FIRST)
    assert is_copy_free((2, 1, 4, 5), FIRST, (0, 2, 3, 1), FIRST)
    assert not is_copy_free((2, 3, 4, 5), FIRST, (0, 2, 3, 1), FIRST)
    assert not is_copy_free((2, 60), Order(2, 3, 20), (0, 1), FIRST)


@pytest.mark.parametrize("seed", range(25))
def test_the_cut_is_the_cheapest_assignment(seed):
    rng = np.random.default_rng(seed)
    count, cut = 6, _Cut()
    fixed = {0: False, 1: True}
    variables = [cut.variable(fixed=fixed.get(i)) for i in range(count)]
    edges = []
    for _ in range(7):
        maker, *readers = (int(v) for v in rng.permutation(count)[: rng.integers(2, 5)])
        size = int(rng.integers(1, 50)) * 64
        edges.append((maker, readers, size))
        cut.disagree(variables[maker], {variables[r] for r in readers}, size)
    pair = [[0, 640], [128, 64]]
    cut.pair(variables[2], variables[3], pair)

    def cost(labels) -> int:
        total = pair[labels[2]][labels[3]]
        for maker, readers, size in edges:
            total += size * any(labels[reader] != labels[maker] for reader in readers)
        return total

    allowed = [
        labels
        for labels in itertools.product((False, True), repeat=count)
        if all(labels[i] == value for i, value in fixed.items())
    ]
    solved = cut.solve()
    chosen = tuple(solved[variable] for variable in variables)
    assert chosen in allowed
    assert cost(chosen) == min(map(cost, allowed))
