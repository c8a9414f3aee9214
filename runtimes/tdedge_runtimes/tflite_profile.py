"""Time of every operator of a .tflite file, also of those inside an XNNPACK partition.

The Python interpreter shows no profile; the C interface of the same library does. That interface has no
version and its structures may change with any release, so only wheels it was tested with are used. A wrong
call there ends the process: ``tdedge_runtimes.client.profile_model`` does the same in a process of its own.
The library writes a few lines of its log on standard error.

Each run is profiled by itself. XNNPACK and the built-in kernels time their operators in whole microseconds;
an operator that takes less than one shows 0.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, RuntimeMissing
from tdedge_runtimes.operator_times import WARM_UP_RUNS, OpTime, check_counts, summarise
from tdedge_runtimes.privacy import import_tflite
from tdedge_runtimes.session import Array, check_inputs, random_inputs
from tdedge_runtimes.tflite import TFLiteSession

#: Versions of ai-edge-litert whose C interface is as described here.
TESTED_VERSIONS = ("2.3.0",)

_CPU = 1
_WRITE = 1
_TYPE_BYTES = 512  # more than LiteRtRankedTensorType has; it is only handed from call to call
_BUILTIN, _DELEGATED = {2}, {4, 8}


class _Event(ctypes.Structure):
    """``ProfiledEventData`` of litert/c/litert_profiler_event.h."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("event_type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", ctypes.c_uint64 * 3),
        ("memory_after", ctypes.c_uint64 * 3),
        ("node", ctypes.c_uint64),
        ("metadata", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


def profile(
    path: str | Path, *, threads: int = 1, runs: int = 20, inputs: Mapping[str, Array] | None = None
) -> list[OpTime]:
    """Profile a .tflite file in this process.

    Args:
        path: The file.
        threads: Threads of XNNPACK; operators outside it take one.
        runs: Profiled runs, after three that are not.
        inputs: Name -> array; by default seeded ones, as ``random_inputs`` gives.

    Returns:
        The operators in the order of execution.

    Raises:
        RuntimeMissing: No ai-edge-litert of a tested version is installed.
        RuntimeInputError: The file cannot be loaded, or an input does not fit.
        RuntimeFailed: The library failed.
    """
    check_counts(threads, runs)
    library = _Library()
    with TFLiteSession(Path(path)) as session:  # its checks come before the library sees the file
        given = random_inputs(session.inputs) if inputs is None else inputs
        arrays = check_inputs(session.inputs, given)
    with ExitStack() as stack:
        run, profiler = _prepare(stack, library, Path(path), threads, arrays)
        for _ in range(WARM_UP_RUNS):
            run()
        return summarise([_profiled(library, profiler, run) for _ in range(runs)])


class _Library:
    """The calls of libLiteRt.so; each checks the status it returns."""

    def __init__(self) -> None:
        package = sys.modules[import_tflite().__name__.partition(".")[0]]
        name, version = package.__name__.replace("_", "-"), str(package.__version__)
        if name != "ai-edge-litert" or version not in TESTED_VERSIONS:
            raise _untested(f"{name} {version} is installed")
        try:
            self._library = ctypes.CDLL(str(Path(str(package.__file__)).parent / "libLiteRt.so"))
        except OSError:
            raise _untested("its libLiteRt.so cannot be loaded") from None
        self._libc = ctypes.CDLL(None)
        self._libc.strdup.restype = ctypes.c_void_p
        self.release = ctypes.cast(self._libc.free, ctypes.c_void_p)

    def find(self, name: str) -> Any:
        try:
            return getattr(self._library, f"LiteRt{name}")
        except AttributeError:
            raise _untested(f"its library has no LiteRt{name}") from None

    def call(self, name: str, *arguments: Any) -> None:
        status = self.find(name)(*arguments)
        if status != 0:
            raise RuntimeFailed(f"tflite cannot be profiled: LiteRt{name} returned status {status}")

    def make(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """The handle that a call writes through its last parameter."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    @contextmanager
    def owned(self, kind: str, name: str, *arguments: Any) -> Iterator[ctypes.c_void_p]:
        handle = self.make(name, *arguments)
        try:
            yield handle
        finally:
            destroy = self.find(f"Destroy{kind}")
            destroy.restype = None
            destroy(handle)

    def count(self, name: str, handle: ctypes.c_void_p) -> int:
        number = ctypes.c_size_t()
        self.call(name, handle, ctypes.byref(number))
        return number.value

    def add_option(self, options: ctypes.c_void_p, identifier: bytes, text: str) -> None:
        payload = ctypes.c_void_p(self._libc.strdup(text.encode()))
        self.call(
            "AddOpaqueOptions", options, self.make("CreateOpaqueOptions", identifier, payload, self.release)
        )


def _untested(found: str) -> RuntimeMissing:
    tested = " or ".join(TESTED_VERSIONS)
    install = f"pip install 'ai-edge-litert=={TESTED_VERSIONS[-1]}'"
    return RuntimeMissing(
        f"profiling needs ai-edge-litert {tested}, but {found}; install it with: {install}",
        package="ai_edge_litert",
        install=install,
    )


def _prepare(
    stack: ExitStack, library: _Library, path: Path, threads: int, arrays: Mapping[str, Array]
) -> tuple[Callable[[], None], ctypes.c_void_p]:
    """A call that runs the file once on these inputs, and its profiler; the stack owns both."""

    def own(kind: str, name: str, *arguments: Any) -> ctypes.c_void_p:
        return stack.enter_context(library.owned(kind, name, *arguments))

    environment = own("Environment", "CreateEnvironment", 0, None)
    model = own("Model", "CreateModelFromFile", environment, str(path).encode())
    options = own("Options", "CreateOptions")
    library.call("SetOptionsHardwareAccelerators", options, _CPU)
    library.add_option(options, b"runtime_options_string", "enable_profiling = true\n")
    library.add_option(options, b"xnnpack", f"num_threads = {threads}\n")
    compiled = own("CompiledModel", "CreateCompiledModel", environment, model, options)
    profiler = library.make("CompiledModelGetProfiler", compiled)
    if not profiler:
        raise RuntimeFailed("tflite cannot be profiled: the library gave no profiler")
    signature, first = library.make("GetModelSignature", model, ctypes.c_size_t(0)), ctypes.c_size_t(0)
    buffers = {}
    for side in ("Input", "Output"):
        number = library.count(f"GetNumSignature{side}s", signature)
        buffers[side] = (ctypes.c_void_p * number)()
        for place in range(number):
            at = ctypes.c_size_t(place)
            tensor = library.make(f"GetSignature{side}TensorByIndex", signature, at)
            described = ctypes.create_string_buffer(_TYPE_BYTES)
            library.call("GetRankedTensorType", tensor, described)
            needs = library.make(f"GetCompiledModel{side}BufferRequirements", compiled, first, at)
            create = "CreateManagedTensorBufferFromRequirements"
            buffer = own("TensorBuffer", create, environment, described, needs)
            buffers[side][place] = buffer.value
            if side == "Input":
                name = ctypes.c_char_p()
                library.call("GetSignatureInputName", signature, at, ctypes.byref(name))
                _fill(library, buffer, (name.value or b"").decode(errors="replace"), arrays)

    def run() -> None:
        sides = [(ctypes.c_size_t(len(buffers[side])), buffers[side]) for side in ("Input", "Output")]
        library.call("RunCompiledModel", compiled, first, *sides[0], *sides[1])

    return run, profiler


def _fill(library: _Library, buffer: ctypes.c_void_p, name: str, arrays: Mapping[str, Array]) -> None:
    if name not in arrays:
        raise RuntimeInputError(f"the first signature has an input {name!r} that the file's main graph lacks")
    size = library.count("GetTensorBufferPackedSize", buffer)
    if size != arrays[name].nbytes:
        raise RuntimeFailed(f"tflite cannot be profiled: input {name!r} has {size} bytes there")
    place = ctypes.c_void_p()
    library.call("LockTensorBuffer", buffer, ctypes.byref(place), _WRITE)
    ctypes.memmove(place, arrays[name].ctypes.data, size)
    library.call("UnlockTensorBuffer", buffer)


def _profiled(
    library: _Library, profiler: ctypes.c_void_p, run: Callable[[], None]
) -> list[tuple[str, bool, int, int]]:
    """One run: (name, delegated, node, microseconds) of each operator, in the order of execution."""
    library.call("ResetProfiler", profiler)
    library.call("StartProfiler", profiler)
    run()
    library.call("StopProfiler", profiler)
    number = ctypes.c_int()
    library.call("GetNumProfilerEvents", profiler, ctypes.byref(number))
    events = (_Event * number.value)()
    library.call("GetProfilerEvents", profiler, number, events)
    return [
        (event.tag.decode(errors="replace"), event.event_type in _DELEGATED, event.node, event.elapsed_us)
        for event in events
        if event.event_type in _BUILTIN | _DELEGATED
    ]
