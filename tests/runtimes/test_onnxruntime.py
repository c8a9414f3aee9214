"""What is particular to ONNX Runtime."""

import numpy as np
import pytest

from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.onnxruntime import OnnxRuntimeSession
from tdedge_runtimes.session import TensorInfo, open_session


def test_only_the_cpu_and_no_spinning(nets):
    with OnnxRuntimeSession(nets / "small.onnx", threads=2) as session:
        options = session._session.get_session_options()
        assert session.describe()["execution"]["provider"] == "CPUExecutionProvider"
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_an_open_batch_takes_any_size(nets):
    with open_session("onnxruntime", nets / "open.onnx") as session:
        assert session.inputs == (TensorInfo("x", (None, 3, 12, 12), "float32"),)
        assert session.run({"x": np.zeros((3, 3, 12, 12), np.float32)})["y"].shape == (3, 4, 5, 5)
        with pytest.raises(RuntimeInputError, match=r"expected float32 \[\?, 3, 12, 12\]"):
            session.run({"x": np.zeros((3, 4, 12, 12), np.float32)})


def test_half_precision_is_a_matter_of_the_file(nets):
    for precision in ("float16", "bfloat16"):
        with pytest.raises(RuntimeInputError, match="convert the file"):
            open_session("onnxruntime", nets / "small.onnx", precision=precision)
