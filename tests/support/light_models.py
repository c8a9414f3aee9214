"""The light models that the ``onnx`` package ships, with weights on which a parity check can fail.

The nine networks (AlexNet to VGG-19, opset 9) come with constants for weights: every output is the same
whatever the input, so any export would pass. Here each weight gets seeded random values of its shape; the
network is then walked node by node on a seeded input: convolutions and Gemms are scaled to outputs of
standard deviation 1, batch norms get the real mean and variance of what flows into them.
"""

import functools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = sorted(path.stem.removeprefix("light_") for path in FOLDER.glob("light_*.onnx"))


@functools.lru_cache(maxsize=1)
def randomised(name: str, seed: int = 0) -> onnx.ModelProto:
    """The network with seeded weights."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    rng = np.random.default_rng([seed, *name.encode()])
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    roles = _roles(graph)
    weights: dict[str, np.ndarray] = {}
    for key, value in shapes.items():
        if value.dtype == np.float32:
            weights[key] = _draw(roles.get(key, "scale"), value.shape, rng)
    kept = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in shapes:
            shape = tuple(int(size) for size in shapes[node.input[0]])
            weights[node.output[0]] = _draw(roles.get(node.output[0], "scale"), shape, rng)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    used = {source for node in kept for source in node.input}
    constants = {key: value for key, value in shapes.items() if key in used and key not in weights}
    data = next(v for v in graph.input if v.name in used and v.name not in constants | weights)
    shape = [dim.dim_value for dim in data.type.tensor_type.shape.dim]
    _calibrate(model, weights, constants, {data.name: rng.standard_normal(shape).astype(np.float32)})
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in (constants | weights).items())
    # The files are of IR version 3, in which every initializer is a graph input too; keep them that way.
    inputs = [
        data,
        *(
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in (constants | weights).items()
        ),
    ]
    del graph.input[:]
    graph.input.extend(inputs)
    onnx.checker.check_model(model)
    return model


def _roles(graph: onnx.GraphProto) -> dict[str, str]:
    """What a constant is to the node that reads it."""
    roles = {}
    names = {
        "Conv": ("", "weight", "bias"),
        "Gemm": ("", "weight", "bias"),
        "BatchNormalization": ("", "scale", "bias", "mean", "var"),
        "Add": ("", "bias"),
        "Mul": ("", "scale"),
    }
    direct = _views(graph)
    for node in graph.node:
        for source, role in zip(node.input, names.get(node.op_type, ()), strict=False):
            roles[direct.get(source, source)] = role
    return roles


def _views(graph: onnx.GraphProto) -> dict[str, str]:
    """Output -> input of the nodes that only give a weight another shape."""
    return {node.output[0]: node.input[0] for node in graph.node if node.op_type in ("Unsqueeze", "Reshape")}


def _draw(role: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if role == "weight":
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif role == "bias":
        values = 0.1 * rng.standard_normal(shape)
    else:
        values = rng.uniform(0.8, 1.2, shape)
    return values.astype(np.float32)


def _calibrate(
    model: onnx.ModelProto,
    weights: dict[str, np.ndarray],
    constants: dict[str, np.ndarray],
    feed: dict[str, np.ndarray],
) -> None:
    """Walk the network on ``feed``, scaling weights and setting batch-norm statistics in place."""
    views = _views(model.graph)
    left: dict[str, int] = {}
    for node in model.graph.node:
        for source in node.input:
            left[source] = left.get(source, 0) + 1
    values = dict(feed)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            seen = values[node.input[0]]
            axes = (0, *range(2, seen.ndim))
            weights[node.input[3]] = seen.mean(axes).astype(np.float32)
            weights[node.input[4]] = (seen.var(axes) + 1e-3).astype(np.float32)
        outputs = _run(model, node, values, weights, constants)
        if node.op_type in ("Conv", "Gemm"):
            scale = np.float32(1 / outputs[0].std())
            for source in node.input[1:]:
                weights[views.get(source, source)] *= scale
            outputs = [outputs[0] * scale]
        values.update(zip(node.output, outputs, strict=False))
        for source in node.input:
            left[source] -= 1
            if not left[source]:
                values.pop(source, None)


def _run(model, node, values, weights, constants) -> list[np.ndarray]:
    """One node, alone, in ONNX Runtime."""
    sources = {s: values.get(s, weights.get(s, constants.get(s))) for s in node.input}
    graph = helper.make_graph(
        [node],
        "node",
        [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in sources.items()
        ],
        [onnx.ValueInfoProto(name=node.output[0])],
    )
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        alone.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, sources)
