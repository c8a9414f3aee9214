"""Patches are what convolutions read, and moments are sums over them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.factor import Factor
from tdedge.modules import FactorLayer
from tdedge.training.moments import Moments, patches, sampled


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_patches_times_kernel_are_the_layer(data, factors, inputs):
    """Over stride, asymmetric pads, dilation, groups and 0 to 3 axes."""
    factor = data.draw(factors(bias=False))
    x = torch.tensor(data.draw(inputs(factor)))
    y = FactorLayer(factor)(x).detach()
    rows = (y.movedim(1, -1) if factor.spatial_rank else y).reshape(-1, factor.out_channels)
    positions = torch.arange(len(rows)).flip(0)
    read = patches(factor, x, positions)
    kernel = torch.tensor(factor.kernel.reshape(factor.groups, -1, factor.kernel[0].size))
    computed = torch.einsum("ngw,gtw->ngt", read, kernel).reshape(len(rows), -1)
    assert torch.allclose(computed, rows[positions])


def test_moments_add_up_over_batches_and_chunks(monkeypatch):
    """Sums over two batches, in blocks of few rows, are those over all at once; centring is exact."""
    factor = Factor(np.zeros((6, 2, 3, 3), np.float32), stride=(2, 1), pads=((1, 1), (0, 2)), groups=2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, 7, 6, generator=generator)
    y = torch.randn(5, 6, 4, 6, generator=generator) + 3
    everything = patches(factor, x, torch.arange(5 * 4 * 6)).double()
    targets = y.movedim(1, -1).reshape(-1, 2, 3).double()
    monkeypatch.setattr("tdedge.training.moments._CHUNK", 2 * 18 * 7)
    moments = Moments.zeros(factor).add(factor, x[:2], y[:2])
    moments = moments.plus(Moments.zeros(factor).add(factor, x[2:], y[2:]))
    assert moments.count == 120
    a, b, c = moments.centred()
    left, right = everything - everything.mean(0), targets - targets.mean(0)
    assert torch.allclose(a, torch.einsum("ngv,ngw->gvw", left, left) / 120)
    assert torch.allclose(b, torch.einsum("ngt,ngw->gtw", right, left) / 120)
    assert torch.allclose(c, right.square().sum((0, 2)) / 120)
    assert torch.allclose(moments.raw()[0], torch.einsum("ngv,ngw->gvw", everything, everything) / 120)


def test_a_share_of_the_positions():
    assert sampled(10, 1.0, seed=0) is None
    half = sampled(1000, 0.5, seed=0)
    assert len(half) == len(set(half.tolist())) == 500
    assert torch.equal(half, half.sort().values)
    assert torch.equal(half, sampled(1000, 0.5, seed=0))
    assert not torch.equal(half, sampled(1000, 0.5, seed=1))
    assert float(half.double().mean()) == pytest.approx(500, abs=40)
