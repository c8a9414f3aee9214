"""What every lowering takes and gives, and the explicit list of targets.

A target is written ``runtime`` or ``runtime:precision``; float32 is the default and no other is ever chosen
for the user. An int8 target takes a QDQ graph (:mod:`tdedge_exporters.quantize`), every other one the float32
graph. Each runtime's file has two functions::

    lower(model, folder, precision, options) -> Lowered   write the files of one target
    probe(entry, inputs, names) -> dict                   values of named inner tensors, to explain
                                                          a failed parity check
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir

from tdedge.errors import MissingError, UsageError

#: runtime -> (module with ``lower`` and ``probe``, import name of the runtime, extra, precisions)
TARGETS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "onnxruntime": (
        "tdedge_exporters.onnxruntime",
        "onnxruntime",
        "all",
        ("float32", "int8", "int8-weights"),
    ),
    "openvino": (
        "tdedge_exporters.openvino",
        "openvino",
        "openvino",
        ("float32", "float16", "bfloat16", "int8", "int8-weights"),
    ),
    "tflite": (
        "tdedge_exporters.tflite",
        "ai_edge_litert",
        "tflite",
        ("float32", "float16", "int8", "int8-weights"),
    ),
}

#: What an export is lowered to unless told.
DEFAULT_TARGETS = tuple(TARGETS)

#: Axis orders a TensorFlow Lite file may take its inputs in.
INPUT_LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Target:
    """A runtime and a precision: of its weights, with int8 of its arithmetic, with bfloat16 of that alone."""

    runtime: str
    precision: str = "float32"

    def __str__(self) -> str:
        return self.runtime if self.precision == "float32" else f"{self.runtime}:{self.precision}"

    @property
    def calibrated(self) -> bool:
        """True where activations are whole numbers too, so that data must show their ranges."""
        return self.precision == "int8"

    @classmethod
    def parse(cls, text: str) -> Target:
        """A target from ``runtime`` or ``runtime:precision``.

        Raises:
            UsageError: for an unknown runtime or a precision it does not have.
        """
        runtime, _, precision = text.strip().partition(":")
        if runtime not in TARGETS:
            near = difflib.get_close_matches(runtime, TARGETS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"unknown target {text!r}; expected one of {', '.join(TARGETS)}{hint}")
        precisions = TARGETS[runtime][3]
        precision = precision or "float32"
        if precision not in precisions:
            raise UsageError(
                f"target {runtime!r} has no precision {precision!r}; it has {', '.join(precisions)}"
            )
        return cls(runtime, precision)


@dataclass(frozen=True)
class Options:
    """What may be asked of a lowering; one that has no use for a choice ignores it.

    Attributes:
        minimal: also write the form for reduced builds of ONNX Runtime.
        input_layout: axis order of the inputs of a TensorFlow Lite file: ``nchw`` as the network has them,
            or ``nhwc``, channels last, for inputs of three axes and more.
        integer_io: inputs and outputs of an int8 TensorFlow Lite file are int8, not float32 converted inside.
        network_sha256: identity of the network, for files that carry metadata.

    Raises:
        UsageError: for an unknown layout.
    """

    minimal: bool = False
    input_layout: str = "nchw"
    integer_io: bool = False
    network_sha256: str = ""

    def __post_init__(self) -> None:
        if self.input_layout not in INPUT_LAYOUTS:
            raise UsageError(
                f"unknown input layout {self.input_layout!r}; expected {' or '.join(INPUT_LAYOUTS)}"
            )


DEFAULTS = Options()


@dataclass(frozen=True)
class Lowered:
    """The files of one target, relative to the artifact's folder.

    Attributes:
        target: what was lowered to.
        entry: the file a session opens.
        files: every file of the target, the entry first.
        runtime_version: version of the runtime that wrote or will read them.
        input_layout: axis order the files take their inputs in, see :class:`Options`.
        notes: what a reader of the export should know about the files.
    """

    target: Target
    entry: Path
    files: tuple[Path, ...]
    runtime_version: str
    input_layout: str = "nchw"
    notes: tuple[str, ...] = ()


def parse_targets(text: str | Sequence[str]) -> list[Target]:
    """Targets from ``"onnxruntime,openvino:float16"`` or a sequence of them, each once, in order.

    Raises:
        UsageError: for an unknown target, or when none is named.
    """
    words = text.split(",") if isinstance(text, str) else list(text)
    targets = list(dict.fromkeys(Target.parse(word) for word in words if word.strip()))
    if not targets:
        raise UsageError(f"no target in {text!r}; expected one of {', '.join(TARGETS)}")
    return targets


def in_int8(targets: Sequence[Target]) -> list[Target]:
    """``targets`` with those that name no precision made int8, each once, in order."""
    made = (Target(t.runtime, "int8") if t.precision == "float32" else t for t in targets)
    return list(dict.fromkeys(made))


def require(target: Target) -> None:
    """Check that the target's runtime is installed, without importing it.

    Raises:
        MissingError: with the install line.
    """
    _, package, extra, _ = TARGETS[target.runtime]
    if importlib.util.find_spec(package) is None:
        raise MissingError.extra(package, extra)


def lower(model: ir.Model, folder: Path, target: Target, options: Options = DEFAULTS) -> Lowered:
    """Write ``model`` for ``target`` into ``folder``.

    Raises:
        UnsupportedError: when the target cannot express the model.
        MissingError: when the runtime is not installed.
    """
    require(target)
    lowered: Lowered = _room(target).lower(model, folder, target.precision, options)
    return lowered


def probe(
    target: Target, entry: Path, inputs: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Values of the named inner tensors that the target still has, computed by its runtime."""
    values: dict[str, np.ndarray] = _room(target).probe(entry, inputs, names)
    return values


def _room(target: Target) -> ModuleType:
    return importlib.import_module(TARGETS[target.runtime][0])
