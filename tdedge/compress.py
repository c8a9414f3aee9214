"""Compression: a plan applied to the dense layers of a network, however the network is stored.

:func:`decompose_layers` needs numpy only and serves torch modules and ONNX graphs alike;
:func:`compress` applies it to a torch module in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tdedge import formats
from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Factor, Shape
from tdedge.plan import CompressionPlan, LayerRule
from tdedge.progress import SILENT, Progress, track
from tdedge.ranks import energy, evbmf, ratio

if TYPE_CHECKING:
    import torch

#: Formats that are a truncated SVD where there are no taps to decompose; activated ones are not.
_SVD_WITHOUT_TAPS = ("spatial_svd", "tucker1", "tucker", "cp", "tt", "ht2", "kcp")


@dataclass(frozen=True)
class LayerSite:
    """One dense layer of a network.

    Attributes:
        factor: its kernel, bias and geometry.
        input_shape: (N, C_in, *spatial), or (..., C_in) for a Linear layer; None where the network never
            calls the layer by itself, which then counts no MACs.
        more_shapes: input shapes of further calls in the same forward pass.
        fixed: why this layer cannot be replaced; None where it can.
        shared_params: how many of its parameters another layer in front of it already counts.
    """

    factor: Factor
    input_shape: Shape | None
    more_shapes: tuple[Shape, ...] = ()
    fixed: str | None = None
    shared_params: int = 0

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Input shape of every call."""
        return () if self.input_shape is None else (self.input_shape, *self.more_shapes)


@dataclass(frozen=True)
class Cost:
    """Parameters, and MACs and FLOPs of one forward pass of the whole example input."""

    params: int
    macs: int
    flops: int

    @classmethod
    def of(cls, part: Factor | Chain, site: LayerSite) -> Cost:
        """Cost of a factor or chain at the place of ``site``, over all its calls."""
        return cls(
            part.params - site.shared_params,
            sum(part.macs(shape) for shape in site.shapes),
            sum(part.flops(shape) for shape in site.shapes),
        )


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    Attributes:
        format: of the chain; None where the layer was kept.
        ranks: as the format takes them (those of one group); None where the layer was kept.
        relative_error: ``|W - reconstructed| / |W|`` of the kernel (Frobenius); None for a kept layer and
            for a chain that does not approximate the dense layer, see ``reason``.
        reason: why the layer was kept, why another format than the plan's was taken, or why there is no
            error; empty otherwise.
        init: ``"scratch"`` where the chain starts from random kernels.
    """

    name: str
    status: Literal["decomposed", "kept"]
    format: str | None
    ranks: Shape | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    flops_before: int
    flops_after: int
    relative_error: float | None
    reason: str = ""
    init: Literal["decompose", "scratch"] = "decompose"


@dataclass(frozen=True)
class CompressionReport:
    """Every Conv and Linear layer of the network, in its order."""

    rows: tuple[LayerReport, ...]

    @property
    def totals(self) -> dict[str, int]:
        """Sums over all rows: ``params``, ``macs`` and ``flops``, each ``_before`` and ``_after``."""
        keys = [f"{figure}_{when}" for figure in ("params", "macs", "flops") for when in ("before", "after")]
        return {key: sum(getattr(row, key) for row in self.rows) for key in keys}

    @property
    def ratios(self) -> dict[str, float]:
        """Before over after: ``params``, ``macs`` and ``flops``; 1 where both are zero."""
        sums = self.totals
        return {
            figure: sums[f"{figure}_before"] / sums[f"{figure}_after"] if sums[f"{figure}_after"] else 1.0
            for figure in ("params", "macs", "flops")
        }

    def to_json(self) -> dict[str, Any]:
        """Rows, totals and ratios, as JSON."""
        rows = [{**asdict(row), "ranks": list(row.ranks) if row.ranks else None} for row in self.rows]
        return {"rows": rows, "totals": self.totals, "ratios": self.ratios}


@dataclass(frozen=True)
class Decomposition:
    """Chains of the layers that were decomposed, and the report on all."""

    chains: dict[str, Chain]
    report: CompressionReport


def decompose_layers(
    sites: Mapping[str, LayerSite], plan: CompressionPlan, progress: Progress = SILENT
) -> Decomposition:
    """Decompose the layers a plan names.

    A layer stays dense where the plan has no rule for it, where it cannot be replaced, where the default
    rule meets a depthwise convolution, and where its chain would have neither fewer parameters nor fewer
    MACs, unless the plan gives its ranks by name. Where there are no taps to decompose (1x1 and Linear
    layers), the linear formats give way to ``svd`` at the same rule, of which they are special cases.

    Raises:
        UsageError: when a key of the plan matches no layer, or ranks do not fit a layer; names the layer.
    """
    plan.check_names(sites.keys())
    if not sites:
        raise UsageError("the network has no convolution and no Linear layer to decompose")
    chains: dict[str, Chain] = {}
    rows = []
    items = [(name, (name, site)) for name, site in sites.items()]
    for name, site in track(items, progress, "Decompose", len(items)):
        try:
            chain, row = _decompose(name, site, plan)
        except UsageError as error:
            raise UsageError(f"layer {name!r}: {error.message}") from error
        if chain is not None:
            chains[name] = chain
        rows.append(row)
    return Decomposition(chains, CompressionReport(tuple(rows)))


def compress(
    module: torch.nn.Module,
    plan: CompressionPlan,
    *,
    example: Sequence[torch.Tensor] | torch.Tensor,
    progress: Progress = SILENT,
) -> CompressionReport:
    """Replace Conv1d, Conv2d, Conv3d and Linear layers of ``module`` by factor chains, in place.

    One forward pass on ``example`` records every layer's input shape; a second one proves that the
    compressed network still runs, and takes everything back where it does not. MACs and FLOPs are those of
    the whole example, batch included. Left alone, with the reason in the report: subclasses, layers that
    are shared, hooked, parametrised or never called, and padding that is not with zeros.

    Raises:
        UsageError: when the network does not run on ``example``, before or after, or the plan does not fit.
    """
    from tdedge import torch_layers

    inputs = torch_layers.as_inputs(example)
    layers = torch_layers.find(module, inputs)
    done = decompose_layers({name: layer.site for name, layer in layers.items()}, plan, progress)
    torch_layers.replace(module, layers, done.chains, inputs)
    return done.report


def _decompose(name: str, site: LayerSite, plan: CompressionPlan) -> tuple[Chain | None, LayerReport]:
    before = Cost.of(site.factor, site)
    rule = plan.rule_for(name)
    if rule is None:
        return None, _kept(name, before, "the plan keeps it")
    is_default = rule is plan.default
    if site.fixed is not None:
        return None, _kept(name, before, site.fixed)
    if is_default and site.factor.groups > 1 and site.factor.kernel.shape[1] == 1:
        return None, _kept(name, before, "depthwise: one input channel per group, no channels to decompose")
    rule, note = _fitting(rule, site.factor, is_default)
    chain, ranks = _chain(site.factor, rule)
    after = Cost.of(chain, site)
    named_ranks = rule.ranks is not None and not is_default
    if after.params >= before.params and after.macs >= before.macs and not named_ranks:
        shown = ",".join(map(str, ranks))
        reason = f"{rule.format} at ranks {shown} would have neither fewer parameters nor fewer MACs"
        return None, _kept(name, before, reason)
    error = None
    if rule.init == "scratch":
        note = "starts from random kernels, to be trained"
    elif not chain.is_linear:
        note = "activated links: no approximation of the dense layer, to be trained"
    else:
        error = chain.relative_error(site.factor)
    return chain, LayerReport(
        name, "decomposed", rule.format, ranks, before.params, after.params, before.macs, after.macs,
        before.flops, after.flops, error, note, rule.init,
    )  # fmt: skip


def _kept(name: str, cost: Cost, reason: str) -> LayerReport:
    return LayerReport(
        name, "kept", None, None, cost.params, cost.params, cost.macs, cost.macs, cost.flops, cost.flops,
        None, reason,
    )  # fmt: skip


def format_for(name: str, dense: Factor) -> str:
    """The format a layer gets where ``name`` is asked for: ``svd`` where there are no taps to decompose."""
    has_taps = any(size > 1 for size in dense.kernel_size)
    return name if has_taps or name not in _SVD_WITHOUT_TAPS else "svd"


def _fitting(rule: LayerRule, dense: Factor, is_default: bool) -> tuple[LayerRule, str]:
    """The rule, or its ``svd`` counterpart for a layer without taps; and a note that says so."""
    if rule.init == "scratch" or format_for(rule.format, dense) == rule.format:
        return rule, ""
    ranks = rule.ranks
    if ranks is not None:
        if not is_default or len(ranks) == len(formats.get(rule.format).max_ranks(dense)):
            return rule, ""
        ranks = (min(ranks),)
    note = f"svd in place of {rule.format}: there are no taps to decompose"
    return rule.model_copy(update={"format": "svd", "ranks": ranks}), note


def _chain(dense: Factor, rule: LayerRule) -> tuple[Chain, Shape]:
    fmt = formats.get(rule.format)
    if rule.ranks is not None:
        wanted: Sequence[int] = rule.ranks
    elif rule.energy is not None:
        wanted = energy.choose(dense, fmt, rule.energy)
    elif rule.ratio is not None:
        wanted = ratio.choose(dense, fmt, rule.ratio)
    else:
        wanted = evbmf.choose(dense, fmt)
    chain = fmt.scratch(dense, wanted, seed=0) if rule.init == "scratch" else fmt.decompose(dense, wanted)
    return chain, tuple(min(pair) for pair in zip(wanted, fmt.max_ranks(dense), strict=True))
