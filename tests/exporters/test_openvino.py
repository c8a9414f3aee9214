import re
import tempfile

import numpy as np
import pytest
from support.eight_bits import clip, lowered, quantised, residual
from support.graphs import Net
from support.networks import classifier

from tdedge.errors import UnsupportedError
from tdedge_exporters.lowering import Target
from tdedge_exporters.openvino import lower, products


def weights(model) -> list[np.ndarray]:
    return [value.const_value.numpy() for value in model.graph.initializers.values()]


def constants(xml: str) -> set[str]:
    """Element types of the constants in an IR that hold more than one value."""
    found = re.findall(r'type="Const".*?element_type="(\w+)" shape="([^"]*)"', xml, re.DOTALL)
    return {kind for kind, shape in found if np.prod([int(s) for s in shape.split(",") if s.strip()]) > 9}


def test_float32_weights_are_stored_as_float32(tmp_path):
    model = classifier()
    lowered = lower(model, tmp_path, "float32")
    assert [path.name for path in lowered.files] == ["model.xml", "model.bin"]
    stored = (tmp_path / "model.bin").read_bytes()
    for weight in weights(model):
        assert weight.tobytes() in stored
    xml = (tmp_path / "model.xml").read_text()
    assert constants(xml) == {"f32"}
    assert 'element_type="f16"' not in xml


def test_float16_weights_only_when_asked_for(tmp_path):
    model = classifier()
    lowered = lower(model, tmp_path, "float16")
    assert lowered.target == Target("openvino", "float16")
    assert [path.name for path in lowered.files] == ["model-float16.xml", "model-float16.bin"]
    stored = (tmp_path / "model-float16.bin").read_bytes()
    for weight in weights(model):
        assert weight.astype(np.float16).tobytes() in stored
        assert weight.tobytes() not in stored
    assert constants((tmp_path / "model-float16.xml").read_text()) == {"f16"}


def test_both_precisions_stand_side_by_side(tmp_path):
    model = classifier()
    first = lower(model, tmp_path, "float32")
    before = [path.read_bytes() for path in first.files]
    lower(model, tmp_path, "float16")
    assert [path.read_bytes() for path in first.files] == before
    assert len(list(tmp_path.iterdir())) == 4


def test_files_hold_no_path(tmp_path):
    lowered = lower(classifier(), tmp_path, "float32")
    for path in lowered.files:
        content = path.read_bytes()
        assert tempfile.gettempdir().encode() + b"/" not in content
        assert b".onnx" not in content


def test_files_do_not_depend_on_what_was_lowered_before(tmp_path):
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        lowered = lower(classifier(), tmp_path / name, "float32")
        contents.append([path.read_bytes() for path in lowered.files])
        lower(classifier(seed=1), tmp_path, "float32")
    assert contents[0] == contents[1]


def test_graph_that_the_runtime_cannot_read(tmp_path):
    net = Net(1, 4, 4)
    net.add("Det", "x", name="y")
    with pytest.raises(UnsupportedError, match=r"openvino: cannot .* operations: Det") as raised:
        lower(net.model(), tmp_path, "float32")
    assert tempfile.gettempdir() not in raised.value.message
    assert "src/" not in raised.value.message


@pytest.mark.parametrize("name", ["residual", "clip"])
def test_int8_is_executed_on_integers(tmp_path, name):
    model = {"residual": residual, "clip": clip}[name]()
    made = lowered(model, tmp_path, "openvino:int8")
    assert [path.name for path in made.files] == ["model-int8.xml", "model-int8.bin"]
    found = products(made.entry)
    assert len(found) == 5
    assert sum(found.values()) == 5
    assert made.notes == ()
    assert constants((tmp_path / "model-int8.xml").read_text()) >= {"i8"}
    assert not any(products(lower(model, tmp_path, "float32").entry).values())


def test_a_product_that_stays_float_is_found_and_noted(tmp_path):
    made = lower(quantised(residual(), keep=("n_y",)).model, tmp_path, "int8")
    found = products(made.entry)
    assert [name for name, whole in found.items() if not whole] == ["y"]
    assert made.notes == ("OpenVINO computes 1 products in float32: y",)


def test_weights_of_eight_bits_stay_so_in_the_file(tmp_path):
    made = lower(residual(), tmp_path, "int8-weights")
    assert [path.name for path in made.files] == ["model-int8-weights.xml", "model-int8-weights.bin"]
    full = lower(residual(), tmp_path, "float32")
    assert made.files[1].stat().st_size < 0.3 * full.files[1].stat().st_size
    assert not any(products(made.entry).values())


def test_bfloat16_files_are_those_of_float32(tmp_path):
    made, full = (lower(residual(), tmp_path, precision) for precision in ("bfloat16", "float32"))
    assert made.files[1].name == "model-bfloat16.bin"
    assert made.files[1].read_bytes() == full.files[1].read_bytes()
