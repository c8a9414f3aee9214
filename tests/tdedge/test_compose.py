import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tdedge.chain import Chain
from tdedge.compose import NotExactError, compose
from tdedge.errors import UsageError
from tdedge.factor import Factor


def check(first, second, x, torch_run):
    """Composed or refused; composed must equal the pair everywhere, the border included."""
    merged = compose(first, second)
    pair = torch_run(Chain((first, second)), x)
    one = torch_run(merged, x)
    assert merged.output_shape(x.shape) == pair.shape == one.shape
    np.testing.assert_allclose(one, pair, atol=1e-10 * max(1.0, np.abs(pair).max()))


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_a_composed_pair_equals_the_pair(data, factors, inputs, torch_run):
    first = data.draw(factors(), label="first")
    groups = data.draw(st.sampled_from([g for g in (1, 2, 3, 4) if first.out_channels % g == 0]))
    second = data.draw(factors(first.spatial_rank, first.out_channels, groups, activation=st.just("relu")))
    x = data.draw(inputs(Chain((first, second))))
    try:
        compose(first, second)
    except NotExactError:
        assume(False)
    check(first, second, x, torch_run)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_exact_by_construction_is_never_refused(data, factors, inputs, torch_run):
    """A k-tap factor then one without padding; and a pointwise one without bias then any."""
    first = data.draw(factors())
    second = data.draw(factors(first.spatial_rank, first.out_channels, 1))
    unpadded = Factor(second.kernel, second.stride, (), second.dilation, 1, second.bias)
    check(first, unpadded, data.draw(inputs(Chain((first, unpadded)))), torch_run)
    pointwise = Factor(first.kernel[(..., *[slice(1)] * first.spatial_rank)], groups=first.groups)
    check(pointwise, second, data.draw(inputs(Chain((pointwise, second)))), torch_run)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_refused_pair_has_a_reason_that_holds(data, factors):
    first = data.draw(factors(activation=st.sampled_from((None, None, "relu"))))
    second = data.draw(factors(first.spatial_rank, first.out_channels, 1))
    padded = any(map(any, second.pads))
    reasons = {
        "activation": first.activation is not None,
        "bias": first.bias is not None and padded,
        "taps": any(
            size > 1 and any(pads) for size, pads in zip(first.kernel_size, second.pads, strict=True)
        ),
    }
    try:
        compose(first, second)
    except NotExactError as error:
        assert any(holds and word in str(error) for word, holds in reasons.items())
    else:
        assert not any(reasons.values())


@pytest.mark.parametrize(
    "first",
    [Factor(np.ones((2, 1, 1)), bias=np.ones(2)), Factor(np.ones((2, 1, 3)))],
    ids=["bias through padding", "padding inside the reach"],
)
def test_the_refused_merges_really_differ_at_the_border(first, torch_run):
    """The conditions are needed: ignoring them changes the output."""
    second = Factor(np.ones((1, 2, 3)), pads=((1, 1),))
    with pytest.raises(NotExactError):
        compose(first, second)
    unpadded = compose(first, Factor(second.kernel))
    reach = unpadded.kernel_size[0]
    forced = Factor(unpadded.kernel, pads=((1, 1),), bias=unpadded.bias)
    x = np.arange(1.0, 10.0).reshape(1, 1, -1)
    pair, one = torch_run(Chain((first, second)), x), torch_run(forced, x)
    inner = slice(1, -1)
    assert reach >= 3
    np.testing.assert_allclose(one[..., inner], pair[..., inner])
    assert not np.allclose(one, pair)


def test_geometry_of_a_composition():
    first = Factor(np.ones((2, 1, 3)), stride=(2,), pads=((1, 0),), dilation=(2,))
    second = Factor(np.ones((1, 2, 2)), stride=(3,))
    merged = compose(first, second)
    assert (merged.stride, merged.pads, merged.dilation) == ((6,), ((1, 0),), (2,))
    assert merged.kernel_size == (4,)


def test_depthwise_pairs_stay_depthwise():
    rng = np.random.default_rng(0)
    first = Factor(rng.normal(size=(4, 1, 3, 1)), groups=4)
    second = Factor(rng.normal(size=(4, 1, 1, 3)), groups=4)
    assert compose(first, second).is_depthwise


def test_not_exact_is_a_usage_error_naming_both_shapes():
    with pytest.raises(UsageError, match="neighbours"):
        compose(Factor(np.ones((2, 3))), Factor(np.ones((2, 3))))
    with pytest.raises(NotExactError, match="neighbours"):
        compose(Factor(np.ones((2, 3))), Factor(np.ones((2, 2, 1))))
