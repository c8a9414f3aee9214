"""OpenVINO on the CPU.

The plug-in would pick bfloat16 by itself where the processor has it, also in place of float16 where it lacks
that; float32 is asked for unless float16 is wanted and the processor has it, or bfloat16 is wanted, which is
refused where the processor lacks it. What is in force is read back from the compiled model. A quantised file
is run as it is: its products on integers, all else in float32. One stream, so that all threads serve one
inference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, first_line
from tdedge_runtimes.privacy import import_openvino
from tdedge_runtimes.session import Array, TensorInfo, check_inputs

if TYPE_CHECKING:
    from typing import Self  # not yet in the Python 3.10 of some devices


#: How OpenVINO writes the types it computes in.
_TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


class OpenVinoSession:
    """A model loaded by OpenVINO: an .xml with its .bin, or an .onnx file; see ``Session``.

    Raises:
        RuntimeMissing: OpenVINO is not installed.
        RuntimeInputError: The file cannot be loaded, a shape is not fixed, or bfloat16 is asked for on a
            processor without it.
    """

    def __init__(
        self, path: Path, *, threads: int = 1, precision: str = "float32", counters: bool = False
    ) -> None:
        runtime = import_openvino()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "PERF_COUNT": counters,
        }
        try:
            core = runtime.Core()
            options["INFERENCE_PRECISION_HINT"] = _hint(core, precision)
            model = core.read_model(str(path))
            self.inputs = tuple(_info(port) for port in model.inputs)
            self.outputs = tuple(_info(port) for port in model.outputs)
            compiled: Any = core.compile_model(model, "CPU", options)
        except RuntimeInputError:
            raise
        except Exception as error:  # the runtime's exceptions share no base class of their own
            raise RuntimeInputError(f"openvino cannot load {path.name!r}: {_reason(error)}") from None
        self._compiled: Any = compiled
        self._request: Any = compiled.create_infer_request()
        self._threads = threads
        self._version = str(runtime.__version__)

    @staticmethod
    def load_runtime() -> None:
        """Import the runtime's package.

        Raises:
            RuntimeMissing: It is not installed.
        """
        import_openvino()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises:
            RuntimeInputError: An input does not fit.
            RuntimeFailed: The runtime failed.
        """
        request = self._open()
        arrays = list(check_inputs(self.inputs, inputs).values())
        try:
            request.infer(dict(enumerate(arrays)))
            return {
                info.name: np.array(request.get_output_tensor(index).data)
                for index, info in enumerate(self.outputs)
            }
        except Exception as error:
            raise RuntimeFailed(f"openvino failed: {_reason(error)}") from None

    def counted(self) -> list[Any]:
        """Nodes with their times of the last ``run`` of a session that was opened with ``counters``."""
        return list(self._open().get_profiling_info())

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], object]:
        """A call that runs once on these inputs; the outputs stay with the runtime."""
        self._open()
        request = self._compiled.create_infer_request()
        for index, array in enumerate(check_inputs(self.inputs, inputs).values()):
            request.get_input_tensor(index).data[...] = array

        def call() -> None:
            request.infer(share_outputs=True)

        return call

    def describe(self) -> dict[str, Any]:
        """Runtime, version, threads and the execution options in force."""
        self._open()
        compiled = self._compiled
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return {
            "runtime": "openvino",
            "version": self._version,
            "threads": self._threads,
            "execution": {
                "provider": ",".join(str(name) for name in compiled.get_property("EXECUTION_DEVICES")),
                "precision": _TYPES.get(precision, precision),
                "performance_hint": str(compiled.get_property("PERFORMANCE_HINT")),
                "streams": int(compiled.get_property("NUM_STREAMS")),
                "inference_threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
            },
        }

    def close(self) -> None:
        """Release the model."""
        self._request = None
        self._compiled = None

    def _open(self) -> Any:
        if self._request is None:
            raise RuntimeInputError("the session is closed; open the model again")
        return self._request

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _hint(core: Any, precision: str) -> str:
    """float16 only where the processor has it: elsewhere the plug-in would answer the hint with bfloat16."""
    has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and "BF16" not in has:
        raise RuntimeInputError(
            f"this processor has no bfloat16 (OpenVINO lists {', '.join(has)}); use float32 or int8"
        )
    if precision == "bfloat16":
        return "bf16"
    return "f16" if precision == "float16" and "FP16" in has else "f32"


def _info(port: Any) -> TensorInfo:
    names = sorted(port.get_names())
    node = str(port.get_node().get_friendly_name()).partition("/sink_port")[0]
    name = node if node in names or not names else names[0]
    partial = port.get_partial_shape()
    if partial.is_dynamic:
        raise RuntimeInputError(f"{name!r} has the shape {partial}; fix the shape on export")
    return TensorInfo(
        name, tuple(int(extent) for extent in partial.to_shape()), port.get_element_type().to_dtype().name
    )


def _reason(error: BaseException) -> str:
    """The telling line of an OpenVINO exception, whose first lines name source files of its build."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '", "While "))]
    return (telling or [first_line(error)])[0]
