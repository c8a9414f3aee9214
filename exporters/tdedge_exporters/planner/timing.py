"""The file that is timed for a form, or for a whole network, on one target."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from tdedge_exporters import lowering
from tdedge_exporters.lowering import Lowered, Target
from tdedge_exporters.quantize.assemble import with_any_grids


def lower_to_time(model: ir.Model, folder: Path, target: Target) -> Lowered:
    """Lower a float32 graph; for an integer target with grids that fit nothing: its time is the same.

    Raises:
        UnsupportedError: the target cannot express the graph.
        MissingError: its runtime is not installed.
    """
    return lowering.lower(with_any_grids(model) if target.calibrated else model, folder, target)
