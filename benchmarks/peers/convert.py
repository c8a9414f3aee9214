"""Run one converter on one network, and find out whether the file it leaves can be used.

A conversion *runs* only when the file loads, allocates and runs in LiteRT and gives the outputs of the
original network. Else the reason is kept, in the converter's or the runtime's own words.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.peer import Converter
from tdedge_runtimes.client import run_job
from tdedge_runtimes.errors import RuntimesError

#: Largest error of a file's outputs, relative to the largest output of the original.
TOLERANCE = 1e-4

_RAISED = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 240


@dataclass(frozen=True)
class Conversion:
    """What a converter made of a network.

    Attributes:
        converter: its name.
        seconds: wall time of its process, start-up and imports included.
        file: the file, where it runs; None else.
        error: largest error of its outputs relative to their scale, where they could be computed.
        reason: why it does not run; empty where it does.
    """

    converter: str
    seconds: float
    file: Path | None = None
    error: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """One input of the original network and its output; shapes (N, C, ...) and (N, ...)."""

    input: np.ndarray
    output: np.ndarray


def convert(
    converter: Converter, source: Path, output: Path, sample: Sample, *, timeout_s: float = 600.0
) -> Conversion:
    """Convert ``source`` to ``output`` and run the result once."""
    begin = time.perf_counter()
    reason = start(converter, source, output, timeout_s=timeout_s)
    seconds = time.perf_counter() - begin
    if reason:
        return Conversion(converter.name, seconds, reason=reason)
    try:
        error = disagreement(output, sample)
    except RuntimesError as failed:
        return Conversion(converter.name, seconds, reason=failed.message)
    if not error <= TOLERANCE:
        reason = f"its output differs by {error:.1e} of the scale; at most {TOLERANCE:.0e} passes"
        return Conversion(converter.name, seconds, error=error, reason=reason)
    return Conversion(converter.name, seconds, output, error)


def start(converter: Converter, source: Path, output: Path, *more: Path, timeout_s: float = 600.0) -> str:
    """Run the converter's process on absolute paths; the reason it failed, or nothing."""
    paths = [str(path.resolve()) for path in (source, output, *more)]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(
                [*converter.command, *paths],
                cwd=scratch,
                env={**os.environ, **converter.variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"it took longer than {timeout_s:g} s and was stopped"
    if done.returncode:
        return failure(done.returncode, done.stdout, done.stderr)
    return "" if output.is_file() else "it ended without an error and without a file"


def failure(code: int, stdout: str, stderr: str) -> str:
    """One line that says why a process failed: its exception, else its last line, else its exit code."""
    if code < 0:
        return f"it was ended by {_signal_name(-code)}"
    errors, output = (_COLOUR.sub("", text).splitlines() for text in (stderr, stdout))
    raised = [place for place, line in enumerate(errors) if _RAISED.match(line)]
    if raised:
        telling = []
        for line in errors[raised[-1] :]:
            if line.startswith((" ", "\t")) or line.rstrip() == "Details:":
                break
            telling.append(line.strip())
        return _shortened(" ".join(telling))
    printed = [line for line in output if "ERROR" in line] or [*output, *errors]
    lines = [line.strip() for line in printed if line.strip()]
    return _shortened(lines[-1]) if lines else f"it ended with code {code} and said nothing"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def disagreement(file: Path, sample: Sample) -> float:
    """Largest error of the file's output on the sample, relative to the largest output of the original.

    Raises:
        RuntimesError: the file cannot be loaded or run, or its ports have other shapes than the network's.
    """
    model = {"path": str(file), "runtime": "tflite"}
    described = run_job({"kind": "memory", "model": model, "runs": 1})["model"]
    port, shown = _only_port(described["inputs"]), _only_port(described["outputs"])
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        with inputs.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{port["name"]: laid_out(sample.input, port["shape"])})
        run_job({"kind": "run", "model": model, "inputs": str(inputs), "outputs": str(outputs)})
        with np.load(outputs, allow_pickle=False) as archive:
            output = archive[shown["name"]]
    expected = laid_out(sample.output, output.shape).astype(np.float64)
    return float(np.abs(output - expected).max() / np.abs(expected).max())


def _only_port(ports: list[dict[str, Any]]) -> Mapping[str, Any]:
    if len(ports) != 1:
        raise RuntimesError(f"it has {len(ports)} inputs or outputs where the network has one")
    return ports[0]


def laid_out(values: np.ndarray, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    """Values of shape (N, C, ...) as they are, or channels-last, whichever has the wanted shape.

    Raises:
        RuntimesError: neither has.
    """
    last = np.moveaxis(values, 1, -1) if values.ndim > 1 else values
    for candidate in (values, last):
        if candidate.shape == tuple(shape):
            return np.ascontiguousarray(candidate)
    raise RuntimesError(f"it has a port of shape {list(shape)} where the network has {list(values.shape)}")
