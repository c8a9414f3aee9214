"""Factor chains as torch modules, and dense torch layers as factors.

One module class serves Linear layers and 1-D, 2-D and 3-D convolutions; its state dict reads
``factors.0.weight``, ``factors.0.bias``, ... in the layouts torch's own layers use. Round trips
``ChainLayer.from_chain(chain).to_chain()`` are exact, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from tdedge.branches import add_branches
from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Array, Factor, Shape
from tdedge.formats import get

_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
)
_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
#: Dense layers that can become factors; subclasses may compute something else and are not meant.
DENSE_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class FactorLayer(nn.Module):
    """One factor: ``act(norm(W * x + b))``, on inputs (N, C_in, *spatial); Linear: (..., C_in).

    Attributes:
        weight: (C_out, C_in/groups, *k).
        bias: (C_out,) or None.
        norm: batch normalisation before the activation, used while training; None where there is none.
    """

    def __init__(self, factor: Factor, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(_tensor(factor.kernel))
        self.bias = None if factor.bias is None else nn.Parameter(_tensor(factor.bias))
        self.stride = factor.stride
        self.pads = factor.pads
        self.dilation = factor.dilation
        self.groups = factor.groups
        self.activation = factor.activation
        self.norm = _NORMS[factor.spatial_rank](factor.out_channels) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, *spatial) -> (N, C_out, *spatial')."""
        x = self._linear(x)
        if self.norm is not None:
            x = self._normalised(x, self.norm)
        return x if self.activation is None else _ACTIVATIONS[self.activation](x)

    def _linear(self, x: Tensor) -> Tensor:
        axes = len(self.stride)
        if axes == 0 and self.groups == 1:
            return functional.linear(x, self.weight, self.bias)
        if axes == 0:
            inputs, outputs = self.groups * self.weight.shape[1], self.weight.shape[0]
            columns = functional.conv1d(
                x.reshape(-1, inputs, 1), self.weight[:, :, None], self.bias, groups=self.groups
            )
            return columns.reshape(*x.shape[:-1], outputs)
        if all(begin == end for begin, end in self.pads):
            padding = tuple(begin for begin, _ in self.pads)
        else:
            x = functional.pad(x, [size for pair in reversed(self.pads) for size in pair])
            padding = (0,) * axes
        convolve = _CONVOLUTIONS[axes - 1]
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _normalised(self, x: Tensor, norm: nn.Module) -> Tensor:
        if self.stride or x.dim() == 2:
            normalised: Tensor = norm(x)
            return normalised
        rows: Tensor = norm(x.reshape(-1, x.shape[-1]))
        return rows.reshape(x.shape)

    def factor(self) -> Factor:
        """The factor this layer computes in evaluation mode, batch normalisation folded in."""
        kernel = _array(self.weight)
        bias = None if self.bias is None else _array(self.bias)
        if self.norm is not None:
            kernel, bias = _folded(kernel, bias, self.norm)
        return Factor(kernel, self.stride, self.pads, self.dilation, self.groups, bias, self.activation)

    def extra_repr(self) -> str:
        """Geometry, in the order of :class:`tdedge.factor.Factor`."""
        text = f"{tuple(self.weight.shape)}, stride={self.stride}, pads={self.pads}"
        text += f", dilation={self.dilation}, groups={self.groups}, bias={self.bias is not None}"
        return text if self.activation is None else f"{text}, activation={self.activation}"


class ChainLayer(nn.Module):
    """A factor chain, in place of one dense layer: inputs and outputs have the dense layer's shapes.

    Attributes:
        factors: one :class:`FactorLayer` per factor, in order.
        format: name of the decomposition, or "" where unknown.
    """

    def __init__(self, factors: Sequence[FactorLayer], format: str = "") -> None:
        super().__init__()
        self.factors = nn.ModuleList(factors)
        self.format = format

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, *spatial) -> (N, C_out, *spatial'); Linear: (..., C_in) -> (..., C_out)."""
        for factor in self.factors:
            x = factor(x)
        return x

    def extra_repr(self) -> str:
        """The format."""
        return f"format={self.format!r}"

    @classmethod
    def from_chain(cls, chain: Chain) -> ChainLayer:
        """The chain as a module whose parameters are copies of its kernels and biases."""
        return cls([FactorLayer(factor) for factor in chain], chain.format)

    def to_chain(self) -> Chain:
        """The chain this module computes in evaluation mode; batch normalisation is folded in.

        Kernels are copies, in the parameters' type (float32 for bfloat16, which numpy does not have).
        """
        layers = [layer for layer in self.factors if isinstance(layer, FactorLayer)]
        return Chain(tuple(layer.factor() for layer in layers), self.format)

    @classmethod
    def scratch(
        cls,
        format: str,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        ranks: Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        seed: int = 0,
        batch_norm: bool = False,
    ) -> ChainLayer:
        """A layer to be trained from scratch: the format's topology with random kernels, float32.

        Args:
            format: name of a format, such as ``"ntt"`` or ``"kcp"``.
            in_channels: C_in.
            out_channels: C_out.
            kernel_size: taps per spatial axis; its length, 0 (Linear) to 3, is the number of axes.
            ranks: as many as the format takes for such a layer; clamped to the full ranks.
            stride: as torch's layers.
            padding: as torch's layers, ``"same"`` and ``"valid"`` included.
            dilation: as torch's layers.
            groups: as torch's layers.
            bias: whether the last factor has a bias, which starts at zero.
            seed: of the random kernels.
            batch_norm: normalise before the activation of every activated link.

        Raises:
            UsageError: for an unknown format, wrong ranks or a geometry that does not fit.
        """
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise UsageError(
                f"groups {groups} must divide {in_channels} input and {out_channels} output channels"
            )
        taps = tuple(int(size) for size in kernel_size)
        steps, dilations = _per_axis(stride, taps), _per_axis(dilation, taps)
        dense = Factor(
            kernel=np.broadcast_to(np.float32(0), (out_channels, in_channels // groups, *taps)),
            stride=steps,
            pads=_pads("this layer", padding, taps, steps, dilations),
            dilation=dilations,
            groups=groups,
            bias=np.zeros(out_channels, np.float32) if bias else None,
        )
        chain = get(format).scratch(dense, ranks, seed=seed)
        if batch_norm and chain.is_linear:
            raise UsageError(f"batch_norm needs activated links and format {format!r} has none; use 'ntt'")
        last = len(chain) - 1
        layers = [
            FactorLayer(factor, batch_norm=batch_norm and factor.activation is not None and index != last)
            for index, factor in enumerate(chain)
        ]
        return cls(layers, chain.format)


class BranchLayer(nn.Module):
    """The sum of parallel chains that read one input (the multi-branch form of KCP).

    Attributes:
        branches: one :class:`ChainLayer` per branch.
    """

    def __init__(self, branches: Sequence[ChainLayer]) -> None:
        super().__init__()
        if not branches:
            raise UsageError("a sum of branches needs at least one branch")
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, *spatial) -> (N, C_out, *spatial')."""
        first, *others = self.branches
        total: Tensor = first(x)
        for branch in others:
            total = total + branch(x)
        return total

    def merge(self) -> ChainLayer:
        """One wider chain with equal outputs in evaluation mode; see :mod:`tdedge.branches`.

        Raises:
            NotExactError: when the branches cannot be one chain.
        """
        chains = [branch.to_chain() for branch in self.branches if isinstance(branch, ChainLayer)]
        parameter = next(self.parameters())
        merged = ChainLayer.from_chain(chains[0] if len(chains) == 1 else add_branches(chains))
        return merged.to(parameter.device, parameter.dtype).train(self.training)

    @classmethod
    def scratch(
        cls,
        format: str,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        ranks: Sequence[Sequence[int]],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        bias: bool = True,
        seed: int = 0,
    ) -> BranchLayer:
        """Branches to be trained from scratch, one per entry of ``ranks``; otherwise as :class:`ChainLayer`.

        The branches' kernels are scaled so that their sum has the variance of one chain; only the first
        has a bias.

        Raises:
            UsageError: as :meth:`ChainLayer.scratch`, or when ``ranks`` is empty.
        """
        seeds = np.random.SeedSequence(seed).generate_state(max(len(ranks), 1))
        branches = []
        for index, own in enumerate(ranks):
            branch = ChainLayer.scratch(
                format, in_channels, out_channels, kernel_size, own, stride=stride, padding=padding,
                dilation=dilation, bias=bias and index == 0, seed=int(seeds[index]),
            )  # fmt: skip
            last = branch.to_chain().factors[-1]
            kernel = last.kernel / np.sqrt(len(ranks), dtype=last.kernel.dtype)
            branch.factors[-1] = FactorLayer(replace(last, kernel=kernel))
            branches.append(branch)
        return cls(branches)


def factor_of(layer: nn.Module) -> Factor:
    """A dense torch layer (Linear, Conv1d, Conv2d, Conv3d) as a factor that holds copies of its weights.

    Half-precision weights are given as float32.

    Raises:
        UsageError: for any other type, subclasses included, and for padding that is not with zeros.
    """
    name = type(layer).__name__
    if type(layer) not in DENSE_LAYERS:
        raise UsageError(f"{name} is no plain Linear, Conv1d, Conv2d or Conv3d layer; keep it")
    mode = getattr(layer, "padding_mode", "zeros")
    if mode != "zeros":
        raise UsageError(f"{name} pads with padding_mode {mode!r}, factors pad with zeros; keep this layer")
    return geometry_of(layer)


def geometry_of(layer: nn.Module) -> Factor:
    """As :func:`factor_of` without its refusals: shapes, parameters and MACs are right for subclasses too."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    kernel = _array(weight)
    own_bias = _array(bias) if isinstance(bias, Tensor) else None
    if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return Factor(kernel, bias=own_bias)
    taps = kernel.shape[2:]
    steps, dilations = _per_axis(layer.stride, taps), _per_axis(layer.dilation, taps)
    pads = _pads(type(layer).__name__, layer.padding, taps, steps, dilations)
    return Factor(kernel, steps, pads, dilations, layer.groups, own_bias)


def _pads(
    name: str, padding: int | str | Sequence[int], taps: Shape, stride: Shape, dilation: Shape
) -> tuple[tuple[int, int], ...]:
    """(begin, end) per axis; ``"same"`` puts the odd zero at the end, as torch does."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise UsageError(f"padding {padding!r} of {name}; expected integers, 'same' or 'valid'")
        if padding == "same" and any(step != 1 for step in stride):
            raise UsageError(f"padding 'same' of {name} needs stride 1, not {stride}; give integers")
        totals = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, taps, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((size, size) for size in _per_axis(padding, taps))


def _per_axis(value: int | Sequence[int], taps: Shape) -> Shape:
    if isinstance(value, int):
        return (value,) * len(taps)
    if len(value) != len(taps):
        raise UsageError(f"{tuple(value)} has {len(value)} entries; expected one per spatial axis of {taps}")
    return tuple(int(size) for size in value)


def _folded(kernel: Array, bias: Array | None, norm: nn.Module) -> tuple[Array, Array]:
    """Kernel and bias with ``y = gamma (x - mean) / sqrt(var + eps) + beta`` folded in, in float64."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gamma, beta, mean, variance = (
        _array(tensor).astype(np.float64)
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = gamma / np.sqrt(variance + norm.eps)
    shifted = ((0.0 if bias is None else bias.astype(np.float64)) - mean) * scale + beta
    scaled = kernel.astype(np.float64) * scale.reshape(-1, *(1,) * (kernel.ndim - 1))
    return scaled.astype(kernel.dtype), shifted.astype(kernel.dtype)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, order="C", copy=True))


def _array(tensor: Tensor) -> Array:
    held = tensor.detach().cpu()
    if held.dtype in (torch.float16, torch.bfloat16):
        held = held.float()
    array: Array = held.numpy().copy()
    return array
