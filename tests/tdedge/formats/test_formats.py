"""What every format must do, on random layers of every kind."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.chain import Chain
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.formats import FORMATS, get

EVERY = pytest.mark.parametrize("name", FORMATS)
LINEAR = pytest.mark.parametrize("name", [name for name in FORMATS if name != "ntt"])
KERNEL_SIZES = [(), (3,), (3, 2), (2, 3, 3)]


def layer(kernel_size, groups=1, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(4 * groups, 5, *kernel_size)).astype(dtype)
    return Factor(kernel, groups=groups, bias=rng.normal(size=4 * groups).astype(dtype))


def half_ranks(fmt, dense):
    return [max(1, rank // 2) for rank in fmt.max_ranks(dense)]


def same_geometry(one, other):
    taps = [axis for axis, size in enumerate(one.kernel_size) if size > 1]
    return (
        (one.stride, one.pads, one.groups, one.activation)
        == (other.stride, other.pads, other.groups, other.activation)
        and [one.dilation[axis] for axis in taps] == [other.dilation[axis] for axis in taps]
        and np.array_equal(one.bias, other.bias) == (one.bias is not None)
    )


@LINEAR
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_full_rank_is_exact_and_keeps_the_geometry(name, data, factors):
    dense = data.draw(factors(activation=st.sampled_from((None, "relu"))))
    fmt = get(name)
    chain = fmt.decompose(dense, fmt.max_ranks(dense))
    rebuilt = chain.dense()
    np.testing.assert_allclose(rebuilt.kernel, dense.kernel, atol=1e-10)
    assert same_geometry(dense, rebuilt) or (dense.bias is None and rebuilt.bias is None)
    assert chain.format == name


@LINEAR
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_chain_runs_as_the_dense_convolution_of_its_kernel(name, data, factors, inputs, torch_run):
    dense = data.draw(factors(activation=st.sampled_from((None, "relu"))))
    fmt = get(name)
    ranks = [data.draw(st.integers(1, rank)) for rank in fmt.max_ranks(dense)]
    chain = fmt.decompose(dense, ranks)
    x = data.draw(inputs(dense))
    expected = torch_run(replace(dense, kernel=chain.reconstruct()), x)
    np.testing.assert_allclose(torch_run(chain, x), expected, atol=1e-10 * max(1.0, np.abs(expected).max()))
    assert chain.output_shape(x.shape) == dense.output_shape(x.shape)


@LINEAR
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_the_error_falls_as_the_ranks_grow(name, kernel_size):
    dense, fmt = layer(kernel_size), get(name)
    full = fmt.max_ranks(dense)
    errors = [
        fmt.decompose(dense, [math.ceil(share * rank) for rank in full]).relative_error(dense)
        for share in (0.01, 0.5, 1)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert 0.3 < errors[0] < 1
    assert errors[-1] < 1e-12


@EVERY
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_one_rank_per_unfolding_and_channel_count(name, kernel_size):
    dense, fmt = layer(kernel_size, groups=2), get(name)
    full = fmt.max_ranks(dense)
    matrices = fmt.unfoldings(dense)
    assert len(full) == len(matrices) == len(fmt.channel_ranks(dense))
    assert all(1 <= low <= high for low, high in zip(fmt.channel_ranks(dense), full, strict=True))
    for matrix, rank in zip(matrices, full, strict=True):
        assert matrix.ndim == 2
        assert matrix.size == dense.kernel.size // 2
        assert min(matrix.shape) <= rank


@EVERY
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_unfoldings_of_groups_are_those_of_the_strongest(name, kernel_size):
    dense, fmt = layer(kernel_size, groups=2), get(name)
    kernel = dense.kernel.copy()
    kernel[4:] *= 10
    got = fmt.unfoldings(replace(dense, kernel=kernel))
    expected = fmt.unfoldings(Factor(kernel[4:]))
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@EVERY
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_groups_are_decomposed_one_by_one(name, kernel_size):
    dense, fmt = layer(kernel_size, groups=3), get(name)
    ranks = half_ranks(fmt, dense)
    chain = fmt.decompose(dense, ranks)
    for group in range(3):
        alone = fmt.decompose(Factor(dense.kernel[4 * group : 4 * group + 4]), ranks)
        for part, whole in zip(alone, chain, strict=True):
            block = whole.kernel[group * part.out_channels : (group + 1) * part.out_channels]
            np.testing.assert_array_equal(block, part.kernel)
            assert whole.groups == 3 * part.groups


@EVERY
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_stride_and_padding_sit_on_the_factor_that_owns_the_axis(name, kernel_size):
    axes = len(kernel_size)
    dense = replace(
        layer(kernel_size),
        stride=(2, 3, 4)[:axes],
        pads=((1, 2), (0, 1), (2, 0))[:axes],
        dilation=(3, 2, 2)[:axes],
    )
    chain = get(name).decompose(dense, get(name).max_ranks(dense))
    for axis in range(axes):
        owners = [factor for factor in chain if factor.kernel_size[axis] > 1]
        assert len(owners) == 1
        for factor in chain:
            geometry = (factor.stride[axis], factor.pads[axis], factor.dilation[axis])
            owned = (dense.stride[axis], dense.pads[axis], dense.dilation[axis])
            assert geometry == (owned if factor is owners[0] else (1, (0, 0), 1))
    assert all(factor.bias is None for factor in chain.factors[:-1])
    np.testing.assert_array_equal(chain.factors[-1].bias, dense.bias)


@EVERY
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_ranks_are_clamped_never_failing(name, kernel_size):
    dense, fmt = layer(kernel_size), get(name)
    full = fmt.max_ranks(dense)
    huge = fmt.decompose(dense, [10**6] * len(full))
    exact = fmt.decompose(dense, full)
    for one, other in zip(huge, exact, strict=True):
        np.testing.assert_array_equal(one.kernel, other.kernel)
    for index in range(len(full)):
        lopsided = [10**6] * len(full)
        lopsided[index] = 1
        assert fmt.decompose(dense, lopsided).out_channels == 4


@EVERY
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_wrong_ranks_are_refused(name, kernel_size):
    dense, fmt = layer(kernel_size), get(name)
    full = fmt.max_ranks(dense)
    for call in (fmt.decompose, lambda d, r: fmt.scratch(d, r, seed=0)):
        with pytest.raises(UsageError, match=rf"{name} takes {len(full)} rank"):
            call(dense, [*full, 1])
        with pytest.raises(UsageError, match="positive"):
            call(dense, [0] * len(full))


@EVERY
def test_weights_that_are_not_finite_are_refused(name):
    kernel = np.ones((4, 5, 3, 3))
    kernel[1, 2, 0, 0] = np.nan
    dense, fmt = Factor(kernel), get(name)
    with pytest.raises(UsageError, match="NaN"):
        fmt.decompose(dense, fmt.max_ranks(dense))


@EVERY
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_zero_and_rank_deficient_groups(name, kernel_size):
    """A group of zeros stays zero, one of rank 1 stays finite, at full ranks."""
    kernel = np.zeros((8, 5, *kernel_size))
    kernel[4:] = 0.5
    dense, fmt = Factor(kernel, groups=2), get(name)
    chain = fmt.decompose(dense, fmt.max_ranks(dense))
    assert all(np.isfinite(factor.kernel).all() for factor in chain)
    linear = Chain(tuple(replace(factor, activation=None) for factor in chain))
    np.testing.assert_allclose(linear.reconstruct(), kernel, atol=1e-12)


@EVERY
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kernels_keep_the_dense_type(name, dtype):
    dense, fmt = layer((3, 3), dtype=dtype), get(name)
    chain = fmt.decompose(dense, half_ranks(fmt, dense))
    random = fmt.scratch(dense, half_ranks(fmt, dense), seed=0)
    assert {factor.kernel.dtype for factor in (*chain, *random)} == {np.dtype(dtype)}
    assert chain.factors[-1].bias.dtype == dtype


@LINEAR
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES, ids=str)
def test_single_precision_is_exact_to_its_rounding(name, kernel_size):
    dense, fmt = layer(kernel_size, dtype=np.float32), get(name)
    assert fmt.decompose(dense, fmt.max_ranks(dense)).relative_error(dense) < 1e-6


@EVERY
def test_decomposing_is_deterministic(name):
    dense, fmt = layer((3, 3)), get(name)
    one, other = (fmt.decompose(dense, half_ranks(fmt, dense)) for _ in range(2))
    assert all(np.array_equal(a.kernel, b.kernel) for a, b in zip(one, other, strict=True))


@EVERY
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_scratch_has_the_topology_of_the_decomposition(name, data, factors):
    dense = data.draw(factors(activation=st.sampled_from((None, "relu"))))
    fmt = get(name)
    ranks = [data.draw(st.integers(1, rank)) for rank in fmt.max_ranks(dense)]
    fitted, random = fmt.decompose(dense, ranks), fmt.scratch(dense, ranks, seed=3)
    for one, other in zip(fitted, random, strict=True):
        assert one.kernel.shape == other.kernel.shape
        assert (one.stride, one.pads, one.dilation) == (other.stride, other.pads, other.dilation)
        assert (one.groups, one.activation) == (other.groups, other.activation)
        assert (one.bias is None) == (other.bias is None)
    assert random.factors[-1].bias is None or not random.factors[-1].bias.any()
    again, another = fmt.scratch(dense, ranks, seed=3), fmt.scratch(dense, ranks, seed=4)
    assert all(np.array_equal(a.kernel, b.kernel) for a, b in zip(random, again, strict=True))
    assert not all(np.array_equal(a.kernel, b.kernel) for a, b in zip(random, another, strict=True))


@EVERY
@pytest.mark.parametrize("kernel_size", [(), (5,), (3, 3), (2, 3, 3)], ids=str)
def test_scratch_has_the_output_variance_of_a_he_initialised_layer(name, kernel_size, torch_run):
    """2 E[x^2] at every output, on average over the draws."""
    dense, fmt = Factor(np.zeros((32, 24, *kernel_size))), get(name)
    ranks = [min(16, rank) for rank in fmt.max_ranks(dense)]
    x = np.random.default_rng(0).normal(size=(64, 24, *kernel_size))
    variances = [np.mean(torch_run(fmt.scratch(dense, ranks, seed=seed), x) ** 2) for seed in range(40)]
    assert 1.5 < np.mean(variances) < 2.5


def test_formats_are_found_by_name():
    assert list(FORMATS) == ["svd", "spatial_svd", "tucker1", "tucker", "cp", "tt", "ht2", "ntt", "kcp"]
    assert all(name == get(name).NAME for name in FORMATS)


@pytest.mark.parametrize(
    ("wrong", "near"), [("tuker", "'tucker'"), ("HT2", "'ht2'"), ("spatial-svd", "'spatial_svd'")]
)
def test_an_unknown_format_names_the_nearest(wrong, near):
    with pytest.raises(UsageError, match=near) as caught:
        get(wrong)
    assert all(name in caught.value.message for name in FORMATS)


def test_another_tensorly_backend_is_left_alone():
    """Decomposing works, and stays in numpy, where the user has switched tensorly to another backend."""
    tensorly = pytest.importorskip("tensorly")
    with tensorly.backend_context("pytorch"):
        for name in ("tucker", "tt", "cp"):
            dense = layer((3, 3))
            chain = get(name).decompose(dense, get(name).max_ranks(dense))
            assert all(isinstance(factor.kernel, np.ndarray) for factor in chain)
        assert tensorly.get_backend() == "pytorch"


LARGE = """
import numpy as np
from tdedge.factor import Factor
from tdedge.formats import get
rng = np.random.default_rng(0)
dense = Factor(rng.standard_normal((512, 1024, 3, 3, 3), dtype=np.float32))
for name, ranks in {ranks}:
    get(name).decompose(dense, ranks)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(name, status["VmHWM"].split()[0])
"""


@pytest.mark.slow
def test_a_large_layer_stays_under_two_gib():
    """1024 -> 512, 3x3x3, the whole process; a full matrix of singular vectors would need terabytes.

    VmHWM, not ru_maxrss: the latter starts from the peak of the process that forked.
    """
    import subprocess

    ranks = [("svd", (128,)), ("tucker", (64, 64)), ("ht2", (64, 96, 96, 64))]
    done = subprocess.run(
        [sys.executable, "-c", LARGE.replace("{ranks}", repr(ranks))],
        capture_output=True,
        text=True,
        check=True,
    )
    peaks_kib = {name: int(peak) for name, peak in map(str.split, done.stdout.splitlines())}
    assert list(peaks_kib) == [name for name, _ in ranks]
    assert 100 * 2**10 < max(peaks_kib.values()) < 2 * 2**20
