"""3-D factors on the clip as a batch of frames."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from support.graphs import ops
from support.planning import SETTINGS, check_offers, factors, offered

from tdedge.factor import Factor
from tdedge_exporters.planner.forms import frames
from tdedge_exporters.planner.layouts import Layout


def forms(factor, shape):
    return [offer.form for offer in frames.offers(factor, shape)]


@settings(SETTINGS, max_examples=300)
@given(factors(3))
def test_any_geometry(case):
    factor, shape = case
    offers = list(frames.offers(factor, shape))
    assert bool(offers) == (shape[0] == 1)
    assert all(o.reads is o.gives is Layout.FRAMES for o in offers)
    check_offers(offers, factor, shape)


def kernel(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


DENSE = Factor(kernel(4, 6, 3, 3, 3), pads=((1, 1),) * 3, bias=kernel(4), activation="relu")


@pytest.mark.parametrize(
    ("factor", "frame_count", "expected"),
    [
        (DENSE, 5, ["frames.sum", "frames.joined", "frames.banded"]),
        (DENSE, 6, ["frames.sum", "frames.joined", "frames.banded"]),
        (DENSE, 7, ["frames.sum", "frames.joined"]),  # the band would be half empty
        (Factor(kernel(6, 2, 3, 3, 3), groups=3), 5, ["frames.sum"]),
        (Factor(kernel(4, 6, 1, 3, 3)), 5, ["frames.direct"]),
        (Factor(kernel(4, 6, 1, 3, 3), dilation=(3, 1, 1)), 5, ["frames.direct"]),
        (Factor(kernel(6, 1, 1, 1, 1), groups=6), 5, ["frames.direct"]),
        (Factor(kernel(4, 6, 1, 3, 3), (2, 1, 1)), 5, ["frames.sum"]),
    ],
)
def test_conditions(factor, frame_count, expected):
    shape = (1, 6, frame_count, 7, 8)
    assert forms(factor, shape) == expected
    check_offers(list(frames.offers(factor, shape)), factor, shape)


def test_nothing_for_batches_or_images():
    assert forms(DENSE, (2, 6, 5, 7, 8)) == []
    assert forms(Factor(kernel(4, 6, 3, 3)), (1, 6, 7, 8)) == []


def counted(form, factor, shape):
    (offer,) = (each for each in frames.offers(factor, shape) if each.form == form)
    found = ops(offered(offer, factor, shape))
    for name in ("Reshape", "Transpose"):
        found.pop(name, None)
    return found


def test_node_counts():
    shape = (1, 6, 5, 7, 8)
    assert counted("frames.sum", DENSE, shape) == {"Concat": 1, "Slice": 2, "Conv": 3, "Add": 2, "Relu": 1}
    assert counted("frames.joined", DENSE, shape) == {"Concat": 2, "Slice": 2, "Conv": 1, "Relu": 1}
    assert counted("frames.banded", DENSE, shape) == {"Conv": 1, "Relu": 1}
    single = replace(DENSE, kernel=kernel(4, 6, 1, 3, 3), pads=((0, 0), (1, 1), (1, 1)))
    assert counted("frames.direct", single, shape) == {"Conv": 1, "Relu": 1}


def test_band_leaves_out_padding():
    factor = Factor(kernel(2, 3, 3, 1, 1), (2, 1, 1), ((1, 1), (0, 0), (0, 0)))
    band = frames.band(factor, 5, 3).reshape(3, 2, 5, 3)
    for frame, read in ((0, [0, 1]), (1, [1, 2, 3]), (2, [3, 4])):
        assert [t for t in range(5) if band[frame, :, t].any()] == read
        for t in read:
            assert np.array_equal(band[frame, :, t], factor.kernel[:, :, t - 2 * frame + 1, 0, 0])
