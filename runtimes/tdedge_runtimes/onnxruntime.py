"""ONNX Runtime on the CPU.

One thread pool of a fixed size, sequential execution, all graph optimisations. Worker threads stop spinning
when an inference ends (``session.force_spinning_stop``): otherwise the threads of one loaded model steal
cores from the next, and interleaved measurements of several models are wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, first_line
from tdedge_runtimes.privacy import import_onnxruntime
from tdedge_runtimes.session import Array, TensorInfo, check_inputs

if TYPE_CHECKING:
    from typing import Self  # not yet in the Python 3.10 of some devices

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}
#: Those of files; execution itself has no choice.
_PRECISIONS = ("float32", "int8", "int8-weights")
_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3


class OnnxRuntimeSession:
    """A model loaded by ONNX Runtime; see ``Session``.

    Raises:
        RuntimeMissing: ONNX Runtime is not installed.
        RuntimeInputError: The file cannot be loaded, or execution in float16 or bfloat16 is asked for.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        precision: str = "float32",
        profile_prefix: str | None = None,
    ) -> None:
        if precision not in _PRECISIONS:
            raise RuntimeInputError(
                f"onnxruntime runs a file in its own precision, not in {precision!r}; convert the file"
            )
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if profile_prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile_prefix
        try:
            session: Any = runtime.InferenceSession(str(path), options, providers=[_PROVIDER])
        except Exception as error:  # the runtime's exceptions share no base class of their own
            raise RuntimeInputError(f"onnxruntime cannot load {path.name!r}: {first_line(error)}") from None
        self._session: Any = session
        self._threads = threads
        self._version = str(runtime.__version__)
        self.inputs = tuple(_info(argument) for argument in session.get_inputs())
        self.outputs = tuple(_info(argument) for argument in session.get_outputs())

    @staticmethod
    def load_runtime() -> None:
        """Import the runtime's package.

        Raises:
            RuntimeMissing: It is not installed.
        """
        import_onnxruntime()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises:
            RuntimeInputError: An input does not fit.
            RuntimeFailed: The runtime failed.
        """
        session = self._open()
        names = [info.name for info in self.outputs]
        checked = check_inputs(self.inputs, inputs)
        try:
            values = session.run(names, checked)
        except Exception as error:
            raise RuntimeFailed(f"onnxruntime failed: {first_line(error)}") from None
        return dict(zip(names, values, strict=True))

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], object]:
        """A call that runs once on these inputs; the outputs stay with the runtime."""
        session = self._open()
        binding = session.io_binding()
        for name, array in check_inputs(self.inputs, inputs).items():
            binding.bind_cpu_input(name, array)
        for info in self.outputs:
            binding.bind_output(info.name, "cpu")

        def call() -> None:
            session.run_with_iobinding(binding)

        return call

    def end_profiling(self) -> str:
        """Path of the profile of a session that was opened with ``profile_prefix``."""
        return str(self._open().end_profiling())

    def describe(self) -> dict[str, Any]:
        """Runtime, version, threads and the execution options in force."""
        return {
            "runtime": "onnxruntime",
            "version": self._version,
            "threads": self._threads,
            "execution": {
                "provider": ",".join(self._open().get_providers()),
                "precision": "as in the file",
                "mode": "sequential",
                "graph_optimization": "all",
                "force_spinning_stop": True,
            },
        }

    def close(self) -> None:
        """Release the model."""
        self._session = None

    def _open(self) -> Any:
        if self._session is None:
            raise RuntimeInputError("the session is closed; open the model again")
        return self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _info(argument: Any) -> TensorInfo:
    dtype = _DTYPES.get(argument.type)
    if dtype is None:
        raise RuntimeInputError(f"{argument.name!r} is a {argument.type}; expected a tensor of numbers")
    shape = tuple(extent if isinstance(extent, int) else None for extent in argument.shape)
    return TensorInfo(argument.name, shape, dtype)
