"""The JSON Schema of a result file, which ``docs/result.schema.json`` publishes.

Models, latencies, memory and profiles are those of the measuring process
(``tdedge_runtimes/result.schema.json``); here is what a file has around them.
"""

from __future__ import annotations

from typing import Any

from tdedge_runtimes.client import result_schema

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "number"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_MAYBE: dict[str, Any] = {"type": ["number", "null"]}


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:tdedge:bench:1",
        "title": "tdedge result file",
        "description": "What tdedge bench --output writes. Latencies are in milliseconds, memory in bytes, "
        "energy in joules, temperatures in degrees Celsius.",
        **_object(
            {
                "schema_version": {"const": 1},
                "tdedge_version": _TEXT,
                "created": {**_TEXT, "format": "date-time"},
                "comparisons": _list(_ref("comparison"), "measured on the host itself, a run per target"),
                "profiles": _map(_ref("profile"), "times of single operators of those runs"),
                "devices": _map(_ref("device"), "results by the name of the device"),
                "network": {**_TEXT, "description": "of tdedge demo"},
                "cost": {"type": "object", "description": "of tdedge demo: totals per stage"},
                "compression_error": {"type": ["object", "null"], "description": "of tdedge demo"},
            },
            {"schema_version", "comparisons"},
        ),
        "$defs": {**result_schema()["$defs"], **_definitions()},
    }


def _definitions() -> dict[str, Any]:
    return {
        "comparison": _object(
            {
                "target": _TEXT,
                "costs": _map({"type": "object"}, "totals of a network, by label"),
                "parities": _map(_NUMBER, "largest error of the network's own parity check"),
                "rows": _list({"type": "object"}, "derived: the table"),
                "result": _ref("bench_result"),
            },
            {"target", "costs", "parities", "result"},
        ),
        "device": _object(
            {
                "url": {**_TEXT, "description": "without secrets"},
                "settings": _map(_TEXT, "secrets are hidden"),
                "figure_kind": _ref("figure_kind"),
                "environment": _nullable(_ref("environment")),
                "started": {**_TEXT, "format": "date-time"},
                "finished": {**_TEXT, "format": "date-time"},
                "targets": _map(_ref("device_target"), "a run per target"),
                "errors": _list(_ref("failure"), "what was not measured, or does not count"),
                "notes": _list(_TEXT, "connections that were lost, clocks that jumped, resumed logs"),
            },
            {"url", "figure_kind", "environment", "targets", "errors", "notes"},
        ),
        "failure": _object(
            {"piece": _TEXT, "message": _TEXT, "exit_code": {"type": "integer"}},
            {"piece", "message", "exit_code"},
        ),
        "device_target": _object(
            {
                "valid": {**_FLAG, "description": "whether at least one round counts"},
                "reasons": _list(_TEXT, "why none does"),
                "result": _nullable(_ref("bench_result")),
                "rounds": _list(_ref("round"), "each a process of its own"),
                "costs": _map({"type": "object"}, "totals of a network, by label"),
                "parity": _map(_ref("parity"), "golden inputs run on the device"),
                "profiles": _map({"anyOf": [_ref("profile"), _ref("reason")]}, "times of single operators"),
                "energy": _map(_ref("energy"), "per inference"),
                "sustained": _map(_ref("sustained"), "latency over time without a pause"),
            },
            {"valid", "reasons", "result", "rounds", "costs", "parity", "profiles", "energy", "sustained"},
        ),
        "reason": _object({"reason": _TEXT}, {"reason"}),
        "round": _object(
            {
                "valid": _FLAG,
                "reasons": _list(_TEXT, "why it does not count"),
                "gate": _ref("gate"),
                "before": _ref("conditions"),
                "after": _ref("conditions"),
                "samples_ms": _map({"type": "array"}, "of a round that does not count; else in the result"),
            },
            {"valid", "reasons"},
        ),
        "gate": _object(
            {
                "state": {"enum": ["cool", "resting", "hot", "unknown"]},
                "waited_s": _NUMBER,
                "limit_celsius": _NUMBER,
                "conditions": _ref("conditions"),
            },
            {"state", "waited_s", "limit_celsius", "conditions"},
        ),
        "conditions": _object(
            {
                "celsius": _MAYBE,
                "zones_celsius": _map(_NUMBER),
                "governors": _list(_TEXT),
                "frequency_mhz": _list(_NUMBER),
                "ceiling_mhz": _list(_NUMBER),
                "bits": {"type": ["integer", "null"]},
                "states": _map({"type": "integer"}),
                "counters": _map({"type": "integer"}),
            },
            {"celsius", "zones_celsius", "governors", "frequency_mhz", "ceiling_mhz", "bits"},
        ),
        "parity": _object(
            {
                "passed": {"type": ["boolean", "null"]},
                "max_rel": _MAYBE,
                "tolerance": _NUMBER,
                "precision": _TEXT,
                "reason": _TEXT,
                "outputs": _list({"type": "object"}),
            },
            {"passed", "max_rel", "reason"},
        ),
        "energy": {
            **_object(
                {
                    **{name: _ref("figure") for name in _ENERGY},
                    "spread": {"type": "object"},
                    "sensor": _TEXT,
                    "scope": _TEXT,
                    "rails": _list(_TEXT, "those that add up to the energy"),
                    "rails_j_per_inference": _map(_NUMBER),
                    "method": _TEXT,
                    "windows": _list({"type": "object"}),
                },
                set(_ENERGY),
            ),
        },
        "sustained": _object(
            {
                "kind": _ref("figure_kind"),
                "complete": _FLAG,
                "reason": _TEXT,
                "gate": _ref("gate"),
                "first_ms": _NUMBER,
                "last_ms": _NUMBER,
                "slowdown": _NUMBER,
                "points": _list(
                    _object(
                        {"at_s": _NUMBER, "median_ms": _NUMBER, "p90_ms": _NUMBER},
                        {"at_s", "median_ms", "p90_ms"},
                    )
                ),
                "stretches": _list(
                    _object(
                        {
                            "begin_s": _NUMBER,
                            "end_s": _NUMBER,
                            "inferences": {"type": "integer"},
                            "celsius": _MAYBE,
                            "frequency_mhz": _list(_NUMBER),
                            "throttled": _list(_TEXT),
                        },
                        {"begin_s", "end_s", "inferences", "celsius", "throttled"},
                    )
                ),
            },
            {"complete", "points"},
        ),
    }


_ENERGY = (
    *("gross_j_per_inference", "net_j_per_inference", "gross_energy_mj", "net_energy_mj"),
    *("idle_power_w", "run_power_w"),
)


def _object(properties: dict[str, Any], required: set[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": False,
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _list(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def _map(values: dict[str, Any], description: str = "") -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {"type": "object", "additionalProperties": values, **about}


def _nullable(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "null"}]}
