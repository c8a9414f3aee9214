"""A sampler whose proposals depend on the seed, the trial's number and the finished trials, and nothing else.

Optuna's own samplers go on with one stream of random numbers, so that two processes with one seed propose the
same, and a search that was interrupted proposes otherwise than one that was not. Here every trial gets a
sampler of its own, seeded by ``(seed, number)``.

Proposals come from the multi-objective tree-structured Parzen estimator: Ozaki, Tanigaki, Watanabe, Nomura,
Onishi 2022, J. Artif. Intell. Res. 73; trials that others are at work on count as bad ones, so that several
processes do not try the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class SeededByNumber(BaseSampler):
    """The Parzen estimator, seeded anew for every trial.

    Args:
        seed: of the whole search.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._inner = _estimator(seed, 0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See Optuna."""
        self._inner = _estimator(self._seed, trial.number)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See Optuna."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See Optuna."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """See Optuna."""
        self._inner.after_trial(study, trial, state, values)


def _estimator(seed: int, number: int) -> TPESampler:
    own = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    return TPESampler(seed=own, multivariate=True, constant_liar=True)
