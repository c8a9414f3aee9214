"""Independent evaluation of an ONNX graph in float64: what every target is compared with.

The graph runs in ONNX's reference evaluator, in numpy, without any of the runtimes that are being
judged. Every float16, bfloat16 and float32 weight, constant and attribute tensor is widened to float64
(exactly), and a ``Cast`` or ``ConstantOfShape`` to one of those types gives float64, so that nothing is
rounded on the way but the values the network itself stores. Slow operators are replaced by those of
:mod:`tdedge_exporters.reference_ops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tdedge.errors import UsageError
from tdedge_exporters.reference_ops import OPERATORS

Array = NDArray[Any]
Feed = Mapping[str, Array]

_NARROW = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT}
_WIDE = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.float64): onnx.TensorProto.DOUBLE}
#: Integer attributes that hold an element type.
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")


class Evaluator:
    """A graph prepared for evaluation, to be run on any number of inputs.

    Args:
        model: the graph; unchanged.
        dtype: float64, or float32 to see what the precision alone costs.

    Raises:
        UsageError: when an operator has no reference implementation.
    """

    def __init__(self, model: ir.Model | onnx.ModelProto, dtype: type = np.float64) -> None:
        model = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model.clone()
        self._dtype = np.dtype(dtype)
        graph = model.graph
        stored = {name: value.const_value for name, value in graph.initializers.items()}
        self._weights = {name: self._widen(t.numpy()) for name, t in stored.items() if t is not None}
        graph.initializers.clear()
        names = [value.name or "" for value in graph.inputs]
        self._inputs = [name for name in names if name not in self._weights]
        self._outputs = [value.name or "" for value in graph.outputs]
        proto = ir.to_proto(model)
        _widen_graph(proto.graph, _WIDE[self._dtype])
        try:
            self._evaluator = ReferenceEvaluator(proto, new_ops=OPERATORS)
        except (NotImplementedError, RuntimeError) as error:
            raise UsageError(
                f"the network holds an operator that cannot be evaluated in float64: {error}"
            ) from error

    def run(self, inputs: Feed, *, intermediates: bool = False) -> dict[str, Array]:
        """Outputs by name, or with ``intermediates`` every named tensor that is no weight.

        Raises:
            UsageError: when an input is missing or unknown, or a node cannot be evaluated.
        """
        if set(inputs) != set(self._inputs):
            raise UsageError(f"inputs {sorted(inputs)} given; the network takes {sorted(self._inputs)}")
        feed = {name: self._widen(np.asarray(value)) for name, value in inputs.items()}
        try:
            with np.errstate(all="ignore"):
                values = self._evaluator.run(None, {**self._weights, **feed}, intermediate=True)
        except Exception as error:
            raise UsageError(f"the network cannot be evaluated in float64: {error}") from error
        if intermediates:
            kept = {k: v for k, v in values.items() if k and k not in self._weights}
            return {k: np.asarray(v) for k, v in kept.items() if isinstance(v, np.ndarray | np.generic)}
        return {name: np.asarray(values[name]) for name in self._outputs}

    def _widen(self, array: Array) -> Array:
        narrow = array.dtype.name in ("float16", "bfloat16", "float32", "float64")
        return array.astype(self._dtype, copy=False) if narrow else array


def evaluate(
    model: ir.Model | onnx.ModelProto,
    inputs: Feed,
    *,
    dtype: type = np.float64,
    intermediates: bool = False,
) -> dict[str, Array]:
    """Evaluate ``model`` once; see :class:`Evaluator`.

    Raises:
        UsageError: when the inputs do not fit or a node cannot be evaluated.
    """
    return Evaluator(model, dtype).run(inputs, intermediates=intermediates)


def _widen_graph(graph: onnx.GraphProto, wide: int) -> None:
    """Widen every float tensor, and every element type that is asked for, in place."""
    for tensor in graph.initializer:
        _widen_tensor(tensor, wide)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _NARROW:
            value.type.tensor_type.elem_type = wide
    for node in graph.node:
        for attribute in list(node.attribute):
            _widen_attribute(node, attribute, wide)
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(wide)))
            node.attribute.append(onnx.helper.make_attribute("value", zero))


def _widen_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto, wide: int) -> None:
    if attribute.type == onnx.AttributeProto.TENSOR:
        _widen_tensor(attribute.t, wide)
    elif attribute.type == onnx.AttributeProto.GRAPH:
        _widen_graph(attribute.g, wide)
    elif attribute.name in _TYPE_ATTRIBUTES and attribute.i in _NARROW:
        attribute.i = wide
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        one = attribute.name == "value_float"
        values = np.array(attribute.f if one else list(attribute.floats), dtype=np.float32)
        tensor = numpy_helper.from_array(values.astype(onnx.helper.tensor_dtype_to_np_dtype(wide)))
        attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _widen_tensor(tensor: onnx.TensorProto, wide: int) -> None:
    if tensor.data_type in _NARROW:
        array = numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(wide))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
