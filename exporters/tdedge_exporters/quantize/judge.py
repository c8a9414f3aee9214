"""What a way of quantising is worth on samples that its ranges were not found on.

The ranges of either half of the calibration samples are judged on the other half, in a network whose channels
were rescaled, if they were, by that half alone: scales found on all samples fit those that judge too well (a
trained ResNet as Tucker chains: 36 dB by them, 33 dB on 512 others, 35 dB as it was). Fewer than four samples
are judged on themselves.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from tdedge_exporters.quantize.assemble import assemble, seen
from tdedge_exporters.quantize.calibrate import Statistics
from tdedge_exporters.quantize.grids import Array
from tdedge_exporters.quantize.report import Exact, sqnr_db
from tdedge_exporters.quantize.settings import MARGIN_DB, Int8

#: From so many samples on, there are halves.
_LEAST_TO_HALVE = 4
#: On so many of a half at most: what few samples have outside a range decides.
_JUDGED_ON = 16
#: On so many of one half where there are many questions.
_ASKED_ON = 4


@dataclass(frozen=True)
class _Fold:
    """A network, samples that its ranges were found on, as statistics, and others."""

    model: ir.Model
    statistics: Mapping[str, Statistics]
    exact: Exact


class Judge:
    """Judges ways of quantising one graph.

    Args:
        model: float32.
        feeds: calibration samples.
        statistics: of all of them.
        keep: products that stay float32 in any case.
        twins: the graph as either of :func:`halves` would have rescaled it; none where no samples did.
        rounds_edges: whether products give nothing but integers; see :func:`assemble`.
    """

    def __init__(
        self,
        model: ir.Model,
        feeds: Sequence[Mapping[str, Array]],
        statistics: Mapping[str, Statistics],
        keep: Collection[str],
        *,
        twins: Sequence[ir.Model] = (),
        rounds_edges: bool = False,
    ) -> None:
        self._model, self._feeds, self._statistics, self._keep = model, feeds, statistics, tuple(keep)
        self._twins, self._rounds_edges = twins, rounds_edges

    def expected_db(self, settings: Int8, keep: Collection[str] = ()) -> float:
        """Signal-to-noise ratio of the outputs, these products kept as well; infinite without any noise."""
        return sum(self._ratio(fold, settings, keep) for fold in self._folds) / len(self._folds)

    def sure_db(self, settings: Int8, keep: Collection[str] = ()) -> float:
        """The ratio, less its standard error where that is more than the margin of what is asked for."""
        energies = np.concatenate([self._energies(fold, settings, keep) for fold in self._folds])
        found = sqnr_db(*map(float, energies.sum(axis=0)))
        return math.inf if found is None else found - max(0.0, error_db(energies) - MARGIN_DB)

    def about_db(self, settings: Int8, keep: Collection[str]) -> float:
        """As :meth:`expected_db`, by a few samples of one half: for many questions."""
        return self._ratio(self._few, settings, keep)

    def _ratio(self, fold: _Fold, settings: Int8, keep: Collection[str]) -> float:
        signal, noise = self._energies(fold, settings, keep).sum(axis=0)
        found = sqnr_db(float(signal), float(noise))
        return math.inf if found is None else found

    def _energies(self, fold: _Fold, settings: Int8, keep: Collection[str]) -> Array:
        kept = (*self._keep, *keep)
        made = assemble(fold.model, fold.statistics, settings, kept, rounds_edges=self._rounds_edges)
        return fold.exact.energies(made.model)

    @cached_property
    def _folds(self) -> list[_Fold]:
        both = halves(self._feeds)
        if not both:
            return [_Fold(self._model, self._statistics, Exact(self._model, self._feeds))]
        return [
            _Fold(model, seen(model, mine, self._keep), Exact(model, other[:_JUDGED_ON]))
            for model, mine, other in zip(self._twins or (self._model,) * 2, both, both[::-1], strict=True)
        ]

    @cached_property
    def _few(self) -> _Fold:
        first, others = self._folds[0], self._feeds[1::2] or self._feeds
        return _Fold(first.model, first.statistics, Exact(first.model, others[:_ASKED_ON]))


def halves(feeds: Sequence[Mapping[str, Array]]) -> list[Sequence[Mapping[str, Array]]]:
    """Either half of the samples, each to judge what was found on the other; none of too few."""
    return [feeds[::2], feeds[1::2]] if len(feeds) >= _LEAST_TO_HALVE else []


def error_db(energies: Array) -> float:
    """Standard error of the signal-to-noise ratio of samples together; 0 for one sample.

    Of few samples with most of the noise the ratio is known badly: where those come up among others is
    chance. The error is that of the logarithm of a ratio of means, by the delta method (Cochran 1977,
    "Sampling Techniques", 6.3): ``d = signal / mean(signal) - noise / mean(noise)``, of n samples
    ``sqrt(sum(d^2) / (n (n - 1)))``.

    Args:
        energies: (n, 2) energy of the signal and of the noise of every sample, neither 0 in all.
    """
    count = len(energies)
    if count == 1:
        return 0.0
    differences = np.subtract(*(energies / energies.mean(axis=0)).T)
    return 10 / math.log(10) * math.sqrt(float(differences @ differences) / (count * (count - 1)))
