import numpy as np
import pytest

from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.formats.topology import (
    Step,
    channels,
    checked_ranks,
    decomposed,
    group_kernels,
    initialised,
    strongest_group,
)

DENSE = Factor(np.random.default_rng(0).normal(size=(6, 2, 3)), stride=(2,), groups=2, bias=np.ones(6))


def test_channels_and_kernels_are_those_of_one_group():
    assert channels(DENSE) == (2, 3)
    assert [kernel.shape for kernel in group_kernels(DENSE.astype(np.float32))] == [(3, 2, 3)] * 2
    assert group_kernels(DENSE.astype(np.float32))[0].dtype == np.float64


def test_the_strongest_group_has_the_largest_norm():
    kernel = np.ones((6, 2, 3))
    kernel[3:] = 2
    np.testing.assert_array_equal(strongest_group(Factor(kernel, groups=2)), kernel[3:])


def test_ranks_are_clamped_and_checked():
    assert checked_ranks("tucker", (9, 1), (4, 5)) == (4, 1)
    with pytest.raises(UsageError, match=r"tucker takes 2 rank\(s\)"):
        checked_ranks("tucker", (9,), (4, 5))
    with pytest.raises(UsageError, match="positive"):
        checked_ranks("tucker", (9, -1), (4, 5))


def test_kernels_are_stacked_and_groups_multiplied():
    steps = [Step(2, 4), Step(4, 4, (0,), depthwise=True, activation="relu"), Step(4, 3)]
    parts = [np.ones((4, 2)), np.ones((4, 1, 3)), np.ones((3, 4))]
    chain = decomposed("name", DENSE, steps, lambda kernel: [part * kernel[0, 0, 0] for part in parts])
    assert [factor.kernel.shape for factor in chain] == [(8, 2, 1), (8, 1, 3), (6, 4, 1)]
    assert [factor.groups for factor in chain] == [2, 8, 2]
    assert [factor.stride for factor in chain] == [(1,), (2,), (1,)]
    assert [factor.activation for factor in chain] == [None, "relu", None]
    np.testing.assert_array_equal(chain.factors[1].kernel[4:, 0, 0], np.full(4, DENSE.kernel[3, 0, 0]))


def test_initial_variances_follow_the_fan_in():
    dense = Factor(np.zeros((400, 300, 3)))
    steps = [Step(300, 200), Step(200, 200, (0,), activation="relu"), Step(200, 400)]
    first, inner, last = (factor.kernel.var() for factor in initialised("name", dense, steps, 0))
    assert first == pytest.approx(1 / 300, rel=0.05)
    assert inner == pytest.approx(2 / 600, rel=0.05)
    assert last == pytest.approx(2 / 200, rel=0.05)
