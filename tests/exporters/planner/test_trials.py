"""The small models that are timed: what identifies them, what they hold."""

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from support.graphs import Net, ops
from support.random_networks import Grower

from tdedge_exporters.planner.candidates import Scope, candidates
from tdedge_exporters.planner.layouts import FRAMES, LAST, NATIVE, Label, Layout
from tdedge_exporters.planner.trials import Port, base_trial, candidate_trial, conversion_trial
from tdedge_exporters.planner.units import network


def offered(net, scope=None):
    return candidates(network(net.model()), scope or Scope())


def chain(seed=0, *, pads=1, bias=True, act="Relu"):
    net = Net(1, 4, 8, 8, seed=seed)
    a = net.add("Softplus", "x")
    y = net.add(act, net.conv(a, 6, 4, 3, 3, pads=pads, bias=bias))
    net.conv(y, 4, 6, 1, 1)
    return net


def keys(net):
    return [candidate_trial(each, 18)[0].sha256 for each in offered(net)]


def test_keys_are_the_same_for_other_weights_and_names():
    net = chain(1)
    for node in net.nodes:
        node.name = f"other_{node.name}"
    assert keys(chain(0)) == keys(net)


@pytest.mark.parametrize("change", [{"pads": 0}, {"bias": False}, {"act": "Tanh"}])
def test_keys_tell_geometries_apart(change):
    assert keys(chain()) != keys(chain(**change))


def test_candidates_of_one_unit_have_keys_of_their_own():
    found = [candidate_trial(each, 18)[0] for each in offered(chain())]
    assert len({trial.sha256 for trial in found}) == len(found)
    assert all(json.loads(json.dumps(trial.key)) == trial.key for trial in found)


@pytest.mark.parametrize("seed", range(6))
def test_every_trial_is_a_model(seed):
    """Checked by ONNX: shapes and types of adapters, forms and conversions fit."""
    net = network(Grower(seed, 1 + seed % 3).grow(6).model())
    trials = {}
    found = [each for each in candidates(net, Scope(lanes=4, volumes=True)) if each.units[0].kind != "opaque"]
    for candidate in found:
        trial, ports = candidate_trial(candidate, 18)
        for each in (trial, *(base_trial(port, 18) for port in ports)):
            trials[each.sha256] = each
    for trial in trials.values():
        onnx.checker.check_model(ir.to_proto(trial.build()), full_check=True)


def test_ports_stand_for_half_a_base_and_inputs_of_the_network_are_bare():
    net = chain()
    first, second = network(net.model()).units[:2]
    plain = {each.units[0].index: each for each in offered(net) if each.is_plain}
    trial, ports = candidate_trial(plain[first.index], 18)
    assert ports == [Port((1, 4, 8, 8), NATIVE)]  # the output alone
    assert ops(trial.build()) == {"Softplus": 1, "Conv": 1}
    trial, ports = candidate_trial(plain[second.index], 18)
    assert ports == [Port((1, 4, 8, 8), NATIVE), Port((1, 6, 8, 8), NATIVE)]
    assert ops(trial.build()) == {"Conv": 3, "Relu": 1}


@pytest.mark.parametrize("label", [NATIVE, FRAMES, LAST, Label(Layout.FRAMES, 3), Label(Layout.LAST, 3)])
def test_bases(label):
    model = base_trial(Port((1, 5, 4, 6, 6), label), 18).build()
    assert ops(model) == {"MatMul" if label.layout is Layout.LAST else "Conv": 2}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    (x,), (y,) = model.graph.inputs, model.graph.outputs
    assert x.shape == y.shape
    assert int(np.prod(x.shape)) == 16 * 4 * 6 * 6


def test_conversions_do_not_depend_on_the_network():
    values = []
    for seed in (0, 1):
        net = Net(1, 4, 5, 6, 7, seed=seed)
        net.add("Relu", net.add("Softplus", "x"))
        values.append(network(net.model()).units[0].outputs[0])
    (trial, ports), (again, _) = (conversion_trial(value, NATIVE, FRAMES, 18) for value in values)
    assert trial.sha256 == again.sha256
    assert ports == [Port((1, 4, 5, 6, 7), NATIVE), Port((1, 4, 5, 6, 7), FRAMES)]
    assert ops(trial.build()) == {"Conv": 2, "Reshape": 1, "Transpose": 1}
    assert trial.sha256 != conversion_trial(values[0], FRAMES, NATIVE, 18)[0].sha256


def typed(dtype):
    net = Net(1, 8, 6, 6, dtype=dtype)
    y = net.conv(net.add("Softplus", "x"), 8, 8, 1, 1, bias=True)
    net.add("Mul", y, net.weight(8, 1, 1))
    return net


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_trials_compute_in_the_type_of_the_network(dtype):
    net = typed(dtype)
    for candidate in offered(net):
        trial, ports = candidate_trial(candidate, 18)
        for each in (trial, *(base_trial(port, 18) for port in ports)):
            model = each.build()
            onnx.checker.check_model(ir.to_proto(model), full_check=True)
            assert model.graph.inputs[0].dtype == ir.DataType.from_numpy(np.dtype(dtype))
    assert set(keys(net)).isdisjoint(keys(typed(np.float32)))
