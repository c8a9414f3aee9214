"""Imports of the runtimes with their usage reporting switched off.

Two of the runtimes report usage by default, and both do it when they are *imported*: ONNX Runtime (1.29 and
later, official Linux builds) writes a device id and queues events to its vendor; OpenVINO's Python package
sends an "import" event. Nothing here may touch the network, so each is imported through this module:

* ONNX Runtime reads ``ORT_DISABLE_TELEMETRY`` once, while it is loaded; with it set nothing is written or
  sent.
* OpenVINO falls back to an empty stand-in of its own when ``openvino_telemetry`` cannot be imported; that
  import is made to fail while OpenVINO is loaded.
* LiteRT reports nothing: the metrics class of its wheels (``metrics_portable``) is empty, and none of its
  libraries has a function of the network among those it needs (``ai-edge-litert`` 2.3, ``tflite-runtime``
  2.14). Its package imports ``ai_edge_litert_sdk_intel`` where that is installed, which copies libraries
  into OpenVINO's folder; that import is made to fail, since only a neural processor needs it.

A runtime that the process imported before by itself is left as it is.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

from tdedge_runtimes.errors import RuntimeMissing, first_line

INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install 'tdedge[openvino]'",
    "ai_edge_litert": "pip install 'tdedge[tflite]'",
    "tflite_runtime": "pip install 'tflite-runtime==2.14.0' 'numpy<2'",
}


def silence() -> None:
    """Set the environment variables that switch usage reporting off, for this process and its children."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _import(module: str) -> Any:
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
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
    return _import_without("openvino", "openvino_telemetry")


def import_tflite() -> Any:
    """The module of LiteRT's interpreter, of ``tflite_runtime`` where ``ai_edge_litert`` is not installed.

    Raises:
        RuntimeMissing: Neither is installed, or the libraries of the one that is cannot be loaded.
    """
    if _is_installed("ai_edge_litert") or not _is_installed("tflite_runtime"):
        _import_without("ai_edge_litert", "ai_edge_litert_sdk_intel")
        return _import("ai_edge_litert.interpreter")
    return _import("tflite_runtime.interpreter")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: a module that was made unimportable
        return False


def _import_without(package: str, unwanted: str) -> Any:
    """Import ``package`` while it cannot import ``unwanted``."""
    if package in sys.modules or unwanted in sys.modules:
        return _import(package)
    sys.modules[unwanted] = None  # type: ignore[assignment]  # documented way to make an import fail
    try:
        return _import(package)
    finally:
        del sys.modules[unwanted]
