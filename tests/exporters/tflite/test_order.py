import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdedge_exporters.tflite.order import FIRST, Order, axes, bounds, natural, order, stored_shape


def stored(array: np.ndarray, of: Order) -> np.ndarray:
    """The elements in the order the definition says."""
    return array if of == FIRST else array.reshape(of.n, of.c, of.s).transpose(0, 2, 1)


def test_natural_order_is_channels_last():
    assert natural((2, 3, 4, 5)) == Order(2, 3, 20)
    assert stored_shape((2, 3, 4, 5), natural((2, 3, 4, 5))) == (2, 4, 5, 3)
    assert stored_shape((2, 3, 4, 5, 6), natural((2, 3, 4, 5, 6))) == (2, 4, 5, 6, 3)
    assert stored_shape((2, 3, 7), natural((2, 3, 7))) == (2, 7, 3)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 5, 5), (2, 3, 1, 1)])
def test_where_nothing_moves_the_order_is_first(shape):
    assert natural(shape) == FIRST
    assert axes(shape, natural(shape)) == tuple(range(len(shape)))
    assert stored_shape(shape, FIRST) == shape


@pytest.mark.parametrize(
    ("shape", "of", "cut"),
    [
        ((1, 3, 1, 5), Order(1, 3, 5), (1, 2)),
        ((2, 4, 6, 5, 5), Order(2, 24, 25), (1, 3)),
        ((2, 24, 25), Order(2, 4, 150), None),
        ((2, 600), Order(2, 24, 25), None),
        ((2, 3, 4, 5), FIRST, (0, 0)),
    ],
)
def test_the_cut_falls_between_axes_or_nowhere(shape, of, cut):
    assert bounds(shape, of) == cut
    assert (axes(shape, of) is None) == (cut is None)


def test_a_flattened_image_is_stored_as_its_parts():
    assert stored_shape((2, 600), Order(2, 24, 25)) == (2, 25, 24)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_stored_axes_are_those_of_the_definition(sizes, data):
    begin = data.draw(st.integers(0, len(sizes)))
    end = data.draw(st.integers(begin, len(sizes)))
    of = order(math.prod(sizes[:begin]), math.prod(sizes[begin:end]), math.prod(sizes[end:]))
    array = np.arange(math.prod(sizes)).reshape(sizes)
    permutation = axes(sizes, of)
    assert permutation is not None
    assert sorted(permutation) == list(range(len(sizes)))
    assert np.array_equal(array.transpose(permutation).ravel(), stored(array, of).ravel())
    assert stored_shape(sizes, of) == tuple(sizes[axis] for axis in permutation)
