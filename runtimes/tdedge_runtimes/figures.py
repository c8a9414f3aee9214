"""How one figure is written down: a value with its unit and kind, or no value and the reason."""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]

SCHEMA_VERSION = 1


def measured(value: float | int, unit: str) -> Figure:
    """A figure that was measured here."""
    return {"value": value, "unit": unit, "kind": "measured"}


def not_measurable(unit: str, reason: str) -> Figure:
    """A figure that cannot be measured here, with the reason; never zero."""
    return {"value": None, "unit": unit, "reason": reason}
