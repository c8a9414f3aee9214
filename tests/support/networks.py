"""The small network that the tests of the pipeline and of the commands export, as graph and as factory."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from support.graphs import Net

#: Parameters and MACs of :func:`classifier`, counted by hand.
PARAMS = (8 * 27 + 8) + 12 * 72 + (4 * 12 + 4)
MACS = 8 * 27 * 64 + 12 * 72 * 36 + 4 * 12

#: A factory in a file of its own, as a user would write it: ``net.py:classifier``.
FACTORY = """
import torch
from torch import nn

def classifier():
    torch.manual_seed(7)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    )
    return net, torch.randn(1, 3, 8, 8)
"""


def classifier(seed: int = 0) -> ir.Model:
    """x (1, 3, 8, 8) -> a, b: 3x3 Conv and Relu -> c, d: 3x3 Conv and Relu -> y (1, 4)."""
    net = Net(1, 3, 8, 8, seed=seed)
    net.conv("x", 8, 3, 3, 3, bias=True, pads=1, name="a")
    net.add("Relu", "a", name="b")
    net.conv("b", 12, 8, 3, 3, name="c")
    net.add("Relu", "c", name="d")
    net.add("GlobalAveragePool", "d", name="e")
    net.add("Flatten", "e", name="f")
    net.add("Gemm", "f", net.weight(4, 12), net.weight(4), transB=1, name="y")
    return net.model()


def save_classifier(path: Path, seed: int = 0) -> Path:
    """:func:`classifier` as a file."""
    ir.save(classifier(seed), path)
    return path


def save_factory(folder: Path) -> str:
    """Write ``net.py``; the source to give to a command."""
    (folder / "net.py").write_text(FACTORY)
    return f"{folder / 'net.py'}:classifier"


def damage(entry: Path, weight: np.ndarray) -> None:
    """Change one value of a convolution's ``weight`` inside the model ``entry`` (.onnx, .xml or .tflite)."""
    changed = weight.copy()
    changed[(0,) * changed.ndim] += 1
    if entry.suffix == ".tflite":
        stored, altered = (np.moveaxis(w, 1, -1).tobytes() for w in (weight, changed))
        content = entry.read_bytes()
        assert content.count(stored) == 1
        entry.write_bytes(content.replace(stored, altered))
        return
    if entry.suffix == ".xml":
        path = entry.with_suffix(".bin")
        content = path.read_bytes()
        assert content.count(weight.tobytes()) == 1
        path.write_bytes(content.replace(weight.tobytes(), changed.tobytes()))
        return
    model = onnx.load(entry)
    stored = [t for t in model.graph.initializer if np.array_equal(numpy_helper.to_array(t), weight)]
    assert len(stored) == 1
    stored[0].CopyFrom(numpy_helper.from_array(changed, stored[0].name))
    onnx.save(model, entry)
