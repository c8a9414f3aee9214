"""Small networks as files: made with onnx here, read by the runtimes under test."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tflite_files import conv_bytes

from tdedge_runtimes.privacy import silence

silence()


def conv_net(path: Path, channels: int, *, seed: int = 0, batch: int | str = 1) -> Path:
    """Two 3x3 convolutions with bias and ReLU, 3 -> channels -> 4, on 12 x 12."""
    rng = np.random.default_rng(seed)

    def weight(name, *shape):
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["y"], pads=[0, 0, 0, 0], strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, 5, 5])],
        [weight("w1", channels, 3, 3, 3), weight("b1", channels), weight("w2", 4, channels, 3, 3)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def nets(tmp_path_factory):
    """A folder: small.onnx, large.onnx (four times the channels), open.onnx (open batch), broken.onnx.

    small.tflite and broken.tflite are the same for the runtime that reads no .onnx.
    """
    folder = tmp_path_factory.mktemp("nets")
    conv_net(folder / "small.onnx", 8)
    conv_net(folder / "large.onnx", 32)
    conv_net(folder / "open.onnx", 8, batch="N")
    (folder / "small.tflite").write_bytes(conv_bytes(8))
    for suffix in ("onnx", "tflite"):
        (folder / f"broken.{suffix}").write_bytes(b"not a model, whatever its suffix says")
    return folder


@pytest.fixture(scope="session")
def net_for(nets):
    """A call: the file of ``nets`` with this stem that a runtime reads."""

    def choose(runtime: str, stem: str = "small") -> Path:
        return nets / f"{stem}.{'tflite' if runtime == 'tflite' else 'onnx'}"

    return choose
