import numpy as np
import pytest
from support import light_models
from support.graphs import Net
from support.networks import classifier

from tdedge_exporters.capture import capture
from tdedge_exporters.conditioning import rounding_noise
from tdedge_exporters.export import export
from tdedge_exporters.verify import Reference, random_inputs


def unstable():
    """Softmax of eight equal logits of about 1e10: which of them wins is up to their last bits."""
    net = Net(1, 3, 6, 6)
    kernel = net.weight(array=np.full((8, 3, 3, 3), 1e9, np.float32))
    net.conv("x", 8, 3, 3, 3, weight=kernel, name="logits")
    net.add("GlobalAveragePool", "logits", name="pooled")
    net.add("Softmax", "pooled", axis=1, name="y")
    return net.model()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_sound_network_moves_by_a_few_roundoffs(precision):
    model = classifier()
    inputs = random_inputs(model, 0, 2)
    noise = rounding_noise(model, inputs, Reference(model, inputs).outputs, precision)
    unit = {"float32": 2**-24, "float16": 2**-11}[precision]
    assert 0 < noise["y"] < 10 * unit


def test_the_network_is_left_alone():
    model = classifier()
    before = [node.name for node in model.graph]
    inputs = random_inputs(model)
    rounding_noise(model, inputs, Reference(model, inputs).outputs, "float32")
    assert [node.name for node in model.graph] == before
    assert len(model.graph.initializers) == len(classifier().graph.initializers)


def test_what_rounding_decides_passes_with_a_warning_and_nothing_else_does():
    model = unstable()
    reference = Reference(model, random_inputs(model))
    np.testing.assert_allclose(reference.outputs[0]["y"], 1 / 8)
    winner = np.eye(8, dtype=np.float32)[None, :1].reshape(1, 8, 1, 1)
    report = reference.check(lambda feed: {"y": winner}, precision="float32")
    assert report.passed
    assert any("rounding alone moves it" in warning for warning in report.warnings)
    assert not reference.check(lambda feed: {"y": 5 * winner}, precision="float32").passed
    assert not reference.check(lambda feed: {"y": np.nan * winner}, precision="float32").passed


def test_a_sound_network_is_never_excused():
    model = classifier()
    reference = Reference(model, random_inputs(model))
    exact = reference.outputs[0]["y"]
    for factor, tolerance in ((1.001, None), (1 + 1e-8, 1e-12)):
        report = reference.check(
            lambda feed, f=factor: {"y": exact * f}, precision="float32", tolerance=tolerance
        )
        assert not report.passed
        assert not report.warnings


def test_squeezenet_as_shipped_exports_with_a_warning(tmp_path):
    """Its constants make 1000 equal logits of 7e9; OpenVINO rounds some of them another way."""
    path = light_models.FOLDER / "light_squeezenet.onnx"
    model = capture(path).model
    inputs = random_inputs(model)
    noise = rounding_noise(model, inputs, Reference(model, inputs).outputs, "float32")
    assert noise["softmaxout_1"] > 1
    result = export(path, tmp_path / "out", to="onnxruntime,openvino")
    assert any("rounding alone moves it" in warning for warning in result.manifest.warnings)
