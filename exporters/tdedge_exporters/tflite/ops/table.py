"""Every operator that can be lowered: the families, each with its own explicit list."""

from __future__ import annotations

import onnx_ir as ir

from tdedge_exporters.tflite.layout import Policy
from tdedge_exporters.tflite.ops import (
    activations,
    conv,
    conv_transpose,
    depth,
    elementwise,
    joining,
    linear,
    norm,
    picking,
    pool,
    reduce,
    resize,
    views,
)
from tdedge_exporters.tflite.ops.rule import Rule, Rules

#: ONNX operator -> rule.
OPS: dict[str, Rule] = {
    **activations.RULES,
    **conv.RULES,
    **conv_transpose.RULES,
    **depth.RULES,
    **elementwise.RULES,
    **joining.RULES,
    **linear.RULES,
    **norm.RULES,
    **picking.RULES,
    **pool.RULES,
    **reduce.RULES,
    **resize.RULES,
    **views.RULES,
}


def rule_of(node: ir.Node, rules: Rules = OPS) -> Rule | None:
    """The rule of a node, None where there is none."""
    return rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None


def policy_of(node: ir.Node, rules: Rules = OPS) -> Policy:
    """How the tensors of a node may be stored."""
    rule = rule_of(node, rules)
    if rule is None:
        return Policy.FIRST
    return rule.policy if isinstance(rule.policy, Policy) else rule.policy(node)
