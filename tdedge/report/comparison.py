"""Networks measured side by side, joined with what the arithmetic promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One network of a comparison; ratios are reference over this network, so larger is better.

    Attributes:
        realisation: measured speed-up over MAC ratio; None where MACs are unknown.
    """

    label: str
    latency_ms: float
    latency_mad_ms: float
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    params_ratio: float | None
    mac_ratio: float | None
    realisation: float | None
    own_memory_bytes: float | None
    peak_rss_bytes: float | None
    parity: float | None


@dataclass(frozen=True)
class Comparison:
    """One interleaved run: the first network is the reference of every ratio.

    Attributes:
        target: what all networks ran on, such as ``onnxruntime``.
        result: the raw result of the run, every sample kept.
        costs: label -> totals of the network (``params``, ``macs``, ...), where known.
        parities: label -> largest error of the network's own parity check, where known.
    """

    target: str
    result: Mapping[str, Any]
    costs: Mapping[str, Mapping[str, float]]
    parities: Mapping[str, float]

    @property
    def quiet(self) -> bool:
        """False where other processes used so much CPU that the times should not be trusted."""
        return bool(self.result["quiet"])

    @property
    def foreign_cpu(self) -> float | None:
        """Share of all cores other processes used while the run was timed."""
        value = self.result["foreign_cpu"]["value"]
        return None if value is None else float(value)

    @property
    def threads(self) -> int:
        """Threads of one inference."""
        return int(self.result["options"]["threads"])

    def samples_ms(self, label: str) -> list[float]:
        """Every timed call of one network, in order."""
        blocks = self.result["models"][label]["latency"]["samples_ms"]
        return [sample for block in blocks for sample in block]

    def rows(self) -> list[Row]:
        """One row per network, the reference first."""
        return [self._row(label) for label in self.result["models"]]

    def _row(self, label: str) -> Row:
        model = self.result["models"][label]
        speedup = self.result["ratios"].get(label, {}).get("speedup", {})
        macs = self._ratio(label, "macs")
        measured = speedup.get("value")
        memory = model.get("memory", {})
        return Row(
            label=label,
            latency_ms=model["latency"]["median_ms"],
            latency_mad_ms=model["latency"]["mad_ms"],
            speedup=measured,
            speedup_low=speedup.get("low"),
            speedup_high=speedup.get("high"),
            params_ratio=self._ratio(label, "params"),
            mac_ratio=macs,
            realisation=measured / macs if measured and macs else None,
            own_memory_bytes=memory.get("own_peak_rss_bytes", {}).get("value"),
            peak_rss_bytes=memory.get("peak_rss_bytes", {}).get("value"),
            parity=self.parities.get(label),
        )

    def _ratio(self, label: str, key: str) -> float | None:
        first = next(iter(self.result["models"]))
        if label == first or label not in self.costs or first not in self.costs:
            return None
        own = self.costs[label].get(key)
        return self.costs[first][key] / own if own else None

    def to_json(self) -> dict[str, Any]:
        """The comparison with its derived figures; every figure's kind is in ``result``."""
        return {
            "target": self.target,
            "costs": dict(self.costs),
            "parities": dict(self.parities),
            "rows": [vars(row) for row in self.rows()],
            "result": dict(self.result),
        }
