"""The choices of a search: for every layer a format, and how much of the layer is kept in it.

The options of one layer in one format (:mod:`tdedge.ranks.options`), sorted by multiply-accumulates and with
the dense layer on top, are the rungs of a ladder. Two parameters per layer say which option is taken::

    format in {formats the layer can take}      only where there are several
    size   in {0, ..., S}                       rung = round(size (n - 1) / S) of a ladder of n rungs

S is the last rung of the layer's longest ladder, so every rung of every ladder can be reached. The size is a
whole number and not a category: a sampler then sees which options are neighbours.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdedge.compress import LayerSite, format_for
from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan
from tdedge.ranks.options import Option, layer_options, plan_of

if TYPE_CHECKING:
    from optuna import Trial

#: Multiply-accumulates of a layer as shares of its dense ones, in the uniform plans a search starts from.
UNIFORM = (0.5, 0.25, 0.125)

#: One option per layer.
Chosen = Mapping[str, Option]
Ladder = tuple[Option, ...]


@dataclass(frozen=True)
class Space:
    """What a search chooses from.

    Attributes:
        formats: formats that were asked for.
        sites: layers that have a choice, in the network's order.
        ladders: layer -> format -> rungs, the fewest multiply-accumulates first, dense last.
        rest: layers without a choice; they stay dense.
    """

    formats: tuple[str, ...]
    sites: Mapping[str, LayerSite]
    ladders: Mapping[str, Mapping[str, Ladder]]
    rest: Mapping[str, Option]

    @classmethod
    def of(cls, sites: Mapping[str, LayerSite], formats: Sequence[str], *, quantum: int = 1) -> Space:
        """The space of a network's layers.

        Args:
            sites: the dense layers by name.
            formats: formats to choose from.
            quantum: SIMD lanes of the target, to which ranks are aligned.

        Raises:
            UsageError: for an unknown format, none at all, or a network in which nothing can be chosen.
        """
        if not formats:
            raise UsageError("no format to search; name at least one, such as tucker")
        ladders: dict[str, Mapping[str, Ladder]] = {}
        rest = {}
        for name, site in sites.items():
            dense, *others = layer_options(site, formats, quantum=quantum)
            if not others:
                rest[name] = dense
                continue
            others.sort(key=lambda option: (option.macs, option.params))
            ladders[name] = {
                each: (*(option for option in others if option.format == each), dense)
                for each in dict.fromkeys(option.format for option in others)
            }
        if not ladders:
            raise UsageError(
                f"none of the network's {len(sites)} layers becomes smaller in {', '.join(formats)}; "
                "name other formats"
            )
        searched = {name: site for name, site in sites.items() if name in ladders}
        return cls(tuple(formats), searched, ladders, rest)

    @property
    def sha256(self) -> str:
        """Identity of the space: layers, formats, ranks and what they cost."""
        content = {
            layer: {name: [[*o.ranks, o.params, o.macs] for o in rungs] for name, rungs in ladder.items()}
            for layer, ladder in self.ladders.items()
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def suggest(self, trial: Trial) -> Chosen:
        """The options that an Optuna trial proposes."""
        chosen = {}
        for layer, ladder in self.ladders.items():
            name = next(iter(ladder))
            if len(ladder) > 1:
                name = trial.suggest_categorical(_format_key(layer), list(ladder))
            rungs, last = ladder[name], _last(ladder)
            size = trial.suggest_int(_size_key(layer), 0, last)
            chosen[layer] = rungs[round(size * (len(rungs) - 1) / last)]
        return chosen

    def parameters(self, chosen: Chosen) -> dict[str, Any]:
        """The parameters for which :meth:`suggest` gives ``chosen``."""
        values: dict[str, Any] = {}
        for layer, ladder in self.ladders.items():
            option = chosen[layer]
            name = next(iter(ladder)) if option.is_dense else option.format
            if len(ladder) > 1:
                values[_format_key(layer)] = name
            rungs = ladder[name]
            values[_size_key(layer)] = round(rungs.index(option) * _last(ladder) / (len(rungs) - 1))
        return values

    def plan(self, chosen: Chosen) -> CompressionPlan:
        """The compression plan of ``chosen``."""
        return plan_of(chosen)

    def cost(self, chosen: Chosen) -> tuple[int, int]:
        """Parameters and multiply-accumulates of all layers."""
        options = (*chosen.values(), *self.rest.values())
        return sum(option.params for option in options), sum(option.macs for option in options)

    def starts(self) -> list[Chosen]:
        """Where a search begins: dense, and every format at a uniform share of each layer's cost."""
        found: list[Chosen] = [{layer: _dense(ladder) for layer, ladder in self.ladders.items()}]
        for share in UNIFORM:
            for name in self.formats:
                chosen = {layer: self._at_share(layer, name, share) for layer in self.ladders}
                if chosen not in found:
                    found.append(chosen)
        return found

    def nearest(self, plan: CompressionPlan) -> Chosen:
        """The options nearest to a plan with explicit ranks.

        Raises:
            UsageError: where the plan does not say ranks, or has a format that is not searched.
        """
        plan.check_names([*self.ladders, *self.rest])
        return {layer: self._nearest(layer, plan) for layer in self.ladders}

    def _at_share(self, layer: str, name: str, share: float) -> Option:
        ladder = self.ladders[layer]
        rungs = ladder.get(format_for(name, self.sites[layer].factor)) or next(iter(ladder.values()))
        wanted = share * _dense(ladder).macs
        return min(rungs, key=lambda option: abs(math.log(max(option.macs, 1) / max(wanted, 1))))

    def _nearest(self, layer: str, plan: CompressionPlan) -> Option:
        ladder, rule = self.ladders[layer], plan.rule_for(layer)
        if rule is None:
            return _dense(ladder)
        if rule.ranks is None:
            raise UsageError(
                f"starting plan: layer {layer!r} has no explicit ranks; "
                "take a plan that tdedge compress --save-plan wrote"
            )
        rungs = ladder.get(format_for(rule.format, self.sites[layer].factor))
        if rungs is None:
            raise UsageError(
                f"starting plan: layer {layer!r} is {rule.format}, which is not searched there "
                f"({', '.join(ladder)}); add it to the formats"
            )
        ranks = rule.ranks
        return min(rungs[:-1], key=lambda option: _distance(option.ranks, ranks))


def _distance(found: Sequence[int], wanted: Sequence[int]) -> float:
    """Sum of the ranks' ratios, as logarithms; where the counts differ, of their smallest alone."""
    if len(found) != len(wanted):
        return abs(math.log(min(found) / min(wanted)))
    return sum(abs(math.log(a / b)) for a, b in zip(found, wanted, strict=True))


def _dense(ladder: Mapping[str, Ladder]) -> Option:
    return next(iter(ladder.values()))[-1]


def _last(ladder: Mapping[str, Ladder]) -> int:
    return max(len(rungs) for rungs in ladder.values()) - 1


def _format_key(layer: str) -> str:
    return f"{layer}.format"


def _size_key(layer: str) -> str:
    return f"{layer}.size"
