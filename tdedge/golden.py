"""An artifact's golden data: inputs of the network and the outputs that every target must give for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tdedge.agreement import Array
from tdedge.artifact import IntegerPort, Manifest, TargetEntry


def read_golden(folder: Path, manifest: Manifest) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and outputs by name; the inputs as the network itself takes them."""
    with np.load(folder / manifest.golden.path, allow_pickle=False) as arrays:
        golden = {name: arrays[name] for name in arrays.files}
    inputs = {k.removeprefix("input."): v for k, v in golden.items() if k.startswith("input.")}
    outputs = {k.removeprefix("output."): v for k, v in golden.items() if k.startswith("output.")}
    return inputs, outputs


def to_layout(feed: Mapping[str, Array], layout: str) -> dict[str, Array]:
    """A network's inputs as a file of this input layout takes them: ``nhwc`` moves axis 1 to the end."""
    if layout != "nhwc":
        return dict(feed)
    return {k: np.moveaxis(v, 1, -1).copy() if v.ndim >= 3 else v for k, v in feed.items()}


def for_target(feed: Mapping[str, Array], entry: TargetEntry) -> dict[str, Array]:
    """A network's inputs as this target's files take them: their layout, and integers where they are."""
    return to_integers(to_layout(feed, entry.input_layout), entry.integers)


def to_integers(feed: Mapping[str, Array], ports: Mapping[str, IntegerPort]) -> dict[str, Array]:
    """Inputs that a file has as integers, rounded to them; the others as they are."""
    made = dict(feed)
    for name, port in ports.items():
        if name in feed:
            limits = np.iinfo(port.dtype)
            whole = np.rint(np.asarray(feed[name], np.float64) / port.scale) + port.zero_point
            made[name] = np.clip(whole, limits.min, limits.max).astype(port.dtype)
    return made


def to_reals(outputs: Mapping[str, Array], ports: Mapping[str, IntegerPort]) -> dict[str, Array]:
    """What outputs stand for that a file has as integers; the others as they are."""
    made = dict(outputs)
    for name, port in ports.items():
        if name in outputs:
            real = (outputs[name].astype(np.float64) - port.zero_point) * port.scale
            made[name] = real.astype(np.float32)
    return made
