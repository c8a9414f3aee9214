"""Groups written as zeros, and zeros read as groups."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.factor import Factor
from tdedge_exporters.planner.grouping import dense, grouped


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_a_grouped_kernel_comes_back_from_its_dense_form(groups, out, into, taps, seed):
    rng = np.random.default_rng(seed)
    kernel = rng.uniform(0.5, 1, (groups * out, into, taps, taps))
    factor = Factor(kernel, groups=groups, stride=(2, 1), bias=rng.standard_normal(groups * out))
    wide = dense(factor)
    assert (wide.groups, wide.in_channels, wide.out_channels) == (1, groups * into, groups * out)
    assert np.count_nonzero(wide.kernel) == kernel.size
    again = grouped(wide)
    if groups == 1:
        assert again is None
    else:
        assert again is not None and again.groups == groups
        np.testing.assert_array_equal(again.kernel, kernel)
        assert again.stride == (2, 1)
        np.testing.assert_array_equal(again.bias, wide.bias)


def test_one_element_outside_the_blocks_keeps_them_together():
    kernel = np.zeros((4, 4, 3, 3))
    kernel[np.arange(4), np.arange(4)] = 1.0
    found = grouped(Factor(kernel))
    assert found is not None and found.is_depthwise
    kernel[0, 1, 2, 2] = 1e-30
    found = grouped(Factor(kernel))
    assert found is not None and found.groups == 2
    kernel[0, 3] = 1.0
    assert grouped(Factor(kernel)) is None
