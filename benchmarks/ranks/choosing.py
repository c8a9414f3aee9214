"""Three ways to choose ranks of one trained network, from the same losses, at several budgets.

time      the least loss within a share of the measured time, ranks in whole vectors
macs      the least loss within a share of the multiply-accumulates, ranks as they fall
uniform   one share of the channels in every layer, Tucker
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from benchmarks.ranks.networks import Network
from tdedge.compress import LayerSite
from tdedge.plan import CompressionPlan, LayerRule
from tdedge.ranks import budget, options
from tdedge.ranks.budget import Menu
from tdedge.ranks.sensitivity import SquaredError, gain_scales, option_errors, scaled
from tdedge_exporters.budgeting import DenseNetwork, TargetTimes, menu_of

FORMATS = ("tucker", "tt")
WAYS = ("time", "macs", "uniform")
#: Finer than the default: multiply-accumulates alone would choose any rank.
LADDER = (0.75, 0.6, 0.5, 0.4, 0.33, 0.25, 0.2, 0.15, 0.1, 0.06)


def plans(
    dense: DenseNetwork, network: Network, error: SquaredError, times: TargetTimes
) -> dict[str, list[CompressionPlan]]:
    """Way -> a plan per budget, largest first."""
    keep, budgets = network.keep, network.budgets
    sites = {name: site for name, site in dense.sites.items() if not _kept(name, keep)}
    return {
        "time": _within(_by_time(dense, sites, error, times), budgets["time"]),
        "macs": _within(_by_macs(dense, sites, error), budgets["macs"]),
        "uniform": [
            CompressionPlan(keep=tuple(keep), default=LayerRule(format="tucker", ratio=share))
            for share in budgets["uniform"]
        ],
    }


def _by_time(
    dense: DenseNetwork, sites: Mapping[str, LayerSite], error: SquaredError, times: TargetTimes
) -> Menu:
    own = replace(dense, sites=sites)
    offered, costs, rest = menu_of(own, FORMATS, "latency", times, ladder=LADDER)
    return Menu(offered, costs, _losses(sites, offered, error), rest)


def _by_macs(dense: DenseNetwork, sites: Mapping[str, LayerSite], error: SquaredError) -> Menu:
    offered = {name: options.layer_options(site, FORMATS, ladder=LADDER) for name, site in sites.items()}
    costs = budget.counted_costs(offered, "macs")
    everything = sum(site.factor.macs(shape) for site in dense.sites.values() for shape in site.shapes)
    rest = everything - sum(row[0] for row in costs.values())
    return Menu(offered, costs, _losses(sites, offered, error), rest, "MACs")


def _losses(
    sites: Mapping[str, LayerSite], offered: Mapping[str, Sequence[options.Option]], error: SquaredError
) -> dict[str, list[float]]:
    return scaled(option_errors(sites, offered, error), gain_scales(sites))


def _within(menu: Menu, shares: Sequence[float]) -> list[CompressionPlan]:
    """The plans of the shares; that of the least share in the place of those that cannot be reached."""
    least = (menu.rest + sum(min(row) for row in menu.costs.values())) / menu.dense
    reached = dict.fromkeys(max(share, least * (1 + 1e-9)) for share in shares)
    return [budget.choose(menu, share).plan for share in reached]


def _kept(name: str, keep: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in keep)
