"""Formats: how a dense kernel becomes a factor chain, one module per format.

Every module has the functions of :class:`Format`. T and S stand for the output and input channels of one
group, k for the kernel's taps, L for their product. All formats take 1-D, 2-D and 3-D convolutions and Linear
layers, grouped or not; ranks are those of one group.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Array, Factor
from tdedge.formats import cp, ht2, kcp, ntt, spatial_svd, svd, tt, tucker, tucker1


class Format(Protocol):
    """What the rest of the project asks of a format; the modules of this package are the formats."""

    NAME: str

    def max_ranks(self, dense: Factor) -> tuple[int, ...]:
        """Full ranks, one per rank the format takes for this layer."""
        ...

    def channel_ranks(self, dense: Factor) -> tuple[int, ...]:
        """What a rank ratio multiplies, one per rank."""
        ...

    def unfoldings(self, dense: Factor) -> list[Array]:
        """One float64 matrix per rank, whose singular values the rank rules read.

        For a grouped layer, those of the group with the largest Frobenius norm; the rank rules go through
        the groups one by one instead.
        """
        ...

    def decompose(self, dense: Factor, ranks: Sequence[int]) -> Chain:
        """The chain that approximates ``dense`` at these ranks, clamped to the full ones.

        Raises:
            UsageError: for a wrong number of ranks, one below 1, or weights that are not finite.
        """
        ...

    def scratch(self, dense_like: Factor, ranks: Sequence[int], *, seed: int) -> Chain:
        """The same topology with random kernels; of ``dense_like`` only shapes, types and geometry count."""
        ...


#: Every format by name, simplest first.
FORMATS: dict[str, Format] = {
    "svd": svd,
    "spatial_svd": spatial_svd,
    "tucker1": tucker1,
    "tucker": tucker,
    "cp": cp,
    "tt": tt,
    "ht2": ht2,
    "ntt": ntt,
    "kcp": kcp,
}


def get(name: str) -> Format:
    """The format called ``name``.

    Raises:
        UsageError: listing the names, with the nearest one.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), FORMATS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"unknown format {name!r}{hint} (formats: {', '.join(FORMATS)})")
