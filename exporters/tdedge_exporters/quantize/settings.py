"""What may be asked of int8."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tdedge.errors import UsageError
from tdedge_exporters.quantize import ranges

#: The method that tries others.
BEST = "best"
#: Decibels above a ratio that is asked for, at least, so that samples held out reach it too.
MARGIN_DB = 1.0
#: What it tries.
TRIED = ("mse", "minmax", "percentile")


@dataclass(frozen=True)
class Int8:
    """How a network is quantised.

    Attributes:
        method: how ranges are found: ``mse``, ``minmax``, ``percentile``, ``entropy``, or ``best``, the one
            of :data:`TRIED` whose outputs have the best signal-to-noise ratio on calibration data that its
            ranges were not found on.
        min_sqnr_db: products stay float32, those first that add the most noise for the time they save, until
            the outputs have this signal-to-noise ratio on calibration data that ranges were not found on;
            None to quantise all.
        keep: names of nodes that stay float32.
        equalise: share ranges between the channels of every link, exactly, where the outputs gain by it.
        correct_bias: take the mean error of rounded weights out of the biases.
        samples: calibration samples that are used at most.

    Raises:
        UsageError: unknown method, no samples, or a ratio that is not positive.
    """

    method: str = BEST
    min_sqnr_db: float | None = None
    keep: tuple[str, ...] = ()
    equalise: bool = True
    correct_bias: bool = True
    samples: int = 32

    def __post_init__(self) -> None:
        if self.method != BEST:
            ranges.check(self.method)
        if self.samples < 1:
            raise UsageError(f"{self.samples} calibration samples; expected at least 1")
        if self.min_sqnr_db is not None and not self.min_sqnr_db > 0:
            raise UsageError(f"a signal-to-noise ratio of {self.min_sqnr_db} dB; expected a positive one")

    @property
    def tried(self) -> tuple[str, ...]:
        """The methods that are compared."""
        return TRIED if self.method == BEST else (self.method,)

    def with_margin(self) -> Int8:
        """A ratio a little above what is asked for."""
        if self.min_sqnr_db is None:
            return self
        return replace(self, min_sqnr_db=self.min_sqnr_db + MARGIN_DB)
