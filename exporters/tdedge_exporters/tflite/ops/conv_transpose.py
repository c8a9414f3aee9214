"""Transposed convolutions."""

from __future__ import annotations

from tdedge_exporters.tflite.ops.rule import Rules

RULES: Rules = {}
