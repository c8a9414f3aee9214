"""What a way of quantising is worth on samples that its ranges were not found on.

Cross-validation: the samples are parted into folds, and each judges the ranges that were found on all
others, in a network whose channels were rescaled, if they were, by those others alone: scales found on all
samples fit those that judge too well (a trained ResNet as Tucker chains: 36 dB by them, 33 dB on 512 others,
35 dB as it was), scales found on few are worse than those that ship. Fewer than four samples are judged on
themselves.
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

Feed = Mapping[str, Array]

#: (samples, folds): so many folds from so many samples on.
_FOLDS = ((16, 4), (4, 2))
#: On so many of all folds at most: what few samples have outside a range decides.
_JUDGED_ON = 64
#: On so many of one fold where there are many questions.
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
        twins: the graph as the samples of each of :func:`folds` would have rescaled it; none where none did.
        rounds_edges: whether products give nothing but integers; see :func:`assemble`.
    """

    def __init__(
        self,
        model: ir.Model,
        feeds: Sequence[Feed],
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
        return _ratio(self._all_energies(settings, keep))

    def sure_db(self, settings: Int8, keep: Collection[str] = ()) -> float:
        """The ratio, less what as many other samples may lack, where that is more than the margin asked for.

        Both sets have the standard error, their difference sqrt(2) of it.
        """
        energies = self._all_energies(settings, keep)
        ratio = _ratio(energies)
        return ratio if math.isinf(ratio) else ratio - max(0.0, math.sqrt(2) * error_db(energies) - MARGIN_DB)

    def about_db(self, settings: Int8, keep: Collection[str]) -> float:
        """As :meth:`expected_db`, by a few samples of one fold: for many questions."""
        return _ratio(self._energies(self._few, settings, keep))

    def _all_energies(self, settings: Int8, keep: Collection[str]) -> Array:
        return np.concatenate([self._energies(fold, settings, keep) for fold in self._folds])

    def _energies(self, fold: _Fold, settings: Int8, keep: Collection[str]) -> Array:
        kept = (*self._keep, *keep)
        made = assemble(fold.model, fold.statistics, settings, kept, rounds_edges=self._rounds_edges)
        return fold.exact.energies(made.model)

    @cached_property
    def _folds(self) -> list[_Fold]:
        parted = folds(self._feeds)
        if not parted:
            return [_Fold(self._model, self._statistics, Exact(self._model, self._feeds))]
        most = _JUDGED_ON // len(parted)
        return [
            _Fold(model, seen(model, mine, self._keep), Exact(model, other[:most]))
            for model, (mine, other) in zip(self._twins or (self._model,) * len(parted), parted, strict=True)
        ]

    @cached_property
    def _few(self) -> _Fold:
        first = self._folds[0]
        others = folds(self._feeds)[0][1] if len(self._folds) > 1 else self._feeds
        return _Fold(first.model, first.statistics, Exact(first.model, others[:_ASKED_ON]))


def folds(feeds: Sequence[Feed]) -> list[tuple[list[Feed], list[Feed]]]:
    """For every fold the samples to find things on and those to judge them on; none of too few samples."""
    count = next((parts for least, parts in _FOLDS if len(feeds) >= least), 0)
    return [
        ([feed for at, feed in enumerate(feeds) if at % count != fold], list(feeds[fold::count]))
        for fold in range(count)
    ]


def _ratio(energies: Array) -> float:
    """Of all samples together, from the (n, 2) energies of :func:`error_db`."""
    found = sqnr_db(*map(float, energies.sum(axis=0)))
    return math.inf if found is None else found


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
