"""One row of the benchmark: what was measured, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.int8.cases import SQNR_DB, axes, is_trained
from benchmarks.int8.operators import Operators
from benchmarks.int8.quality import Quality
from benchmarks.realisation.cases import Case
from tdedge_runtimes.statistics import Interval, median, ratio_of_medians

DENSE, DENSE_INT8, PLANNED, INT8 = "dense", "dense int8", "planned", "planned int8"
#: The float32 plan with integers in it, and the network as it came: what planning for integers is worth.
FLOAT_PLAN, UNPLANNED = "int8, float plan", "int8, not planned"
#: Files of every row; those of peers come after them, under the peer's name.
#: With as many products in float32 as the ratio that is asked for needs; where all on integers lack it.
STRICT = "int8 at the ratio"
LABELS = (DENSE, DENSE_INT8, PLANNED, INT8, FLOAT_PLAN, UNPLANNED, STRICT)
#: Beside them in quality, not in time.
NOT_EQUALISED, MIN_MAX = "not equalised", "min-max"


@dataclass(frozen=True)
class Row:
    """A decomposed network on integers in one runtime; all files timed in one interleaved run.

    Attributes:
        case: what was decomposed and how.
        runtime: name of the runtime.
        threads: threads of one inference.
        key: what the row is valid for: machine, versions; see :mod:`benchmarks.realisation.store`.
        dense_macs: multiply-accumulates of the dense network.
        macs: those of the decomposed one.
        samples_ms: label -> block -> timed calls.
        quality: label -> its outputs beside those of the float32 network, on held-out inputs.
        size_bytes: label -> size of its files.
        operators: what the runtime makes of the planned int8 file; None where there is none.
        operators_strict: of the file that has the ratio that is asked for, where that is another.
        kept: products of it that stay float32 -> why.
        kept_strict: those of the file that has the ratio that is asked for -> why.
        equalised: links that were rescaled.
        planning_s: seconds to plan for integers.
        quantising_s: seconds to calibrate and quantise.
        notes: label -> why there is no such file, or it does not run.
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
    quality: Mapping[str, Quality] = field(default_factory=dict)
    size_bytes: Mapping[str, int] = field(default_factory=dict)
    operators: Operators | None = None
    operators_strict: Operators | None = None
    kept: Mapping[str, str] = field(default_factory=dict)
    kept_strict: Mapping[str, str] = field(default_factory=dict)
    equalised: int = 0
    planning_s: float = 0.0
    quantising_s: float = 0.0
    notes: Mapping[str, str] = field(default_factory=dict)
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
    def axes(self) -> int:
        """2 for images, 3 for clips."""
        return axes(self.case.network)

    @property
    def is_trained(self) -> bool:
        """Whether its weights learnt something."""
        return is_trained(self.case.network)

    @property
    def mac_ratio(self) -> float:
        """What the arithmetic promises."""
        return self.dense_macs / self.macs

    @property
    def peers(self) -> list[str]:
        """Names of the peers that were tried, in order."""
        return [name for name in dict.fromkeys((*self.samples_ms, *self.notes)) if name not in LABELS]

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
        if label not in self.samples_ms:
            return None
        return median([sample for block in self.samples_ms[label] for sample in block])

    @property
    def speedup(self) -> float | None:
        """Int8 over the planned float32 network."""
        return self.ratio(PLANNED, INT8)

    @property
    def speedup_dense(self) -> float | None:
        """Int8 over the dense float32 export."""
        return self.ratio(DENSE, INT8)

    def sqnr_db(self, label: str = INT8) -> float | None:
        """Signal-to-noise ratio of a file's outputs."""
        found = self.quality.get(label)
        return None if found is None else found.sqnr_db

    @property
    def least_db(self) -> float:
        """The ratio that is asked for."""
        return SQNR_DB[self.axes]

    @property
    def strict(self) -> str:
        """The file that is to have it: with all products on integers where that has it, else with fewer."""
        ratio = self.sqnr_db()
        return STRICT if ratio is not None and ratio < self.least_db else INT8

    @property
    def speedup_strict(self) -> float | None:
        """That file over the planned float32 network."""
        return self.ratio(PLANNED, self.strict)

    def gain_db(self, over: str) -> float | None:
        """How much better the outputs of the int8 network are than another's."""
        mine, other = self.sqnr_db(), self.sqnr_db(over)
        return None if mine is None or other is None else mine - other

    def smaller(self, of: str = PLANNED) -> float | None:
        """Bytes of a file over those of the int8 one."""
        if of not in self.size_bytes or INT8 not in self.size_bytes:
            return None
        return self.size_bytes[of] / self.size_bytes[INT8]

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
            "int8_over_planned": self.speedup,
            "int8_over_dense": self.speedup_dense,
            "int8_over_dense_int8": self.ratio(DENSE_INT8, INT8),
            "int8_over_float_plan": self.ratio(FLOAT_PLAN, INT8),
            "int8_over_unplanned": self.ratio(UNPLANNED, INT8),
            "int8_over_peers": {name: self.ratio(name, INT8) for name in self.peers},
            "sqnr_db": self.sqnr_db(),
            "sqnr_strict_db": self.sqnr_db(self.strict),
            "strict_over_planned": self.speedup_strict,
            "equalisation_db": self.gain_db(NOT_EQUALISED),
            "smaller": self.smaller(),
            "on_integers": None if self.operators is None else self.operators.share,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """A row that :meth:`to_json` wrote."""
        counts = {key: values.get(key) for key in ("operators", "operators_strict")}
        return cls(
            **{
                **values,
                "case": Case(**values["case"]),
                "quality": {label: Quality(**each) for label, each in values["quality"].items()},
                **{key: None if count is None else Operators(**count) for key, count in counts.items()},
            }
        )
