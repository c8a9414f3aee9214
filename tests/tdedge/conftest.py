"""Random layers and PyTorch as the judge of what a factor computes."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tdedge.chain import Chain
from tdedge.factor import Factor


def _conv(torch: ModuleType, factor: Factor, x: Any) -> Any:
    """One factor in PyTorch, in the type of ``x``, (begin, end) padding made explicit."""
    kernel = torch.tensor(factor.kernel, dtype=x.dtype)
    bias = None if factor.bias is None else torch.tensor(factor.bias, dtype=x.dtype)
    if factor.spatial_rank == 0:
        blocks = zip(x.chunk(factor.groups, -1), kernel.chunk(factor.groups), strict=True)
        y = torch.cat([part @ block.T for part, block in blocks], -1) + (0 if bias is None else bias)
    else:
        padded = torch.nn.functional.pad(x, [n for pair in reversed(factor.pads) for n in pair])
        convolve = getattr(torch, f"conv{factor.spatial_rank}d")
        y = convolve(padded, kernel, bias, factor.stride, 0, factor.dilation, factor.groups)
    return y if factor.activation is None else getattr(torch.nn.functional, factor.activation)(y)


@pytest.fixture(scope="session")
def torch_run() -> Callable[[Factor | Chain, np.ndarray], np.ndarray]:
    """``run(factor or chain, x)``: factor by factor in PyTorch, in the type of x."""
    import torch

    torch.set_num_threads(1)

    def run(model: Factor | Chain, x: np.ndarray) -> np.ndarray:
        y = torch.tensor(x)
        for factor in model if isinstance(model, Chain) else (model,):
            y = _conv(torch, factor, y)
        return y.numpy()

    return run


@st.composite
def _factors(draw, rank=None, channels_in=None, groups=None, max_channels=4, activation=None, bias=None):
    rank = draw(st.integers(0, 3)) if rank is None else rank
    groups = draw(st.sampled_from((1, 1, 2, 3))) if groups is None else groups
    inputs = draw(st.integers(1, max_channels)) if channels_in is None else channels_in // groups
    outputs = draw(st.integers(1, max_channels))
    axes = [st.integers(1, 3)] * rank
    kernel_size = draw(st.tuples(*axes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with_bias = draw(st.booleans()) if bias is None else bias
    return Factor(
        kernel=rng.normal(size=(groups * outputs, inputs, *kernel_size)),
        stride=draw(st.tuples(*axes)),
        pads=draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * rank)),
        dilation=draw(st.tuples(*[st.integers(1, 2)] * rank)),
        groups=groups,
        bias=rng.normal(size=groups * outputs) if with_bias else None,
        activation=None if activation is None else draw(activation),
    )


@pytest.fixture(scope="session")
def factors() -> Callable[..., st.SearchStrategy[Factor]]:
    """Strategy of float64 factors over stride, asymmetric pads, dilation, groups and bias."""
    return _factors


@pytest.fixture(scope="session")
def inputs() -> Callable[..., st.SearchStrategy[np.ndarray]]:
    """Strategy of float64 inputs that fit a factor or chain, of batch 1 or 2."""

    @st.composite
    def fitting(draw, model: Factor | Chain) -> np.ndarray:
        chain = model if isinstance(model, Chain) else Chain((model,))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        batch = draw(st.integers(1, 2))
        rank = chain.factors[0].spatial_rank
        needed = [1] * rank
        for factor in reversed(chain.factors):
            geometry = zip(
                needed, factor.stride, factor.dilation, factor.kernel_size, factor.pads, strict=True
            )
            needed = [max(1, s * (n - 1) + d * (k - 1) + 1 - sum(p)) for n, s, d, k, p in geometry]
        spatial = [n + draw(st.integers(0, 4)) for n in needed]
        return rng.normal(size=(batch, chain.in_channels, *spatial))

    return fitting
