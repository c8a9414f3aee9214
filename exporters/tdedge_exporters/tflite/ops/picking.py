"""Operators that pick or repeat elements: gather, expand, cast."""

from __future__ import annotations

from tdedge_exporters.tflite.ops.rule import Rules

RULES: Rules = {}
