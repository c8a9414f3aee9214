"""What a family of operators says of each: how it is lowered and how its tensors may be stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy


@dataclass(frozen=True)
class Rule:
    """How an operator is lowered and how its tensors may be stored."""

    lower: Callable[[Builder, ir.Node], None]
    policy: Policy | Callable[[ir.Node], Policy] = Policy.ANY


Rules = Mapping[str, Rule]
