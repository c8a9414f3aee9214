"""What is tried on a task: every format, at ranks that make the network at least so many times cheaper.

Ranks are a share of the channel counts that a format's ranks stand for, the same share in every layer: the
largest at which the whole network costs the wanted times fewer multiply-accumulates and parameters than the
dense one. The share may pass 1, since CP takes ranks above the channel counts. Where a task names the ranks
of a paper, those are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tdedge import formats
from tdedge.compress import LayerSite, format_for
from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan, LayerRule

_SHARES = (0.01, 16.0)  # searched
_HALVINGS = 24


@dataclass(frozen=True)
class Case:
    """A format, and where its factors start.

    Attributes:
        format: name of the format.
        init: ``"decompose"``, from the dense weights; ``"scratch"``, from random ones, all layers.
    """

    format: str
    init: Literal["decompose", "scratch"] = "decompose"

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.format if self.init == "decompose" else f"{self.format}-scratch"


#: NTT and KCP are trained from scratch as in their papers; TT too, since NTT is compared with it.
CASES = (
    Case("svd"),
    Case("tucker"),
    Case("cp"),
    Case("tt"),
    Case("ht2"),
    Case("ntt", "scratch"),
    Case("kcp", "scratch"),
    Case("tt", "scratch"),
)


def choose(format_names: Sequence[str]) -> list[Case]:
    """The cases of these formats, all where there are none.

    Raises:
        UsageError: for a format that is in no case.
    """
    known = list(dict.fromkeys(case.format for case in CASES))
    for name in format_names:
        if name not in known:
            raise UsageError(f"unknown format {name!r}; expected one of {', '.join(known)}")
    return [case for case in CASES if case.format in format_names or not format_names]


def plan_for(
    case: Case,
    sites: Mapping[str, LayerSite],
    *,
    times: float,
    keep: Sequence[str] = (),
    published: Mapping[str, LayerRule] | None = None,
) -> CompressionPlan:
    """The plan of a case: published ranks where there are any, otherwise ranks by cost.

    Args:
        case: the format and its start.
        sites: the layers of the dense network.
        times: how many times fewer multiply-accumulates and parameters the network must have.
        keep: names or globs of layers that stay dense.
        published: layer -> rule of a paper.

    Raises:
        UsageError: when the network cannot become so cheap.
    """
    if published is not None and case.init == "decompose":
        return CompressionPlan(keep=tuple(keep), layers=dict(published))
    kept = CompressionPlan(keep=tuple(keep), default=LayerRule(format=case.format, ratio=1.0, init=case.init))
    names = [name for name, site in sites.items() if kept.rule_for(name) is not None and site.fixed is None]

    def plan_at(share: float) -> CompressionPlan:
        rules = {name: _rule(sites[name], case, share) for name in names}
        return CompressionPlan(keep=tuple(keep), layers=rules)

    low, high = _SHARES
    if not _is_cheap(plan_at(low), sites, times):
        raise UsageError(f"{case.format} cannot make the network {times:g} times cheaper; ask for less")
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _is_cheap(plan_at(middle), sites, times) else (low, middle)
    return plan_at(low)


def _rule(site: LayerSite, case: Case, share: float) -> LayerRule:
    name = format_for(case.format, site.factor)
    fmt = formats.get(name)
    pairs = zip(fmt.channel_ranks(site.factor), fmt.max_ranks(site.factor), strict=True)
    ranks = tuple(min(max(1, round(share * count)), most) for count, most in pairs)
    return LayerRule(format=name, ranks=ranks, init=case.init)


def _is_cheap(plan: CompressionPlan, sites: Mapping[str, LayerSite], times: float) -> bool:
    before = [0, 0]
    after = [0, 0]
    for name, site in sites.items():
        rule = plan.rule_for(name)
        part = site.factor
        costs = (part.params, sum(part.macs(shape) for shape in site.shapes))
        before = [total + cost for total, cost in zip(before, costs, strict=True)]
        if rule is not None and rule.ranks is not None:
            chain = formats.get(rule.format).scratch(part, rule.ranks, seed=0)
            costs = (chain.params, sum(chain.macs(shape) for shape in site.shapes))
        after = [total + cost for total, cost in zip(after, costs, strict=True)]
    return all(was >= times * now for was, now in zip(before, after, strict=True))
