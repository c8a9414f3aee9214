"""LiteRT (TensorFlow Lite) on the CPU, through its interpreter.

The package is ``ai-edge-litert``, or the older ``tflite-runtime`` where only that is installed. XNNPACK takes
the operators it has kernels for, in one or more partitions; the rest runs in the built-in kernels. What is
computed in which precision is a property of the file: float32 files, and files whose weights alone are
float16, are both computed in float32, int8 files on integers, and the interpreter has no switch that changes
it.

``ai-edge-litert`` verifies the structure of a file before it reads it. ``tflite-runtime`` does not: a damaged
file can end the process there, so files of unknown origin belong in the worker (``client.run_job``).
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, first_line
from tdedge_runtimes.figures import Figure, not_measurable
from tdedge_runtimes.memory import baseline_model
from tdedge_runtimes.privacy import import_tflite
from tdedge_runtimes.session import Array, TensorInfo, check_inputs

if TYPE_CHECKING:
    from typing import Self  # not yet in the Python 3.10 of some devices

_IDENTIFIER = b"TFL3"
_SMALLEST_BYTES = 16  # the root's offset, the identifier, and an empty table with its vtable
_MISSING_OP = re.compile(r"unresolved custom op: ([\w:/-]+)|Node number \d+ \((Flex\w+)\) failed to prepare")
_DELEGATE = "DELEGATE"
_UNREADABLE = "this version does not list its operators"
_ANNOUNCEMENT = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
_starting = threading.Lock()
_started: set[str] = set()


class TFLiteSession:
    """A .tflite file loaded by LiteRT; see ``Session``.

    Inputs and outputs have the names of the file's first signature, or those of its tensors where it has
    none. ``precision`` is that of the file, as in the module's description.

    Raises:
        RuntimeMissing: Neither package of the runtime is installed.
        RuntimeInputError: The file cannot be loaded, has an operator the runtime lacks, an input or output
            that is not a tensor of numbers, or an input whose shape is not fixed; or bfloat16 is asked for.
    """

    def __init__(self, path: Path, *, threads: int = 1, precision: str = "float32") -> None:
        if precision == "bfloat16":
            raise RuntimeInputError("tflite computes in no bfloat16; use float32, or an int8 file")
        runtime = start_interpreter()
        check_identifier(path)
        try:
            interpreter: Any = runtime.Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            names_in, names_out = _signature(interpreter)
            self._ports_in = _named(interpreter.get_input_details(), names_in)
            self._ports_out = _named(interpreter.get_output_details(), names_out)
        except Exception as error:  # the runtime raises ValueError, RuntimeError and others
            raise RuntimeInputError(f"tflite cannot load {path.name!r}: {_reason(error)}") from None
        self._interpreter: Any = interpreter
        self._threads = threads
        self._package = str(runtime.__name__).partition(".")[0]
        self._version = str(sys.modules[self._package].__version__)
        self.inputs = tuple(_info(name, detail) for name, detail in self._ports_in.items())
        self.outputs = tuple(_info(name, detail) for name, detail in self._ports_out.items())
        for info in self.inputs:
            if None in info.shape:
                extents = ", ".join("?" if extent is None else str(extent) for extent in info.shape)
                raise RuntimeInputError(f"{info.name!r} has the shape [{extents}]; fix the shape on export")
        self._holds: object = None

    @staticmethod
    def load_runtime() -> None:
        """Import the runtime's package, and let XNNPACK start.

        Raises:
            RuntimeMissing: It is not installed.
        """
        start_interpreter()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises:
            RuntimeInputError: An input does not fit.
            RuntimeFailed: The runtime failed.
        """
        interpreter = self._open()
        checked = check_inputs(self.inputs, inputs)
        self._holds = None
        try:
            self._set(interpreter, checked)
            interpreter.invoke()
            return {
                name: np.asarray(interpreter.get_tensor(port["index"]))
                for name, port in self._ports_out.items()
            }
        except Exception as error:
            raise RuntimeFailed(f"tflite failed: {_reason(error)}") from None

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], object]:
        """A call that runs once on these inputs; the outputs stay with the runtime.

        The one interpreter keeps its inputs from call to call. They are set again only after ``run`` or
        another bound call has put others in.
        """
        interpreter = self._open()
        checked = check_inputs(self.inputs, inputs)
        mine = object()

        def call() -> None:
            if self._holds is not mine:
                self._set(interpreter, checked)
                self._holds = mine
            interpreter.invoke()

        self._set(interpreter, checked)
        self._holds = mine
        return call

    def describe(self) -> dict[str, Any]:
        """Runtime, version, package, threads and the execution options in force."""
        partitions, builtin = delegation(self._open())
        return {
            "runtime": "tflite",
            "version": self._version,
            "package": self._package.replace("_", "-"),
            "threads": self._threads,
            "execution": {
                "provider": _provider(partitions),
                "precision": "as in the file; float16 weights are computed in float32",
                "delegate_partitions": partitions,
                "builtin_operators": builtin,
            },
        }

    def close(self) -> None:
        """Release the model."""
        self._interpreter = None

    def _set(self, interpreter: Any, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            interpreter.set_tensor(self._ports_in[name]["index"], array)

    def _open(self) -> Any:
        if self._interpreter is None:
            raise RuntimeInputError("the session is closed; open the model again")
        return self._interpreter

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_identifier(path: Path) -> None:
    """Refuse what is not a .tflite file, before native code reads it.

    Raises:
        RuntimeInputError: The file is too short, unreadable, or lacks the identifier "TFL3".
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_SMALLEST_BYTES)
    except OSError as error:
        raise RuntimeInputError(f"tflite cannot load {path.name!r}: {error.strerror}") from None
    if len(head) < _SMALLEST_BYTES or head[4:8] != _IDENTIFIER:
        raise RuntimeInputError(
            f"tflite cannot load {path.name!r}: it is not a .tflite file (bytes 4 to 8 are not 'TFL3')"
        )


def start_interpreter() -> Any:
    """The module with the class ``Interpreter``, with XNNPACK started.

    XNNPACK announces itself once per process on file descriptor 2, whatever the log level. A one-operation
    model takes that announcement here: the descriptor is turned aside for some milliseconds, once, while no
    foreign file is being read, and what anything else wrote meanwhile is passed on.

    Raises:
        RuntimeMissing: Neither package of the runtime is installed.
    """
    runtime = import_tflite()
    with _starting:
        if runtime.__name__ not in _started:
            with _without(_ANNOUNCEMENT):
                interpreter = runtime.Interpreter(model_content=baseline_model(".tflite"), num_threads=1)
                interpreter.allocate_tensors()
            _started.add(runtime.__name__)
    return runtime


@contextmanager
def _without(line: bytes) -> Iterator[None]:
    """Keep one line off file descriptor 2 meanwhile; all other text arrives there at the end."""
    try:
        kept = os.dup(2)
    except OSError:  # closed: there is nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            if others := aside.read().replace(line + b"\n", b""):
                os.write(2, others)


def delegation(interpreter: Any) -> tuple[int | Figure, int | Figure]:
    """Partitions that XNNPACK took, and operators left to the built-in kernels, after allocation.

    The interpreter goes on listing the operators that a partition replaced; those are found by walking back
    from what each partition gives to what it takes. Both are figures with a reason where the interpreter
    does not list its operators.
    """
    try:
        listed = interpreter._get_ops_details()  # there is no public call
        ops = [
            (str(op["op_name"]), set(map(int, op["inputs"])), set(map(int, op["outputs"]))) for op in listed
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return not_measurable("partitions", _UNREADABLE), not_measurable("operators", _UNREADABLE)
    own = [op for op in ops if op[0] != _DELEGATE]
    makers = {tensor: number for number, op in enumerate(own) for tensor in op[2]}
    taken: set[int] = set()
    for name, takes, gives in ops:
        waiting = list(gives) if name == _DELEGATE else []
        while waiting:
            tensor = waiting.pop()
            number = makers.get(tensor)
            if tensor not in takes and number is not None and number not in taken:
                taken.add(number)
                waiting.extend(own[number][1])
    return len(ops) - len(own), len(own) - len(taken)


def _provider(partitions: int | Figure) -> str:
    if isinstance(partitions, int):
        return "XNNPACK on the CPU" if partitions else "built-in kernels on the CPU"
    return "CPU; whether XNNPACK takes part is not known"


def _signature(interpreter: Any) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Tensor -> the names that the first signature gives it, inputs and outputs.

    Both are empty where the file has no signature, or where its first one does not show exactly the inputs
    of the main subgraph: then it belongs to another one.
    """
    listed: dict[str, Any] = getattr(interpreter, "_get_full_signature_list", dict)()
    if not listed:
        return {}, {}
    first = next(iter(listed.values()))
    names_in, names_out = _by_tensor(first["inputs"]), _by_tensor(first["outputs"])
    mine_in, mine_out = (
        {int(detail["index"]) for detail in details}
        for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    return (names_in, names_out) if names_in.keys() == mine_in and names_out.keys() <= mine_out else ({}, {})


def _by_tensor(names: Mapping[str, int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, tensor in names.items():
        found.setdefault(int(tensor), []).append(name)
    return found


def _named(details: list[dict[str, Any]], shown: Mapping[int, list[str]]) -> dict[str, dict[str, Any]]:
    """Name -> tensor in the file's order; where names repeat or are empty, the place is added."""
    named: dict[str, dict[str, Any]] = {}
    for place, detail in enumerate(details):
        if any(detail["index"] == other["index"] for other in named.values()):
            continue
        for name in shown.get(int(detail["index"]), [str(detail["name"])]):
            named[f"{name}:{place}" if not name or name in named else name] = detail
    return named


def _info(name: str, detail: Mapping[str, Any]) -> TensorInfo:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind not in "fiub":
        raise RuntimeInputError(f"{name!r} is a tensor of {dtype.name}; expected a tensor of numbers")
    signature = detail["shape_signature"]
    extents = signature if len(signature) else detail["shape"]
    return TensorInfo(name, tuple(None if extent < 0 else int(extent) for extent in extents), dtype.name)


def _reason(error: BaseException) -> str:
    """The telling line of the interpreter's text; an operator it lacks is named."""
    if found := _MISSING_OP.search(str(error)):
        name = found[1] or found[2]
        return f"the runtime has no operator {name!r}; write the file with built-in operators alone"
    return first_line(error)
