import onnx_ir as ir
import pytest
from support.eight_bits import clip, residual
from support.graphs import ops

from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.timing import lower_to_time


@pytest.mark.parametrize("make", [residual, clip])
def test_an_integer_target_times_integers(tmp_path, make):
    found = ops(ir.load(lower_to_time(make(), tmp_path, Target("onnxruntime", "int8")).entry))
    assert found["QuantizeLinear"] > 5
    assert found["DequantizeLinear"] > found["Conv"] + found["Gemm"]


def test_any_other_times_the_graph_itself(tmp_path):
    model = residual()
    assert ops(ir.load(lower_to_time(model, tmp_path, Target("onnxruntime")).entry)) == ops(model)
