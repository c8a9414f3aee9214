"""One row of the benchmark: what was measured, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.realisation.cases import Case
from tdedge_runtimes.statistics import Interval, ratio_of_medians

PLAIN_DENSE, PLANNED_DENSE, PLAIN, PLANNED = "plain dense", "planned dense", "plain", "planned"
#: The four networks of every row.
LABELS = (PLAIN_DENSE, PLANNED_DENSE, PLAIN, PLANNED)
#: Beside them: clips in LiteRT with ``CONV_3D`` operators; where a gate asks for it the case with aligned
#: ranks, planned.
CONV3D, ALIGNED = "conv3d dense", "planned aligned"


@dataclass(frozen=True)
class Row:
    """A decomposed network against its dense one, in one runtime; all files timed in one interleaved run.

    Attributes:
        case: what was decomposed and how.
        runtime: name of the runtime.
        threads: threads of one inference.
        key: what the row is valid for: machine, versions; see :mod:`benchmarks.realisation.store`.
        dense_macs: multiply-accumulates of the dense network.
        macs: those of the decomposed one, as it was decomposed.
        samples_ms: label -> block -> timed calls.
        own_memory_bytes: of the planned file; None where it cannot be measured.
        first_layer_ms: first layer in its plain and in its chosen form; None where there was no choice.
        forms: form -> how often it was chosen.
        planning_s: seconds to plan the decomposed network.
        again_s: seconds to plan it once more, every time known.
        trials: small models that were timed for that.
        parity: largest difference between the outputs of plain and planned, relative to their scale.
        bound_ms: what arithmetic, idle lanes and memory take of the planned network at the machine's rates,
            see :mod:`benchmarks.realisation.limits`; empty where not computed.
        executed_macs: label -> multiply-accumulates that its graph executes, of the planned networks: packing
            adds some, minimal filtering leaves some out; empty where not computed.
        parts: kind of part -> how many, multiply-accumulates, milliseconds, see
            :mod:`benchmarks.realisation.parts`; empty where not known.
        sgemm_gflops: what this machine reaches in a matrix product with as many threads.
        streams_gbs: (one thread, all threads) through memory, before and after the run; empty with one
            thread.
        mode: what they say about the machine: ``near``, ``far``, ``mixed``; empty with one thread.
        foreign_cpu: share of all cores that other processes used; None where unknown.
        quiet: whether that was little enough.
        error: why there is no measurement; empty otherwise.
    """

    case: Case
    runtime: str
    threads: int
    key: str
    dense_macs: int = 0
    macs: int = 0
    samples_ms: Mapping[str, list[list[float]]] = field(default_factory=dict)
    own_memory_bytes: float | None = None
    first_layer_ms: tuple[float, float] | None = None
    forms: Mapping[str, int] = field(default_factory=dict)
    planning_s: float | None = None
    again_s: float | None = None
    trials: int | None = None
    parity: float | None = None
    bound_ms: Mapping[str, float] = field(default_factory=dict)
    executed_macs: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, tuple[int, int, float]] = field(default_factory=dict)
    sgemm_gflops: float | None = None
    streams_gbs: tuple[tuple[float, float], ...] = ()
    mode: str = ""
    foreign_cpu: float | None = None
    quiet: bool = True
    error: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells rows apart."""
        case = self.case
        return (case.network, case.format, case.rank, self.runtime, str(self.threads), self.key)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.case.name} {self.runtime}"

    @property
    def mac_ratio(self) -> float:
        """What the arithmetic promises."""
        return self.dense_macs / self.macs

    def interval(self, of: str, over: str) -> Interval | None:
        """Median latency of one file over that of another, with its interval; None where one is missing."""
        if of not in self.samples_ms or over not in self.samples_ms:
            return None
        return ratio_of_medians(self.samples_ms[of], self.samples_ms[over])

    def ratio(self, of: str, over: str) -> float | None:
        """As :meth:`interval`, the value alone."""
        found = self.interval(of, over)
        return None if found is None else found.value

    def median_ms(self, label: str) -> float | None:
        """Median latency of one file."""
        found = self.interval(label, label)
        if found is None:
            return None
        flat = sorted(sample for block in self.samples_ms[label] for sample in block)
        middle = len(flat) // 2
        return flat[middle] if len(flat) % 2 else (flat[middle - 1] + flat[middle]) / 2

    @property
    def best_dense(self) -> str:
        """The faster of the two dense files."""
        return PLANNED_DENSE if (self.ratio(PLAIN_DENSE, PLANNED_DENSE) or 0) > 1 else PLAIN_DENSE

    @property
    def export(self) -> str:
        """The dense file as other tools make it: clips in LiteRT with ``CONV_3D``, where that was timed."""
        return CONV3D if CONV3D in self.samples_ms else PLAIN_DENSE

    @property
    def speedup_plain(self) -> float | None:
        """Planned, over the plain dense export."""
        return self.ratio(PLAIN_DENSE, PLANNED)

    @property
    def speedup_best(self) -> float | None:
        """Planned, over the best dense network."""
        return self.ratio(self.best_dense, PLANNED)

    @property
    def realisation_of_plain(self) -> float | None:
        """What the plain export of both networks realises."""
        return self._realised(self.ratio(PLAIN_DENSE, PLAIN))

    @property
    def realisation(self) -> float | None:
        """What the planned network realises against the plain dense export."""
        return self._realised(self.speedup_plain)

    @property
    def realisation_of_export(self) -> float | None:
        """What the planned network realises against the dense export as other tools make it."""
        return self._realised(self.ratio(self.export, PLANNED))

    @property
    def realisation_best(self) -> float | None:
        """What the planned network realises against the best dense network."""
        return self._realised(self.speedup_best)

    def _realised(self, speedup: float | None) -> float | None:
        return None if speedup is None else speedup / self.mac_ratio

    @property
    def peak_share(self) -> float | None:
        """Multiply-accumulates per second of the planned network over those of a matrix product."""
        latency_ms = self.median_ms(PLANNED)
        if latency_ms is None or not self.sgemm_gflops:
            return None
        return 2 * self.macs / (latency_ms * 1e6) / self.sgemm_gflops

    @property
    def first_layer_share(self) -> tuple[float, float] | None:
        """Share of the first layer in the plain and in the planned network's time."""
        plain_ms, planned_ms = self.median_ms(PLAIN), self.median_ms(PLANNED)
        if self.first_layer_ms is None or not plain_ms or not planned_ms:
            return None
        return self.first_layer_ms[0] / plain_ms, self.first_layer_ms[1] / planned_ms

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)

    def derived(self) -> dict[str, Any]:
        """The figures that follow, as JSON values."""
        if self.error:
            return {}
        return {
            "mac_ratio": self.mac_ratio,
            "median_ms": {label: self.median_ms(label) for label in self.samples_ms},
            "speedup_plain": self.speedup_plain,
            "speedup_best": self.speedup_best,
            "planned_over_plain": self.ratio(PLAIN, PLANNED),
            "realisation_of_plain": self.realisation_of_plain,
            "realisation": self.realisation,
            "realisation_of_export": self.realisation_of_export,
            "realisation_best": self.realisation_best,
            "peak_share": self.peak_share,
            "first_layer_share": self.first_layer_share,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """A row that :meth:`to_json` wrote."""
        first = values["first_layer_ms"]
        return cls(
            **{
                **values,
                "case": Case(**values["case"]),
                "first_layer_ms": None if first is None else (first[0], first[1]),
                "streams_gbs": tuple((one, every) for one, every in values["streams_gbs"]),
            }
        )
