"""Imports of the runtimes with their usage reporting switched off.

Both runtimes report usage by default, and both do it when they are *imported*: ONNX Runtime (1.29 and
later, official Linux builds) writes a device id and queues events to its vendor; OpenVINO's Python package
sends an "import" event. Nothing here may touch the network, so each is imported through this module:

* ONNX Runtime reads ``ORT_DISABLE_TELEMETRY`` once, while it is loaded; with it set nothing is written or
  sent.
* OpenVINO falls back to an empty stand-in of its own when ``openvino_telemetry`` cannot be imported; that
  import is made to fail while OpenVINO is loaded.

A runtime that the process imported before by itself is left as it is.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from tdedge_runtimes.errors import RuntimeMissing, first_line

INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install 'tdedge[openvino]'",
}


def silence() -> None:
    """Set the environment variables that switch usage reporting off, for this process and its children."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        detail = "" if error.name in (package, None) else first_line(error)
        raise RuntimeMissing.for_package(package, INSTALL[package], detail) from None
    except (ImportError, OSError) as error:
        raise RuntimeMissing.for_package(package, INSTALL[package], first_line(error)) from None


def import_onnxruntime() -> Any:
    """The module ``onnxruntime``, imported with its telemetry off.

    Raises:
        RuntimeMissing: It is not installed, or its libraries cannot be loaded.
    """
    silence()
    return _import("onnxruntime")


def import_openvino() -> Any:
    """The module ``openvino``, imported with its telemetry replaced by its own empty stand-in.

    Raises:
        RuntimeMissing: It is not installed, or its libraries cannot be loaded.
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:
        return _import("openvino")
    sys.modules[name] = None  # type: ignore[assignment]  # documented way to make an import fail
    try:
        return _import("openvino")
    finally:
        del sys.modules[name]
