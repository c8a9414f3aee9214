"""The algebra of lane packing: blocks of outputs from blocks of inputs, in NumPy alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import SETTINGS, factors, linear

from tdedge.factor import Factor
from tdedge_exporters.planner.blocking import BlockedAxis, axes_of, packed_kernel, packed_macs


@st.composite
def one_axis(draw):
    """(axis, kernel, input) of a convolution along one axis of one channel."""
    taps, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    reach = dilation * (taps - 1) + 1
    begin, end = draw(st.integers(0, reach)), draw(st.integers(0, reach))
    size = max(1, reach - begin - end) + draw(st.integers(0, 9))
    outputs = (size + begin + end - reach) // stride + 1
    block, gathered = draw(st.integers(1, 6)), draw(st.booleans())
    axis = BlockedAxis(taps, stride, dilation, begin, size, outputs, block, gathered)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return axis, end, rng.standard_normal(taps), rng.standard_normal(size)


@settings(SETTINGS, max_examples=500)
@given(one_axis())
def test_blocks_of_outputs_read_blocks_of_inputs(case):
    axis, end, kernel, x = case
    wide = np.concatenate([np.zeros(axis.pad), x, np.zeros(max(0, end, axis.pads[1]) + axis.padded)])
    expected = [
        sum(kernel[t] * wide[axis.stride * o + axis.dilation * t] for t in range(axis.taps))
        for o in range(axis.outputs)
    ]
    matrix = axis.selection() @ kernel  # (B, phases, U)
    read = wide[: axis.padded]
    blocks = []
    for j in range(axis.blocks):
        start = axis.input_block * j
        met = read[start : start + axis.phases * axis.block_taps]
        assert len(met) == axis.phases * axis.block_taps  # nothing beyond the padded input is read
        blocks.append(np.einsum("rqu,uq->r", matrix, met.reshape(axis.block_taps, axis.phases)))
    got = np.concatenate(blocks)
    assert len(got) == axis.blocks * axis.block >= axis.outputs > len(got) - axis.block
    np.testing.assert_allclose(got[: axis.outputs], expected, atol=1e-12)


@settings(SETTINGS, max_examples=200)
@given(one_axis())
def test_every_tap_of_every_output_is_chosen_once(case):
    axis = case[0]
    chosen = axis.selection()
    assert chosen.sum() == axis.block * axis.taps
    assert set(np.unique(chosen)) <= {0, 1}
    assert (chosen.sum((1, 2)) == 1).all()


@settings(SETTINGS, max_examples=100)
@given(st.integers(1, 3).flatmap(lambda a: factors(a, groupings=["dense"])), st.data())
def test_kernel_between_blocks(case, data):
    """The packed kernel over blocks cut by hand is the convolution."""
    factor, (_, channels, *sizes) = case
    shape = (1, channels, *sizes)
    blocks = tuple(data.draw(st.integers(1, 3)) for _ in sizes)
    axes = axes_of(factor, shape, blocks)
    kernel = packed_kernel(factor.kernel, axes)
    assert packed_macs(factor, axes) == kernel.size * np.prod([axis.blocks for axis in axes])
    x = np.random.default_rng(1).standard_normal(shape)
    wide = np.zeros((channels, *(max(a.padded, a.pad + a.size) for a in axes)))
    wide[(slice(None), *(slice(a.pad, a.pad + a.size) for a in axes))] = x[0]
    last = [axis for axis in axes if not axis.gathered]
    flat = kernel.reshape(kernel.shape[0], -1, *(axis.block_taps for axis in last))
    got = np.zeros((kernel.shape[0], *(axis.blocks for axis in axes)))
    for block in np.ndindex(*(axis.blocks for axis in axes)):
        for taps in np.ndindex(*(axis.block_taps for axis in last)):
            taps_of = (0, *taps) if axes[0].gathered else taps
            cut = wide[
                (
                    slice(None),
                    *(
                        slice(a.input_block * j + a.phases * u, a.input_block * j + a.phases * (u + 1))
                        for a, j, u in zip(axes, block, taps_of, strict=True)
                    ),
                )
            ]
            phases = np.moveaxis(cut, 0, -1).reshape(-1)  # phases of every axis in order, then channels
            got[(slice(None), *block)] += flat[(slice(None), slice(None), *taps)] @ phases
    # channels: blocks of the last axes, of the gathered one, then the factor's own
    order = [*range(1, len(axes)), 0] if axes[0].gathered else list(range(len(axes)))
    got = got.reshape(*(blocks[i] for i in order), factor.out_channels, *(a.blocks for a in axes))
    places = [axis for i in range(len(axes)) for axis in (len(axes) + 1 + i, order.index(i))]
    got = got.transpose(len(axes), *places)
    got = got.reshape(factor.out_channels, *(a.blocks * a.block for a in axes))
    got = got[(slice(None), *(slice(0, a.outputs) for a in axes))]
    plain = Factor(
        factor.kernel, factor.stride, factor.pads, factor.dilation
    )  # bias and activation are added by the form
    np.testing.assert_allclose(got, linear(plain, x)[0], atol=1e-10)


@pytest.mark.parametrize(
    ("axis", "block_taps", "phases", "pads"),
    [
        # 11 taps, B = 2: 6 block taps of 2 phases, 12 products for 11
        (BlockedAxis(11, 1, 1, 5, 120, 120, 2), 6, 2, (5, 5)),
        # 5 frames, B = 2, gathered: the 6 frames that two outputs read
        (BlockedAxis(5, 1, 1, 2, 28, 28, 2, gathered=True), 1, 6, (2, 2)),
        # a last block that is not full, and an end that is never read
        (BlockedAxis(3, 2, 1, 0, 9, 4, 3), 2, 6, (0, 9)),
        (BlockedAxis(1, 2, 1, 0, 8, 4, 1), 1, 2, (0, 0)),
        (BlockedAxis(1, 3, 1, 0, 8, 3, 1, gathered=True), 1, 1, (0, -1)),
    ],
)
def test_sizes(axis, block_taps, phases, pads):
    assert (axis.block_taps, axis.phases, axis.pads) == (block_taps, phases, pads)


def test_multiply_accumulates_of_the_published_example():
    """Tucker core of THETIS: B = (2, 2, 2) executes 6/5 * (12/11)^2 of its 605 taps."""
    factor = Factor(np.ones((2, 2, 5, 11, 11), np.float32), pads=((2, 2), (5, 5), (5, 5)))
    shape = (1, 2, 28, 120, 160)
    axes = axes_of(factor, shape, (2, 2, 2))
    assert packed_macs(factor, axes) / factor.macs(shape) == pytest.approx(6 / 5 * (12 / 11) ** 2)
