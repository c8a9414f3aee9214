"""Ratio rule: ranks as a share of the layer's channels, ``ceil(ratio * channels)``.

Which channel count a rank refers to is the format's own choice (``channel_ranks``).
"""

from __future__ import annotations

import math

from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.formats import Format

_ROUNDING = 1e-9  # 0.07 * 100 is 7.000000000000001 and must give 7


def choose(dense: Factor, fmt: Format, ratio: float) -> tuple[int, ...]:
    """Ranks of ``fmt`` for one layer; ``ratio`` in (0, 1].

    Raises:
        UsageError: when ``ratio`` is not in (0, 1].
    """
    if not 0 < ratio <= 1:
        raise UsageError(f"rank ratio {ratio} must be above 0 and at most 1 (0.5 keeps half the channels)")
    return tuple(max(1, math.ceil(ratio * count - _ROUNDING)) for count in fmt.channel_ranks(dense))
