"""Nine networks nobody here wrote, as they are and decomposed, for every runtime."""

import onnx
import pytest
from support import light_models

from tdedge.plan import CompressionPlan, LayerRule
from tdedge_exporters.export import export

ALL = ["onnxruntime", "openvino", "tflite"]
TUCKER_HALF = CompressionPlan(default=LayerRule(format="tucker", ratio=0.5))


#: Their Linear layers of 10^8 weights take minutes to decompose; AlexNet's are of the same kind.
AS_IS_ALONE = ("vgg19", "zfnet512")
CASES = [
    pytest.param(name, plan, id=f"{name}-{'tucker-half' if plan else 'as-is'}")
    for name in light_models.NAMES
    for plan in (None, TUCKER_HALF)
    if plan is None or name not in AS_IS_ALONE
]


@pytest.mark.parametrize(("name", "plan"), CASES)
def test_export_with_parity(tmp_path, name, plan):
    path = tmp_path / f"{name}.onnx"
    onnx.save(light_models.randomised(name), path)
    result = export(path, tmp_path / "out", to=ALL, plan=plan, input_sets=1)
    assert [target.target for target in result.manifest.targets] == ALL
    errors = {target.target: target.parity["max_rel"] for target in result.manifest.targets}
    assert all(target.parity["passed"] for target in result.manifest.targets)
    assert 0 < min(errors.values()) <= max(errors.values()) <= 1e-4
    # Three of the networks lose two digits in float32 wherever they run: no more than the others, then.
    assert errors["tflite"] <= max(1e-5, 2 * errors["onnxruntime"], 2 * errors["openvino"])
    assert not result.manifest.warnings
    cost = result.manifest.cost
    if plan is None:
        assert result.compression is None
        assert result.manifest.compression_error is None
        assert cost["exported"]["macs"] == cost["captured"]["macs"]
    else:
        assert cost["captured"]["macs"] < cost["dense"]["macs"]
        assert cost["exported"]["macs"] <= cost["captured"]["macs"]
        assert result.manifest.compression_error["max_rel"] > 1e-3


def test_all_nine_are_there():
    assert len(light_models.NAMES) == 9


@pytest.mark.parametrize("name", light_models.NAMES)
def test_as_shipped_they_export_and_are_flagged(tmp_path, name):
    """With constants for weights a check proves nothing; the report says so."""
    path = light_models.FOLDER / f"light_{name}.onnx"
    result = export(path, tmp_path / "out", to=ALL, input_sets=1)
    assert any("constant" in warning for warning in result.manifest.warnings)
