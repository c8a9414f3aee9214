"""tdedge: run tensor-decomposed CNNs as fast on real devices as the arithmetic promises.

Importing this package is instant: every name below is loaded when it is first used (PEP 562), so
neither torch nor a runtime is imported until something needs it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public name -> module that defines it.
_LAZY = {
    "Chain": "tdedge.chain",
    "Factor": "tdedge.factor",
    "compose": "tdedge.compose",
    "add_branches": "tdedge.branches",
    "CompressionPlan": "tdedge.plan",
    "compress": "tdedge.compress",
    "ChainLayer": "tdedge.modules",
    "TdedgeError": "tdedge.errors",
    "capture": "tdedge_exporters.capture",
    "export": "tdedge_exporters.export",
    "verify": "tdedge_exporters.verify",
    "bench": "tdedge_runtimes.client",
}

__all__ = ["__version__", *sorted(_LAZY)]

if TYPE_CHECKING:
    from tdedge.branches import add_branches as add_branches
    from tdedge.chain import Chain as Chain
    from tdedge.compose import compose as compose
    from tdedge.errors import TdedgeError as TdedgeError
    from tdedge.factor import Factor as Factor


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tdedge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)


class _Package(ModuleType):
    """This package; ``tdedge.compress`` stays the function when the module of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _LAZY or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
