"""Space to depth and back."""

from __future__ import annotations

from tdedge_exporters.tflite.ops.rule import Rules

RULES: Rules = {}
