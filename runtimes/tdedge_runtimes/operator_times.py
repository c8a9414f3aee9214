"""Times of single operators over several runs of one model: what every runtime's profile comes to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError

#: Runs before those that are profiled.
WARM_UP_RUNS = 3


@dataclass(frozen=True)
class OpTime:
    """Time of one operator over all profiled runs, microseconds.

    Attributes:
        ordinal: Place in the order of execution, from 0.
        name: As the runtime calls it: a node of the file, in TensorFlow Lite the kernel or the operator.
        delegated: Whether it ran inside an XNNPACK partition.
        node: Its number inside the partition, or in the file where it is not delegated.
        median_us: Median over the runs.
        mean_us: Mean over the runs.
        min_us: Shortest run.
        max_us: Longest run.
        op_type: The operator, where the name is that of a node of the file.
        kind: Always "measured".
    """

    ordinal: int
    name: str
    delegated: bool
    node: int
    median_us: float
    mean_us: float
    min_us: float
    max_us: float
    op_type: str = ""
    kind: str = "measured"

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)


def check_counts(threads: Any, runs: Any) -> None:
    """Refuse what is no count.

    Raises:
        RuntimeInputError: One is no whole number of at least 1.
    """
    for name, value in (("threads", threads), ("runs", runs)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise RuntimeInputError(f"{name} is {value!r}; expected a whole number of at least 1")


def summarise(runs: list[list[tuple[str, bool, int, int]]], types: Sequence[str] = ()) -> list[OpTime]:
    """Operators from the (name, delegated, node, microseconds) of each run, and their types where known.

    Raises:
        RuntimeFailed: There is none, or the runs differ in their operators.
    """
    operators = [[event[:3] for event in run] for run in runs]
    if not operators[0] or any(run != operators[0] for run in operators):
        raise RuntimeFailed(
            "the profile shows no operators, or others in each run; the file cannot be profiled"
        )
    times = list(zip(*([event[3] for event in run] for run in runs), strict=True))
    return [
        OpTime(
            *(ordinal, *operator),
            median_us=float(statistics.median(spent)),
            mean_us=float(statistics.fmean(spent)),
            min_us=float(min(spent)),
            max_us=float(max(spent)),
            op_type=types[ordinal] if types else "",
        )
        for ordinal, (operator, spent) in enumerate(zip(operators[0], times, strict=True))
    ]
