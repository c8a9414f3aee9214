"""NTT, nonlinear tensor train: the chain of :mod:`tdedge.formats.tt` with ReLU on every inner link.

pw -> ReLU -> (kh,1) -> ReLU -> (1,kw) -> ReLU -> pw, and the same with one axis more (3-D), one less (1-D)
or none (Linear: ``S -> r1 -> ReLU -> T``). Bias and the layer's own activation stay on the last factor.

The chain is **not** an approximation of the dense layer at any rank, and has no dense kernel: the inner
activations make it another function. :func:`decompose` gives the kernels of the TT-SVD as a starting point
for training, :func:`scratch` random ones. Ranks and parameters are those of the train.

Source: Wang et al. 2021, Neural Networks 144:320-333. Its full text was not available to us: this is our
construction, consistent with its abstract.
"""

from __future__ import annotations

from collections.abc import Sequence

from tdedge.chain import Chain
from tdedge.factor import Array, Factor
from tdedge.formats import tt
from tdedge.formats.topology import initialised

NAME = "ntt"
_ACTIVATION = "relu"


def max_ranks(dense: Factor) -> tuple[int, ...]:
    """Those of the train."""
    return tt.max_ranks(dense)


def channel_ranks(dense: Factor) -> tuple[int, ...]:
    """Those of the train."""
    return tt.channel_ranks(dense)


def unfoldings(dense: Factor) -> list[Array]:
    """Those of the train."""
    return tt.unfoldings(dense)


def decompose(dense: Factor, ranks: Sequence[int]) -> Chain:
    """The train's kernels with activated links: a starting point for training, no approximation.

    Raises:
        UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
    """
    return tt.fitted(NAME, dense, tt.steps(NAME, dense, ranks, _ACTIVATION))


def scratch(dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
    """The same chain with random kernels, see :func:`tdedge.formats.topology.initialised`."""
    return initialised(NAME, dense_like, tt.steps(NAME, dense_like, ranks, _ACTIVATION), seed)
