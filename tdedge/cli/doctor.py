"""``tdedge doctor``: what is installed here, and what is missing with the line that installs it."""

from __future__ import annotations

from tdedge.cli import options as opt
from tdedge.cli.output import Output

#: What each part is for: distribution -> (purpose, extra that brings it; "" for the core).
PARTS = {
    "numpy": ("arrays", ""),
    "onnx": ("reading networks", ""),
    "onnx-ir": ("rewriting networks", ""),
    "onnxsim": ("simplifying networks", ""),
    "tensorly": ("decompositions", ""),
    "onnxruntime": ("target onnxruntime", ""),
    "openvino": ("target openvino", "openvino"),
    "ai-edge-litert": ("target tflite", "tflite"),
    "torch": ("sources module:factory and .pt2", "torch"),
}


def doctor(json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Show versions of everything tdedge uses, and the install line of what is missing."""
    output = Output(json=json, quiet=quiet)
    import platform
    from importlib import metadata

    from rich.table import Table

    rows = []
    for name, (purpose, extra) in PARTS.items():
        try:
            version: str | None = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        install = None if version else f"pip install 'tdedge[{extra}]'" if extra else "pip install tdedge"
        rows.append({"name": name, "purpose": purpose, "version": version, "install": install})
    table = Table(title=f"Python {platform.python_version()} on {platform.machine()}")
    for column in ("part", "for", "version"):
        table.add_column(column)
    for row in rows:
        table.add_row(row["name"], row["purpose"], row["version"] or f"missing: {row['install']}")
    output.table(table)
    output.document({"schema_version": 1, "python": platform.python_version(), "parts": rows})
