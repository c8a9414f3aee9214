import numpy as np
import onnx
import onnxsim
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.chains import find_chains
from tdedge_exporters.passes import simplify
from tdedge_exporters.passes.simplify import SimplifyPass


def cluttered():
    net = Net(1, 4, 6, 6)
    net.nodes.append(
        onnx.helper.make_node("Pad", ["x", net.weight(array=np.array([0, 0, 1, 1, 0, 0, 1, 1]))], ["padded"])
    )
    value = net.conv("padded", 32, 4, 3, 3, bias=True)
    value = net.conv(value, 32, 32, 5, 5, name="big")
    value = net.add("Reshape", value, net.weight(array=np.array([1, 32, 4])))
    value = net.add("Reshape", value, net.weight(array=np.array([1, 32, 2, 2])))
    net.add("Dropout", value, name="y")
    return net


def test_clutter_goes_and_weights_stay():
    net = cluttered()
    model_before = net.model()
    assert (
        max(v.const_value.nbytes for v in model_before.graph.initializers.values()) >= simplify.WEIGHT_BYTES
    )
    step = SimplifyPass()
    model = assert_rewrites(net, step, "y")
    assert ops(model) == {"Conv": 2}
    assert "onnxsim: 6 -> 2 nodes" in reasons(step.records, True)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert not model.metadata_props
    assert [site.chain.ranks for site in find_chains(model)] == [(32,)]


def test_nothing_large_travels(monkeypatch):
    seen = {}

    def spy(proto, **options):
        seen["bytes"] = proto.ByteSize()
        return onnxsim.simplify(proto, **options)

    class Spied:
        simplify = staticmethod(spy)

    monkeypatch.setattr(simplify, "onnxsim", Spied)
    assert_rewrites(cluttered(), SimplifyPass(), "y")
    assert seen["bytes"] < simplify.WEIGHT_BYTES


def replaced(monkeypatch, result):
    class Fake:
        @staticmethod
        def simplify(proto, **options):
            return result(proto), True

    monkeypatch.setattr(simplify, "onnxsim", Fake)
    step = SimplifyPass()
    model = assert_rewrites(cluttered(), step, "y")
    assert ops(model) == {"Pad": 1, "Conv": 2, "Reshape": 2, "Dropout": 1}
    assert len(model.graph.initializers) == 6
    assert not any(value.is_graph_input() for value in model.graph.initializers.values())
    return reasons(step.records)


def test_a_failure_is_recorded_and_the_graph_kept(monkeypatch):
    def fail(proto):
        raise RuntimeError("it broke")

    assert replaced(monkeypatch, fail) == "onnxsim failed: it broke"


def test_a_changed_output_is_refused(monkeypatch):
    def rename(proto):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        copy.graph.output[0].name = copy.graph.node[-1].output[0] = "z"
        return copy

    assert "'y' (FLOAT) became 'z' (FLOAT)" in replaced(monkeypatch, rename)


def test_a_dropped_input_is_refused(monkeypatch):
    def drop(proto):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        copy.graph.input[0].name = "other"
        return copy

    assert "changed the interface: inputs ['other'" in replaced(monkeypatch, drop)


def test_a_new_domain_is_refused(monkeypatch):
    def domain(proto):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        copy.graph.node[-1].domain = "com.example"
        return copy

    assert "new operator domains ['com.example']" in replaced(monkeypatch, domain)
