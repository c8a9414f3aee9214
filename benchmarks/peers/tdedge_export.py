"""This project: ``python tdedge_export.py SOURCE.onnx OUTPUT.tflite``; the export verifies what it wrote."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tdedge.artifact import read_manifest
from tdedge_exporters.export import export


def convert(source: str, output: str) -> None:
    """Export an ONNX file and keep the model file of the artifact."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "artifact"
        export(Path(source), folder, to="tflite", input_sets=1)
        (target,) = read_manifest(folder).targets
        shutil.copyfile(folder / target.entry, output)


if __name__ == "__main__":
    convert(*sys.argv[1:])
