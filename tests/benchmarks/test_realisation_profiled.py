"""What the parts of a network take inside it, by a runtime's profile."""

import pytest
from support.graphs import Net

from benchmarks.realisation.parts import GROUPED, MOVES, NARROW, POINTWISE, WIDE
from benchmarks.realisation.profiled import kind_of, parts_of, profiled
from tdedge_exporters import lowering
from tdedge_exporters.lowering import Target
from tdedge_runtimes.operator_times import OpTime


def network():
    """A part of every kind, one with an activation after it."""
    net = Net(1, 32, 16, 16)
    net.conv("x", 8, 32, 1, 1, name="narrow")
    net.conv("narrow", 32, 8, 3, 3, pads=1, name="narrow_too")
    net.conv("narrow_too", 32, 32, 3, 3, pads=1, groups=32, name="grouped")
    net.add("Relu", net.conv("grouped", 32, 32, 3, 3, pads=1, name="wide"), name="r")
    net.conv("r", 32, 32, 1, 1, name="pointwise")
    net.add("GlobalAveragePool", "pointwise", name="pool")
    net.add("Flatten", "pool", name="flat")
    net.add("MatMul", "flat", net.weight(32, 64), name="y")
    return net.model()


MACS = {
    NARROW: 256 * (32 * 8 + 8 * 32 * 9),
    GROUPED: 256 * 32 * 9,
    WIDE: 256 * 32 * 32 * 9,
    POINTWISE: 256 * 32 * 32 + 32 * 64,
}


def test_the_kind_of_every_node():
    kinds = [kind_of(node, 16) for node in network().graph]
    assert kinds == [NARROW, NARROW, GROUPED, WIDE, MOVES, POINTWISE, MOVES, MOVES, POINTWISE]


def op(name, kind, ms):
    us = ms * 1e3
    return OpTime(0, name, False, 0, us, us, us, us, kind)


def test_what_was_fused_counts_for_the_product_and_what_was_added_is_a_move():
    profile = [
        op("n_narrow", "Conv", 1.0),
        op("narrow_too_nchwc", "Conv", 2.0),
        op("r_nchwc", "Conv", 4.0),  # the product and its activation
        op("fused n_pointwise", "FusedConv", 1.5),
        op("ReorderInput", "ReorderInput", 0.25),
        op("pool_nchwc", "GlobalAveragePool", 0.5),
        op("n_y/WithoutBiases", "FullyConnected", 0.125),
        op("elsewhere", "Conv", 0.0625),
    ]
    found = parts_of(profile, network(), 16)
    assert found == {
        NARROW: (2, MACS[NARROW], 3.0),
        GROUPED: (1, MACS[GROUPED], 0.0),
        WIDE: (1, MACS[WIDE], 4.0),
        POINTWISE: (2, MACS[POINTWISE], 1.625),
        MOVES: (3, 0, 0.8125),
    }


def test_of_a_sum_it_is_the_product_that_has_no_time_of_its_own():
    net = Net(1, 16, 8, 8)
    a = net.conv("x", 16, 16, 1, 1, name="a")
    net.conv(net.add("Relu", a, name="r"), 16, 16, 3, 3, pads=1, name="b")
    net.add("Relu", net.add("Add", "a", "b", name="sum"), name="y")
    found = parts_of([op("a_nchwc", "Conv", 1.0), op("y_nchwc", "Conv", 3.0)], net.model(), 16)
    assert (found[POINTWISE][2], found[WIDE][2], found[MOVES][2]) == (1.0, 3.0, 0.0)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_keep_the_names_of_products(runtime, tmp_path):
    """So every one of them has its own time; what is left over is small change."""
    model = network()
    path = lowering.lower(model, tmp_path, Target(runtime)).entry
    found = profiled(path, runtime, model, threads=1, lanes=16)
    assert {kind: part[:2] for kind, part in found.items() if kind != MOVES} == {
        NARROW: (2, MACS[NARROW]),
        GROUPED: (1, MACS[GROUPED]),
        WIDE: (1, MACS[WIDE]),
        POINTWISE: (2, MACS[POINTWISE]),
    }
    assert all(found[kind][2] > 0 for kind in (NARROW, GROUPED, WIDE, POINTWISE))
    assert found[MOVES][2] < sum(ms for *_, ms in found.values()) / 2


def test_kernels_of_a_partition_do_not_tell(tmp_path):
    model = network()
    path = lowering.lower(model, tmp_path, Target("tflite")).entry
    assert profiled(path, "tflite", model, threads=1, lanes=16) == {}
