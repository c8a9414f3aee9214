"""Times of single operators as node data of Google's model-explorer, a file per network and target.

The format is that of ``model_explorer.node_data_builder.GraphNodeData``: values in milliseconds under the
name of a node, and a gradient. ONNX Runtime and OpenVINO tell names of nodes; what they inserted themselves,
such as a change of the layout, keeps the name they gave it. LiteRT tells places in the file where XNNPACK
does not execute an operator; those inside XNNPACK come under the name of the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdedge.report.results import Results

_GRADIENT = [
    {"stop": 0, "bgColor": "#f2f7fb", "textColor": "#000000"},
    {"stop": 1, "bgColor": "#1f6fb4", "textColor": "#ffffff"},
]


def documents(found: Results) -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and document of every profile."""
    for label, profile in (*found.profiles.items(), *found.device_profiles()):
        yield f"{re.sub(r'[^A-Za-z0-9.]+', '-', label).strip('-')}.json", node_data(label, profile)


def node_data(name: str, profile: Mapping[str, Any]) -> dict[str, Any]:
    """One profile; operators of the same key add up."""
    values: dict[str, float] = {}
    for op in profile["ops"]:
        key = _key(op)
        values[key] = values.get(key, 0.0) + op["median_us"] / 1e3
    results = {key: {"value": round(value, 6)} for key, value in values.items()}
    return {"name": f"{name}, ms ({profile['kind']})", "results": results, "gradient": _GRADIENT}


def _key(op: Mapping[str, Any]) -> str:
    if op.get("op_type"):  # ONNX Runtime marks nodes that it fused or laid out anew
        return str(op["name"]).removeprefix("fused ").removesuffix("_nchwc")
    return f"XNNPACK {op['ordinal']}: {op['name']}" if op["delegated"] else str(op["node"])
