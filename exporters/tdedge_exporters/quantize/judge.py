"""What a way of quantising is worth on samples that its ranges were not found on.

Cross-validation: the samples are parted into folds, and each judges the ranges that were found on all
others, in a network whose channels were rescaled, if they were, by those others alone: scales found on all
samples fit those that judge too well (a trained ResNet as Tucker chains: 36 dB by them, 33 dB on 512 others,
35 dB as it was), scales found on few are worse than those that ship. Fewer than four samples are judged on
themselves.

The best of several ways is best on these samples by chance too. What it is worth without that is seen where
every fold judges the way that is the best on all others (nested cross-validation: Varma, Simon 2006, "Bias in
error estimation when using cross-validation for model selection"): THETIS in ONNX Runtime, the best of three
methods with scales and without, 30.2 dB in place of 31.1, and 29.4 dB on 128 other clips.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from tdedge.errors import UsageError
from tdedge.progress import SILENT, Progress
from tdedge_exporters import graph as g
from tdedge_exporters.quantize.assemble import assemble, seen
from tdedge_exporters.quantize.exact import for_integers
from tdedge_exporters.quantize.grids import Array
from tdedge_exporters.quantize.report import Exact, sqnr_db
from tdedge_exporters.quantize.settings import MARGIN_DB, Int8
from tdedge_exporters.quantize.statistics import Statistics, together

_T = TypeVar("_T")
Feed = Mapping[str, Array]

#: (samples, folds): so many folds from so many samples on.
_FOLDS = ((16, 4), (4, 2))
#: Standard errors: what is true lies further below what samples say in two of a hundred sets of them.
_SURE = 2.0
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
        model: float32; not changed.
        feeds: calibration samples.
        keep: products that stay float32 in any case.
        progress: told about the calibration.
        twins: the graph as the samples of each of :func:`folds` would have rescaled it; none where none did.
        rounds_edges: whether products give nothing but integers; see :func:`assemble`.

    Attributes:
        model: after the rewrites for integers.
        feeds: as given.

    Raises:
        UsageError: no samples, a node to keep that does not exist, or tensors that are not finite.
    """

    def __init__(
        self,
        model: ir.Model,
        feeds: Sequence[Feed],
        keep: Collection[str] = (),
        progress: Progress = SILENT,
        *,
        twins: Sequence[ir.Model] = (),
        rounds_edges: bool = False,
    ) -> None:
        self.model, self.feeds = for_integers(model), feeds
        self._keep, self._rounds_edges = tuple(keep), rounds_edges
        self._check_names()
        parts = fold_count(len(feeds)) or 1
        self._parts = seen(self.model, feeds, keep, progress, parts=parts)
        self._twins = [for_integers(twin) for twin in twins]
        self._known: dict[tuple[str, bool, frozenset[str]], list[Array]] = {}

    @cached_property
    def statistics(self) -> dict[str, Statistics]:
        """Of all samples."""
        return together(self._parts)

    def expected_db(self, settings: Int8, keep: Collection[str] = ()) -> float:
        """Signal-to-noise ratio of the outputs, these products kept as well; infinite without any noise."""
        return _ratio(np.concatenate(self.energies(settings, keep)))

    def sure_db(self, settings: Int8, keep: Collection[str] = ()) -> float:
        """The ratio, less two standard errors, where these are more than the margin asked for."""
        energies = np.concatenate(self.energies(settings, keep))
        ratio = _ratio(energies)
        return ratio if math.isinf(ratio) else ratio - max(0.0, _SURE * error_db(energies) - MARGIN_DB)

    def about_db(self, settings: Int8, keep: Collection[str]) -> float:
        """As :meth:`expected_db`, by a few samples of one fold: for many questions."""
        return _ratio(self._energies(self._few, settings, keep))

    def energies(self, settings: Int8, keep: Collection[str] = ()) -> list[Array]:
        """For every fold (samples, 2): energy of the signal and of the noise, these products kept as well."""
        asked = (settings.method, settings.correct_bias, frozenset(keep))
        if asked not in self._known:
            self._known[asked] = [self._energies(fold, settings, keep) for fold in self._folds]
        return self._known[asked]

    def energies_of_methods(self, settings: Int8) -> list[list[Array]]:
        """:meth:`energies` of every method that is compared."""
        return [self.energies(replace(settings, method=method)) for method in settings.tried]

    def _check_names(self) -> None:
        known = {g.node_name(node) for node in self.model.graph}
        for name in self._keep:
            if name not in known:
                raise UsageError(f"no node {name!r} to keep in float32; expected a node of the planned graph")

    def _energies(self, fold: _Fold, settings: Int8, keep: Collection[str]) -> Array:
        kept = (*self._keep, *keep)
        made = assemble(fold.model, fold.statistics, settings, kept, rounds_edges=self._rounds_edges)
        return fold.exact.energies(made.model)

    @cached_property
    def _folds(self) -> list[_Fold]:
        parted = folds(self.feeds)
        if not parted:
            return [_Fold(self.model, self.statistics, Exact(self.model, self.feeds))]
        most = _JUDGED_ON // len(parted)
        if not self._twins:
            seen_by_others = [together(without(self._parts, at)) for at in range(len(parted))]
            return [
                _Fold(self.model, others, Exact(self.model, held[:most]))
                for others, (_, held) in zip(seen_by_others, parted, strict=True)
            ]
        return [
            _Fold(twin, together(seen(twin, mine, self._keep)), Exact(twin, held[:most]))
            for twin, (mine, held) in zip(self._twins, parted, strict=True)
        ]

    @cached_property
    def _few(self) -> _Fold:
        first = self._folds[0]
        others = folds(self.feeds)[0][1] if len(self._folds) > 1 else self.feeds
        return _Fold(first.model, first.statistics, Exact(first.model, others[:_ASKED_ON]))


def fold_count(samples: int) -> int:
    """How many folds so many samples are parted into; 0 for too few."""
    return next((parts for least, parts in _FOLDS if samples >= least), 0)


def folds(feeds: Sequence[Feed]) -> list[tuple[list[Feed], list[Feed]]]:
    """For every fold the samples to find things on and those to judge them on; none of too few samples."""
    count = fold_count(len(feeds))
    return [
        ([feed for at, feed in enumerate(feeds) if at % count != fold], list(feeds[fold::count]))
        for fold in range(count)
    ]


def without(parts: Sequence[_T], fold: int) -> list[_T]:
    """All parts but one."""
    return [part for at, part in enumerate(parts) if at != fold]


def optimism_db(ways: Sequence[Sequence[Array]]) -> float:
    """How much more the best of some ways has on these samples than it is worth; 0 where that is unknown.

    Args:
        ways: the energies of each by fold, see :meth:`Judge.energies`.
    """

    def best(folds: Sequence[int]) -> Sequence[Array]:
        return max(ways, key=lambda way: _ratio(np.concatenate([way[fold] for fold in folds])))

    every = range(len(ways[0]))
    if len(ways) == 1 or len(every) == 1:
        return 0.0
    nested = [best([other for other in every if other != fold])[fold] for fold in every]
    chosen, worth = _ratio(np.concatenate(best(every))), _ratio(np.concatenate(nested))
    return 0.0 if math.isinf(chosen) or math.isinf(worth) else max(0.0, chosen - worth)


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
