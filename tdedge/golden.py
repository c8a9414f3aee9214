"""An artifact's golden data: inputs of the network and the outputs that every target must give for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tdedge.agreement import Array
from tdedge.artifact import Manifest


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
