import numpy as np
import pytest

from tdedge_exporters.tflite.window import Axis, effective_pads, is_same, is_valid


def positions(size: int, axis: Axis, begin: int) -> list[list[int]]:
    """Indices each window reads."""
    return [
        [p * axis.stride + tap * axis.dilation - begin for tap in range(axis.taps)] for p in range(axis.out)
    ]


@pytest.mark.parametrize(
    ("axis", "pads", "same", "valid"),
    [
        (Axis(8, 3, 1, 1, (1, 1), 8), (1, 1), True, False),
        (Axis(8, 3, 2, 1, (1, 1), 4), (1, 0), False, False),  # SAME would pad the end
        (Axis(7, 3, 2, 1, (1, 1), 4), (1, 1), True, False),
        (Axis(8, 1, 2, 1, (0, 0), 4), (0, 0), True, True),
        (Axis(8, 3, 1, 1, (0, 0), 6), (0, 0), False, True),
        (Axis(8, 3, 2, 1, (0, 1), 4), (0, 1), True, False),
        (Axis(9, 3, 1, 2, (2, 2), 9), (2, 2), True, False),
        (Axis(7, 3, 3, 1, (0, 0), 3), (0, 2), False, False),  # the last window hangs over in ceiling mode
        (Axis(5, 2, 3, 1, (0, 0), 2), (0, 0), True, True),
        (Axis.single(6), (0, 0), True, True),
    ],
)
def test_padding_that_fits(axis, pads, same, valid):
    assert effective_pads(axis) == pads
    assert is_same(axis) is same
    assert is_valid(axis) is valid


def test_effective_pads_are_what_windows_read():
    rng = np.random.default_rng(0)
    for _ in range(500):
        size, taps, stride, dilation, begin, end = (int(v) for v in rng.integers(1, 6, 6))
        reach = dilation * (taps - 1) + 1
        out = (size + begin + end - reach) // stride + 1
        if out < 1:
            continue
        axis = Axis(size, taps, stride, dilation, (begin, end), out)
        read = positions(size, axis, begin)
        got_begin, got_end = effective_pads(axis)
        assert got_begin == begin
        assert got_end == max(max(map(max, read)) - (size - 1), 0) <= end


def test_every_axis_must_fit():
    fits, other = Axis(8, 3, 1, 1, (1, 1), 8), Axis(8, 3, 2, 1, (1, 1), 4)
    assert is_same(fits, fits)
    assert not is_same(fits, other)
    assert not is_valid(Axis.single(), other)
