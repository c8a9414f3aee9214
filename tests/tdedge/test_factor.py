import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.errors import UsageError
from tdedge.factor import Factor

KERNEL = np.ones((4, 3, 2, 2))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_output_shape_is_that_of_torch(data, factors, inputs, torch_run):
    factor = data.draw(factors())
    x = data.draw(inputs(factor))
    assert torch_run(factor, x).shape == factor.output_shape(x.shape)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_macs_count_every_product(data, factors, inputs, torch_run):
    """With a kernel and an input of ones and no padding, the sum of the outputs is the number of products."""
    drawn = data.draw(factors(bias=False))
    factor = Factor(np.ones_like(drawn.kernel), drawn.stride, (), drawn.dilation, drawn.groups)
    ones = np.ones_like(data.draw(inputs(factor)))
    assert factor.macs(ones.shape) == torch_run(factor, ones).sum()


def test_counts_of_a_published_layer():
    """First layer of the THETIS network: 7,805,952,000 MACs, 15,611,904,000 FLOPs, 14,526 parameters."""
    conv1 = Factor(np.zeros((6, 4, 5, 11, 11)), pads=((2, 2), (5, 5), (5, 5)), bias=np.zeros(6))
    shape = (1, 4, 28, 120, 160)
    assert (conv1.macs(shape), conv1.flops(shape), conv1.params) == (7_805_952_000, 15_611_904_000, 14_526)


def test_flops_without_bias_save_one_addition_per_output():
    linear = Factor(np.zeros((84, 128)))
    assert linear.flops((1, 128)) == (2 * 128 - 1) * 84
    assert linear.flops((5, 7, 128)) == 35 * (2 * 128 - 1) * 84


def test_defaults_and_properties():
    factor = Factor(KERNEL)
    assert (factor.stride, factor.pads, factor.dilation) == ((1, 1), ((0, 0), (0, 0)), (1, 1))
    assert (factor.in_channels, factor.out_channels, factor.kernel_size) == (3, 4, (2, 2))
    assert not factor.is_pointwise and not factor.is_depthwise
    assert Factor(np.ones((6, 2, 3)), groups=2).in_channels == 4


def test_pointwise_needs_one_tap_stride_one_and_no_padding():
    kernel = np.ones((4, 3, 1, 1))
    assert Factor(kernel).is_pointwise
    assert not Factor(kernel, stride=(1, 2)).is_pointwise
    assert not Factor(kernel, pads=((0, 0), (0, 1))).is_pointwise
    assert Factor(np.ones((4, 3))).is_pointwise


def test_depthwise_has_one_channel_per_group():
    assert Factor(np.ones((4, 1, 3)), groups=4).is_depthwise
    assert not Factor(np.ones((8, 1, 3)), groups=4).is_depthwise
    assert not Factor(np.ones((1, 1, 3))).is_depthwise


def test_a_factor_cannot_be_changed_through_its_arrays():
    factor = Factor(KERNEL, bias=np.zeros(4))
    with pytest.raises(ValueError, match="read-only"):
        factor.kernel[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        factor.bias[0] = 1


def test_astype_converts_kernel_and_bias():
    single = Factor(KERNEL, bias=np.zeros(4)).astype(np.float32)
    assert single.kernel.dtype == single.bias.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": np.ones(3)}, "1 axes"),
        ({"kernel": np.ones((1, 1, 1, 1, 1, 1))}, "6 axes"),
        ({"kernel": np.ones((0, 3))}, "empty"),
        ({"kernel": KERNEL, "stride": (1,)}, "stride"),
        ({"kernel": KERNEL, "stride": (0, 1)}, "stride"),
        ({"kernel": KERNEL, "dilation": (1, 0)}, "dilation"),
        ({"kernel": KERNEL, "pads": ((1, 1),)}, "pads"),
        ({"kernel": KERNEL, "pads": ((1, 1), (0, -1))}, "pads"),
        ({"kernel": KERNEL, "groups": 3}, "groups 3"),
        ({"kernel": KERNEL, "groups": 0}, "groups 0"),
        ({"kernel": KERNEL, "bias": np.zeros(3)}, "bias"),
        ({"kernel": KERNEL, "activation": "swish"}, "swish"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        Factor(**arguments)


@pytest.mark.parametrize("shape", [(1, 3, 1, 9), (1, 4, 9, 9), (3, 9, 9), (2, 1, 3, 9, 9)])
def test_an_input_that_does_not_fit_is_refused(shape):
    with pytest.raises(UsageError):
        Factor(KERNEL).output_shape(shape)


def test_macs_scale_with_the_batch():
    factor = Factor(KERNEL)
    assert factor.macs((3, 3, 5, 6)) == 3 * factor.macs((1, 3, 5, 6)) == math.prod((3, 4, 4, 5)) * 12
