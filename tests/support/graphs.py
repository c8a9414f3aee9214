"""Small ONNX graphs for tests: build, run, compare."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

_TYPES = {
    np.float32: onnx.TensorProto.FLOAT,
    np.float64: onnx.TensorProto.DOUBLE,
    np.float16: onnx.TensorProto.FLOAT16,
}


class Net:
    """A graph of one input ``x``; nodes are added in order and named after their output."""

    def __init__(self, *shape, dtype=np.float32, seed=0):
        self.shape, self.dtype = shape, dtype
        self.rng = np.random.default_rng(seed)
        self.nodes, self.initializers, self.inputs = [], [], []
        self.inputs.append(helper.make_tensor_value_info("x", _TYPES[dtype], shape))

    def weight(self, *shape, name=None, array=None):
        array = self.rng.standard_normal(shape) if array is None else array
        array = np.asarray(array)
        if np.issubdtype(array.dtype, np.floating):
            array = array.astype(self.dtype)
        name = name or f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op, *inputs, name=None, **attributes):
        name = name or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"n_{name}", **attributes))
        return name

    def conv(self, x, out, into, *kernel, bias=False, name=None, groups=1, pads=0, weight=None, **attributes):
        inputs = [x, weight or self.weight(out, into // groups, *kernel)]
        if bias:
            inputs.append(self.weight(out))
        pads = [pads] * 2 * len(kernel) if isinstance(pads, int) else pads
        if "auto_pad" not in attributes:
            attributes["pads"] = pads
        return self.add("Conv", *inputs, name=name, group=groups, kernel_shape=kernel, **attributes)

    def model(self, *outputs) -> ir.Model:
        outputs = outputs or (self.nodes[-1].output[0],)
        infos = [helper.make_tensor_value_info(name, _TYPES[self.dtype], None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, infos, self.initializers)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        onnx.checker.check_model(proto, full_check=True)
        return ir.from_proto(proto)

    def sample(self, batch=2):
        shape = [batch if isinstance(size, str) else size for size in self.shape]
        return self.rng.standard_normal(shape).astype(self.dtype)


def run(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    """Outputs, by ONNX Runtime without its own rewrites, after ONNX's own checks.

    Float64 networks run in ONNX's reference evaluator: ONNX Runtime has no kernels for them.
    """
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    if x.dtype == np.float64:
        return ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: x})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})


def assert_close(got, expected, tolerance=1e-5):
    """Every output within ``tolerance`` of its own scale."""
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
        assert gap <= tolerance * np.abs(b.astype(np.float64)).max()


def assert_rewrites(net: Net, rewrite, *outputs, tolerance=1e-5):
    """Apply ``rewrite`` to the net's model and check that its outputs stay; the model after it."""
    model = net.model(*outputs)
    x = net.sample()
    expected = run(model, x)
    assert all(np.abs(value).max() > 0 for value in expected)
    rewrite(model)
    assert_close(run(model, x), expected, tolerance)
    assert [value.name for value in model.graph.outputs] == list(outputs or (net.nodes[-1].output[0],))
    return model


def ops(model: ir.Model) -> dict[str, int]:
    """Operator histogram of the main graph."""
    return dict(Counter(node.op_type for node in model.graph))


def reasons(records, changed=False) -> str:
    """The reasons of the records that changed something, or that did not, one per line."""
    return "\n".join(record.reason for record in records if record.changed is changed)
