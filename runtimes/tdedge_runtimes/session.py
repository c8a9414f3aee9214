"""One model file loaded by one runtime: the protocol every runtime implements, and how one is opened."""

from __future__ import annotations

import hashlib
import importlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from tdedge_runtimes.errors import RuntimeInputError

if TYPE_CHECKING:
    from typing import Self  # not yet in the Python 3.10 of some devices

Array = npt.NDArray[Any]

#: Runtime name -> "module:class"; the module is imported when the runtime is first used.
RUNTIMES: dict[str, str] = {
    "onnxruntime": "tdedge_runtimes.onnxruntime:OnnxRuntimeSession",
    "openvino": "tdedge_runtimes.openvino:OpenVinoSession",
    "tflite": "tdedge_runtimes.tflite:TFLiteSession",
}

#: File suffix -> the runtime that reads it by default.
SUFFIXES: dict[str, str] = {
    ".onnx": "onnxruntime",
    ".ort": "onnxruntime",
    ".xml": "openvino",
    ".tflite": "tflite",
}

#: Runtime name -> the distributions that provide it, the preferred one first.
PACKAGES: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "tflite": ("ai-edge-litert", "tflite-runtime"),
}

#: What a session may be asked to compute in. "int8" and "int8-weights" are properties of the file: such files
#: are run as they are.
PRECISIONS = ("float32", "float16", "bfloat16", "int8", "int8-weights")


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of one input or output.

    Attributes:
        name: Name in the model.
        shape: Extents; ``None`` for one that is only known at run time.
        dtype: Name of the NumPy dtype, as "float32".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """The three attributes as JSON values."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


class Session(Protocol):
    """A loaded model. Use it as a context manager, or call ``close()``."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs, in the model's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the model's order."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; the arrays returned belong to the caller.

        Raises:
            RuntimeInputError: An input is missing, unknown, or has another shape or dtype.
        """
        ...

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], object]:
        """A call that runs once on these inputs and leaves the outputs with the runtime: what is timed."""
        ...

    def describe(self) -> dict[str, Any]:
        """Runtime, version, threads and the execution options in force, as JSON values."""
        ...

    def close(self) -> None:
        """Release the model; the session cannot be used afterwards."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def runtime_of(path: str | Path) -> str:
    """The runtime that reads a model file, by its suffix.

    Raises:
        RuntimeInputError: No runtime reads such files.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise RuntimeInputError(f"no runtime reads {Path(path).name!r}; expected a file ending in {known}")
    return SUFFIXES[suffix]


def _session_class(runtime: str) -> Any:
    if runtime not in RUNTIMES:
        raise RuntimeInputError(f"unknown runtime {runtime!r}; expected one of {', '.join(RUNTIMES)}")
    module, _, name = RUNTIMES[runtime].partition(":")
    return getattr(importlib.import_module(module), name)


def load_runtime(runtime: str) -> None:
    """Import a runtime's own package now, so that the time to open a model does not contain it.

    Raises:
        RuntimeMissing: The runtime is not installed.
        RuntimeInputError: Unknown runtime.
    """
    _session_class(runtime).load_runtime()


def open_session(runtime: str, path: str | Path, *, threads: int = 1, precision: str = "float32") -> Session:
    """Load a model file in a runtime.

    Args:
        runtime: A name of ``RUNTIMES``.
        path: The model file.
        threads: Number of threads of one inference.
        precision: "float32"; "float16" or "bfloat16" where the runtime can execute a float32 file in it;
            "int8" or "int8-weights" for a file that is quantised.

    Raises:
        RuntimeMissing: The runtime is not installed.
        RuntimeInputError: Unknown runtime, unreadable file, or an option the runtime does not have.
    """
    opener: Callable[..., Session] = _session_class(runtime)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise RuntimeInputError(f"threads is {threads!r}; expected a whole number of at least 1")
    if precision not in PRECISIONS:
        raise RuntimeInputError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if not Path(path).is_file():
        raise RuntimeInputError(f"no model file at {str(path)!r}")
    return opener(Path(path), threads=threads, precision=precision)


def check_inputs(expected: tuple[TensorInfo, ...], given: Mapping[str, Array]) -> dict[str, Array]:
    """The given inputs as C-contiguous arrays, in the model's order.

    Raises:
        RuntimeInputError: An input is missing, unknown, or has another shape or dtype.
    """
    names = [info.name for info in expected]
    if unknown := sorted(set(given) - set(names)):
        raise RuntimeInputError(f"the model has no input {unknown[0]!r}; its inputs are {', '.join(names)}")
    checked = {}
    for info in expected:
        if info.name not in given:
            raise RuntimeInputError(f"input {info.name!r} is missing; expected {_shape_text(info)}")
        array = np.asarray(given[info.name])
        fits = array.ndim == len(info.shape) and all(
            want in (None, have) for want, have in zip(info.shape, array.shape, strict=True)
        )
        if not fits or array.dtype.name != info.dtype:
            raise RuntimeInputError(
                f"input {info.name!r} is {array.dtype.name} {list(array.shape)}; expected {_shape_text(info)}"
            )
        checked[info.name] = np.asarray(array, order="C")
    return checked


def _shape_text(info: TensorInfo) -> str:
    return f"{info.dtype} [{', '.join('?' if extent is None else str(extent) for extent in info.shape)}]"


def random_inputs(expected: tuple[TensorInfo, ...], *, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs for a model: standard normal floats, full-range bytes, and 0 or 1 for wider integers.

    Wider integers are usually indices, for which only small values are safe.

    Raises:
        RuntimeInputError: An input has an extent that is not fixed, or a dtype that is not a number.
    """
    generator = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for info in expected:
        if None in info.shape:
            raise RuntimeInputError(
                f"input {info.name!r} has the shape {_shape_text(info)}; give inputs or fix the shape"
            )
        shape = tuple(extent for extent in info.shape if extent is not None)
        dtype = np.dtype(info.dtype)
        if dtype.kind == "f":
            values[info.name] = np.asarray(generator.standard_normal(shape), dtype=dtype)
        elif dtype.kind in "iu" and dtype.itemsize == 1:
            limits = np.iinfo(dtype)
            values[info.name] = generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
        elif dtype.kind in "iub":
            values[info.name] = np.asarray(generator.integers(0, 2, shape), dtype=dtype)
        else:
            raise RuntimeInputError(f"input {info.name!r} has the dtype {info.dtype}; give inputs")
    return values


def load_inputs(path: str | Path) -> dict[str, Array]:
    """The arrays of an .npz file.

    Raises:
        RuntimeInputError: The file is missing, not an .npz, or holds Python objects.
    """
    try:
        with np.load(Path(path), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, TypeError, EOFError) as error:
        raise RuntimeInputError(f"cannot read inputs from {str(path)!r}: {type(error).__name__}") from None


def save_arrays(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as an .npz file, without Python objects.

    Unlike ``numpy.savez``, whose own parameters are keywords too, this takes arrays of any name, and does the
    same before and after NumPy 2.

    Raises:
        OSError: The file cannot be written.
        ValueError: An array holds Python objects.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def describe_file(path: str | Path) -> dict[str, Any]:
    """Name (without its folder), bytes and SHA-256 of a model file; a .bin beside an .xml is counted."""
    path = Path(path)
    parts = [path]
    weights = path.with_suffix(".bin")
    if path.suffix.lower() == ".xml" and weights.is_file():
        parts.append(weights)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes())
    return {
        "file": path.name,
        "file_bytes": sum(part.stat().st_size for part in parts),
        "sha256": digest.hexdigest(),
    }
