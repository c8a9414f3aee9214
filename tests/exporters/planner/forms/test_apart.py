"""3-D factors on the frames of a clip, each a tensor of its own."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from support.graphs import ops
from support.planning import SETTINGS, check_offers, factors, offered

from tdedge.factor import Factor
from tdedge_exporters.planner.forms import apart
from tdedge_exporters.planner.layouts import Layout


def kernel(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


DENSE = Factor(kernel(4, 6, 3, 3, 3), pads=((1, 1),) * 3, bias=kernel(4), activation="relu")
SHAPE = (1, 6, 5, 7, 8)
ALL = ["apart.sum", "apart.joined"]


@settings(SETTINGS, max_examples=300)
@given(factors(3))
def test_any_geometry(case):
    factor, shape = case
    offers = list(apart.offers(factor, shape))
    assert bool(offers) == (shape[0] == 1)
    assert all(o.reads is o.gives is Layout.APART for o in offers)
    check_offers(offers, factor, shape)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (DENSE, [*ALL, "apart.minimal2", "apart.minimal4"]),
        (replace(DENSE, kernel=kernel(4, 6, 5, 3, 3), pads=((2, 2),) * 3), [*ALL, "apart.minimal2"]),
        (replace(DENSE, kernel=kernel(4, 6, 2, 3, 3)), ALL),
        (replace(DENSE, stride=(2, 1, 1)), ALL),
        (replace(DENSE, dilation=(2, 1, 1)), ALL),
        (replace(DENSE, pads=((2, 2), (0, 0), (0, 0))), [*ALL, "apart.minimal2", "apart.minimal4"]),
        (Factor(kernel(6, 2, 3, 3, 3), groups=3), ["apart.sum"]),
        (Factor(kernel(4, 6, 1, 3, 3)), ["apart.sum"]),
        (Factor(kernel(4, 6, 3, 3, 3), pads=((6, 6), (0, 0), (0, 0))), ALL),
    ],
)
def test_conditions(factor, expected):
    offers = list(apart.offers(factor, SHAPE))
    assert [offer.form for offer in offers] == expected
    check_offers(offers, factor, SHAPE)


def test_frames_of_zeros_are_not_computed():
    total, joined, two, four = (offered(offer, DENSE, SHAPE) for offer in apart.offers(DENSE, SHAPE))
    assert Counter(ops(total))["Conv"] == 2 + 3 * 3 + 2
    assert Counter(ops(joined))["Conv"] == 5
    assert Counter(ops(two))["Conv"] == 4 + 4 + 2  # two pairs of frames, and the last one by itself
    assert Counter(ops(four))["Conv"] == 6 + 2


def test_weights_are_stored_once_for_all_frames():
    model = offered(next(apart.offers(DENSE, SHAPE)), DENSE, SHAPE)
    stored = sum(np.prod(value.shape.numpy()) for value in model.graph.initializers.values())
    assert stored < DENSE.kernel.size + DENSE.bias.size + 50


def test_nothing_for_batches_images_and_long_clips():
    assert not list(apart.offers(DENSE, (2, *SHAPE[1:])))
    assert not list(apart.offers(Factor(kernel(4, 6, 3, 3)), (1, 6, 7, 8)))
    assert not list(apart.offers(DENSE, (1, 6, apart.MAX_FRAMES + 1, 7, 8)))
