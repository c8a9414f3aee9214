"""Every operator that can be lowered: the explicit list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from tdedge_exporters.tflite.builder import Builder
from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops import activations, conv, elementwise, linear, reduce, views


@dataclass(frozen=True)
class Rule:
    """How an operator is lowered and how its tensors may be stored."""

    lower: Callable[[Builder, ir.Node], None]
    policy: Policy | Callable[[ir.Node], Policy] = Policy.ANY


#: ONNX operator -> rule.
OPS: dict[str, Rule] = {
    "Add": Rule(elementwise.lower),
    "Conv": Rule(conv.lower, conv.policy),
    "Dropout": Rule(views.lower_identity),
    "Flatten": Rule(views.lower, Policy.VIEW),
    "Gemm": Rule(linear.lower_gemm, linear.policy),
    "GlobalAveragePool": Rule(reduce.lower_global_average, Policy.LAST),
    "Identity": Rule(views.lower_identity),
    "Relu": Rule(activations.lower_relu),
    "Reshape": Rule(views.lower, Policy.VIEW),
    "Squeeze": Rule(views.lower, Policy.VIEW),
    "Unsqueeze": Rule(views.lower, Policy.VIEW),
    "Transpose": Rule(views.lower_transpose, Policy.TRANSPOSE),
}


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of a node, None where there is none."""
    return OPS.get(node.op_type) if node.domain in ("", "ai.onnx") else None


def policy_of(node: ir.Node) -> Policy:
    """How the tensors of a node may be stored."""
    rule = rule_of(node)
    if rule is None:
        return Policy.FIRST
    return rule.policy if isinstance(rule.policy, Policy) else rule.policy(node)
