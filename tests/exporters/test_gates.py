import numpy as np
import pytest
from support.eight_bits import lowered, quantised, residual, samples

from tdedge.errors import GateError
from tdedge_exporters.gates import check_eight_bits, integer_ports
from tdedge_exporters.quantize.grids import Grid
from tdedge_exporters.verify import Reference
from tdedge_runtimes.session import TensorInfo


def test_ports_are_what_stands_for_floats():
    infos = (TensorInfo("x", (1,), "int8"), TensorInfo("u", (1,), "uint8"), TensorInfo("n", (1,), "int8"))
    ports = integer_ports((*infos, TensorInfo("f", (1,), "float32")), dict.fromkeys("xuf", Grid(0.5, 3)))
    assert {name: (port.dtype, port.scale, port.zero_point) for name, port in ports.items()} == {
        "x": ("int8", 0.5, -125),
        "u": ("uint8", 0.5, 3),
    }


def test_the_golden_input_has_a_figure_of_its_own(tmp_path):
    model = residual()
    made = quantised(model)
    feeds = samples(model, 4, seed=5)
    target = lowered(model, tmp_path, "onnxruntime:int8")
    verdict = check_eight_bits(Reference(model, feeds[:1]), Reference(model, feeds[1:]), target, None, made)
    assert verdict.report.passed
    assert verdict.ports == {}
    assert verdict.golden_sqnr_db > 10
    assert verdict.golden_sqnr_db != verdict.report.worst.sqnr_db


def test_files_of_another_network_fail_and_the_advice_names_tensors(tmp_path):
    model, other = residual(), residual(seed=3)
    made = quantised(model)
    feeds = samples(model, 2, seed=5)
    reference = Reference(other, feeds)
    target = lowered(model, tmp_path, "onnxruntime:int8")
    with pytest.raises(GateError) as raised:
        check_eight_bits(reference, reference, target, None, made)
    worst = made.report.worst[0]
    assert f"noisiest tensors: {worst.name} {worst.sqnr_db:.1f} dB" in raised.value.message
    assert "8 were used" in raised.value.message
    assert np.isfinite(worst.sqnr_db)
