"""Tensors stored otherwise and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import ops, run
from support.planning import SETTINGS, sample, single

from tdedge_exporters.planner.clips import Clip, split
from tdedge_exporters.planner.layouts import (
    APART,
    FRAMES,
    LAST,
    NATIVE,
    Label,
    Layout,
    convert,
    layouts_of,
    stored,
)

#: Axis order of every layout, of a native array.
ORDER = {
    Layout.NATIVE: lambda x: x,
    Layout.FRAMES: lambda x: x[0].swapaxes(0, 1),
    Layout.LAST: lambda x: np.moveaxis(x, 1, -1),
    Layout.APART: lambda x: x[0].swapaxes(0, 1),
}


def entered(e, value, label):
    """An input of a model as ``label`` wants it: frames that are to be apart come together."""
    return Clip(split(e, value, 0)) if label.layout is Layout.APART else value


def left(e, value):
    return e.concat(value.frames, 0) if isinstance(value, Clip) else value


@SETTINGS
@given(st.data())
def test_every_pair(data):
    axes = data.draw(st.integers(1, 3))
    shape = (data.draw(st.sampled_from([1, 1, 2])), *(data.draw(st.integers(1, 4)) for _ in range(axes + 1)))
    source, target = (data.draw(st.sampled_from(layouts_of(shape))) for _ in range(2))
    zeros = data.draw(st.sampled_from([0, 0, 3]))
    x = sample((shape[0], shape[1] + zeros, *shape[2:]))
    here, there = Label(source, zeros), Label(target, zeros)
    given_x = np.ascontiguousarray(ORDER[source](x))
    assert stored(shape, here) == given_x.shape

    def body(e, value):
        y = convert(e, entered(e, value, here), shape, here, there)
        assert tuple(y.shape) == stored(shape, there)
        return e.op("Identity", [left(e, y)], y.shape)

    (y,) = run(single(given_x.shape, body), given_x)
    assert np.array_equal(y, ORDER[target](x))


@pytest.mark.parametrize(
    ("shape", "layouts"),
    [
        ((1, 4), ["native"]),
        ((1, 4, 5), ["native", "last"]),
        ((1, 4, 5, 6), ["native", "last"]),
        ((1, 4, 5, 6, 7), ["native", "frames", "apart", "last"]),
        ((2, 4, 5, 6, 7), ["native", "last"]),
    ],
)
def test_layouts_of(shape, layouts):
    assert list(layouts_of(shape)) == layouts


@pytest.mark.parametrize(
    "label", [NATIVE, FRAMES, LAST, APART, Label(Layout.LAST, 3), Label(Layout.NATIVE, 12)]
)
def test_labels_are_text(label):
    assert Label.parse(str(label)) == label


def test_node_counts():
    shape = (1, 4, 5, 6, 7)

    def counted(source, target):
        def body(e, x):
            return left(e, convert(e, entered(e, x, source), shape, source, target))

        return ops(single(stored(shape, source), body))

    assert counted(NATIVE, LAST) == counted(LAST, NATIVE) == {"Transpose": 1}
    for pair in ((NATIVE, FRAMES), (FRAMES, NATIVE), (FRAMES, LAST), (LAST, FRAMES)):
        assert counted(*pair) == {"Transpose": 1, "Reshape": 1}
    assert counted(NATIVE, APART) == {"Split": 1, "Reshape": 5, "Concat": 1}  # joined to be looked at
    assert counted(APART, NATIVE) == {"Split": 1, "Reshape": 5, "Concat": 1}
    assert counted(FRAMES, APART) == counted(APART, FRAMES) == {"Split": 1, "Concat": 1}
    flat = (1, 4, 1, 1, 1)  # nothing moves
    assert ops(single(flat, lambda e, x: convert(e, x, flat, NATIVE, LAST))) == {"Reshape": 1}
