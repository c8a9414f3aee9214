"""What a search found: finished trials, and why others gave no figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tdedge.plan import CompressionPlan


@dataclass(frozen=True)
class Tried:
    """A finished trial.

    Attributes:
        number: of the trial in the study.
        accuracy: higher is better, in whatever unit it was given.
        latency_ms: of one inference.
        params: parameters of all Conv and Linear layers.
        macs: their multiply-accumulates.
        plan: what was tried.
        repeats: the trial of the same plan whose figures these are; None where it was evaluated.
    """

    number: int
    accuracy: float
    latency_ms: float
    params: int
    macs: int
    plan: CompressionPlan
    repeats: int | None = None


@dataclass(frozen=True)
class SearchResult:
    """What a study holds.

    Attributes:
        study_name: its name.
        tried: finished trials by number, those of every process.
        failed: number of a trial that gave no figures -> why.
        made_for: what the study was made for.
    """

    study_name: str
    tried: tuple[Tried, ...]
    failed: Mapping[int, str]
    made_for: Mapping[str, str]
