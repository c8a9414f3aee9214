"""Inputs to check a network on: seeded random ones, or the user's own from an ``.npz`` file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from tdedge.cost import shape_of
from tdedge.errors import UsageError

Array = NDArray[Any]

#: Random integers lie in [0, this), where nothing about the network says more.
_INTEGERS = 10


def numpy_type(value: ir.Value) -> np.dtype[Any]:
    """Element type of a network's input or output.

    Raises:
        UsageError: when it is not known.
    """
    if value.dtype is None:
        raise UsageError(f"{value.name!r} has no element type; the graph needs type inference")
    return value.dtype.numpy()


def random_inputs(model: ir.Model, seed: int = 0, n_sets: int = 1) -> list[dict[str, Array]]:
    """Seeded inputs: standard normal floats, bytes over their whole range, small non-negative integers.

    Integers that select rows of a table stay below its length.

    Raises:
        UsageError: when an input has no static shape.
    """
    rng = np.random.default_rng(seed)
    return [{value.name or "": _draw(value, rng) for value in model.graph.inputs} for _ in range(n_sets)]


def _draw(value: ir.Value, rng: np.random.Generator) -> Array:
    dtype, shape = numpy_type(value), shape_of(value)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, _bound(value, dtype), shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _bound(value: ir.Value, dtype: np.dtype[Any]) -> int:
    tables = []
    for node, index in value.uses():
        if node.op_type == "Gather" and index == 1 and node.inputs[0] is not None:
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
            tables.append(shape_of(node.inputs[0])[axis])
    if tables:
        return min(tables)
    return 256 if dtype == np.uint8 else _INTEGERS


def load_npz(path: Path, model: ir.Model) -> list[dict[str, Array]]:
    """One set of inputs from an ``.npz`` file with one array per input, named like it.

    Pickled arrays are refused.

    Raises:
        UsageError: when the file cannot be read, or a name, shape or element type does not fit.
    """
    wanted = {value.name or "": value for value in model.graph.inputs}
    feed = _stored(path, wanted)
    for name, array in feed.items():
        shape = shape_of(wanted[name])
        if array.shape != shape:
            raise UsageError(f"{path}: array {name!r} has shape {array.shape}; the network takes {shape}")
    return [feed]


def load_samples(path: Path, model: ir.Model) -> dict[str, Array]:
    """Many samples from an ``.npz`` file: one array per input, named like it, samples on the first axis.

    Raises:
        UsageError: as :func:`load_npz`; any number of samples fits, as many for every input.
    """
    wanted = {value.name or "": value for value in model.graph.inputs}
    feed = _stored(path, wanted)
    for name, array in feed.items():
        shape = shape_of(wanted[name]) or ()
        if array.ndim != len(shape) or array.shape[1:] != shape[1:] or not len(array):
            expected = ", ".join(map(str, ("samples", *shape[1:])))
            raise UsageError(f"{path}: array {name!r} has shape {array.shape}; expected ({expected})")
    counts = {name: len(array) for name, array in feed.items()}
    if len(set(counts.values())) > 1:
        raise UsageError(f"{path} holds {counts} samples; expected as many for every input")
    return feed


def _stored(path: Path, wanted: Mapping[str, ir.Value]) -> dict[str, Array]:
    """The arrays of an ``.npz`` file, by name, of the element types of the inputs, finite."""
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise UsageError(f"{path} holds a single array; expected .npz, as np.savez writes it")
        with stored:
            if set(stored.files) != set(wanted):
                raise UsageError(
                    f"{path} holds arrays {sorted(stored.files)}; the network takes {sorted(wanted)}"
                )
            feed = {name: np.asarray(stored[name]) for name in wanted}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is not a readable .npz file: {error}") from error
    for name, array in feed.items():
        dtype = numpy_type(wanted[name])
        if array.dtype != dtype:
            raise UsageError(
                f"{path}: array {name!r} is {array.dtype}; the network takes {dtype}, "
                f"write it with .astype('{dtype}')"
            )
        if np.issubdtype(dtype, np.floating) and not np.isfinite(array).all():
            raise UsageError(f"{path}: array {name!r} holds NaN or infinity; parity needs finite inputs")
    return feed
