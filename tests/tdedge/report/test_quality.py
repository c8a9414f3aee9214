import onnx_ir as ir
from support.eight_bits import residual, save_samples
from support.rendered import shown

from tdedge.report import quality
from tdedge_exporters.export import export
from tdedge_exporters.quantize.settings import Int8


def test_totals_and_tensors(tmp_path):
    ir.save(residual(), tmp_path / "net.onnx")
    data = save_samples(tmp_path / "data.npz", residual(), 8)
    result = export(
        *(tmp_path / "net.onnx", tmp_path / "out"),
        to="onnxruntime:int8,openvino",
        calibration=data,
        int8=Int8(keep=("n_y",)),
    )
    found, report = result.manifest.targets[0], result.quality["onnxruntime:int8"]
    rows = [line for line in shown(quality.summary(result.manifest)) if line.startswith("onnxruntime")]
    worst = report.worst[0]
    held_out = f"{found.parity['sqnr_db']:.1f} dB 100% 2"
    assert rows == [f"onnxruntime:int8 {held_out} 6, mse 4 1 - {worst.name}, {worst.sqnr_db:.1f} dB"]
    lines = shown(quality.tensors("onnxruntime:int8", report))
    assert lines[0] == "onnxruntime:int8, tensor by tensor"
    assert any(line.startswith(f"{worst.name} {worst.sqnr_db:.1f} dB") for line in lines)
    assert "n_y float32 asked for" in lines
