"""What a network costs, before and after compression and the exact rewrites; nothing is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tdedge.cost import NetworkCost, network_cost
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress
from tdedge_exporters.export import rewrite
from tdedge_exporters.passes.record import PassRecord
from tdedge_exporters.prepare import Prepared, Source, prepare


@dataclass(frozen=True)
class Inspection:
    """Costs per stage: ``network`` alone, or ``dense`` and ``compressed``; ``rewritten`` where asked for."""

    prepared: Prepared
    costs: dict[str, NetworkCost]
    records: tuple[PassRecord, ...]

    @property
    def ratios(self) -> dict[str, float] | None:
        """Dense over compressed, for every total; None where nothing was compressed."""
        if "compressed" not in self.costs:
            return None
        dense, small = self.costs["dense"].totals(), self.costs["compressed"].totals()
        return {key: dense[key] / small[key] for key in dense if small[key]}

    def to_json(self) -> dict[str, Any]:
        """The document ``tdedge inspect --json`` prints."""
        compression = self.prepared.compression
        return {
            "schema_version": 1,
            "kind": "computed",
            "name": self.prepared.name,
            "source_kind": self.prepared.kind,
            "notes": list(self.prepared.notes),
            **{stage: cost.to_json() for stage, cost in self.costs.items()},
            "ratios": self.ratios,
            "compression": compression.to_json() if compression else None,
            "plan": self.prepared.resolved_plan,
            "rewrites": [asdict(record) for record in self.records],
        }


def inspect_network(
    source: Source,
    plan: CompressionPlan | None = None,
    *,
    rewrites: bool = False,
    progress: Progress = SILENT,
) -> Inspection:
    """Count parameters, MACs, FLOPs and peak activations of ``source``.

    Raises:
        UsageError: bad source or plan.
    """
    return inspect_prepared(prepare(source, plan, progress=progress), rewrites=rewrites, progress=progress)


def inspect_prepared(
    prepared: Prepared, *, rewrites: bool = False, progress: Progress = SILENT
) -> Inspection:
    """The same of a network that is prepared already."""
    if prepared.dense is None:
        costs = {"network": network_cost(prepared.model)}
    else:
        costs = {"dense": network_cost(prepared.dense), "compressed": network_cost(prepared.model)}
    records: list[PassRecord] = []
    if rewrites:
        model, records = rewrite(prepared.model, progress)
        costs["rewritten"] = network_cost(model)
    return Inspection(prepared, costs, tuple(records))
