"""What one layer may become: formats at a ladder of aligned ranks, or dense.

The ladder holds shares of the full channel counts, aligned to the target's lanes. Ranks that come out equal
count once; what has neither fewer parameters nor fewer multiply-accumulates than the dense layer is left out.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tdedge import formats
from tdedge.chain import Chain
from tdedge.compress import LayerSite, format_for
from tdedge.factor import Factor, Shape
from tdedge.plan import CompressionPlan, LayerRule
from tdedge.ranks import ratio
from tdedge.ranks.align import align

#: Shares of the channels that a rank refers to, largest first.
LADDER = (0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625)
#: The format of an option that leaves the layer as it is.
DENSE = "dense"


@dataclass(frozen=True)
class Option:
    """One way to store a layer.

    Attributes:
        format: name of a format, or :data:`DENSE`.
        ranks: those of one group; empty for a dense layer.
        params: parameters of the layer then.
        macs: multiply-accumulates of all its calls then.
    """

    format: str
    ranks: Shape
    params: int
    macs: int

    @property
    def is_dense(self) -> bool:
        """Whether the layer stays as it is."""
        return self.format == DENSE

    def rule(self) -> LayerRule | None:
        """As a rule of a compression plan; None where the layer stays dense."""
        return None if self.is_dense else LayerRule(format=self.format, ranks=self.ranks)

    def __str__(self) -> str:
        return self.format if self.is_dense else f"{self.format} {','.join(map(str, self.ranks))}"


def layer_options(
    site: LayerSite, format_names: Sequence[str], *, quantum: int = 1, ladder: Sequence[float] = LADDER
) -> list[Option]:
    """Every option of a layer, dense first; only that one where it cannot be replaced.

    Args:
        site: the layer and the shapes it is called with.
        format_names: formats to try; on a layer without taps the linear ones are the truncated SVD.
        quantum: SIMD lanes of the target, to which ranks are aligned.
        ladder: shares of the channels, in (0, 1].

    Raises:
        UsageError: for an unknown format or a share out of range.
    """
    factor = site.factor
    found = [Option(DENSE, (), *_size(factor, site))]
    if site.fixed is not None or (factor.groups > 1 and factor.kernel.shape[1] == 1):
        return found
    for name in dict.fromkeys(format_for(each, factor) for each in format_names):
        fmt = formats.get(name)
        most = fmt.max_ranks(factor)
        for share in ladder:
            ranks = align(clamped(ratio.choose(factor, fmt, share), most), most, quantum)
            size = _size(skeleton(factor, name, ranks), site)
            option = Option(name, ranks, *size)
            if option not in found and (size[0] < found[0].params or size[1] < found[0].macs):
                found.append(option)
    return found


def plan_of(chosen: Mapping[str, Option]) -> CompressionPlan:
    """A compression plan of one option per layer; layers that stay dense have no rule."""
    rules = {glob.escape(name): option.rule() for name, option in chosen.items()}
    return CompressionPlan(layers={name: rule for name, rule in rules.items() if rule is not None})


def clamped(ranks: Sequence[int], most: Sequence[int]) -> tuple[int, ...]:
    """Ranks at most the full ones."""
    return tuple(min(pair) for pair in zip(ranks, most, strict=True))


def skeleton(factor: Factor, name: str, ranks: Sequence[int]) -> Chain:
    """The chain of a format at these ranks, its kernels random: for sizes and times only."""
    return formats.get(name).scratch(factor, ranks, seed=0)


def _size(part: Factor | Chain, site: LayerSite) -> tuple[int, int]:
    return part.params - site.shared_params, sum(part.macs(shape) for shape in site.shapes)
