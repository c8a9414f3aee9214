"""Strides folded into channels: the same numbers, a whole step at a time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.graphs import Net, ops
from support.planning import SETTINGS, check_offers, factors, offered

from tdedge.factor import Factor
from tdedge_exporters.planner.candidates import FORMS, Scope, candidates
from tdedge_exporters.planner.folding import folds
from tdedge_exporters.planner.layouts import Layout
from tdedge_exporters.planner.units import network

ANY = 10**6


def kernel(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def all_offers(folded, shape, axes):
    """Every offer of every form for a folded factor, reading the input as it is."""
    found = [offer for room in FORMS for offer in room.offers(folded.factor, folded.shape(shape))]
    return [folded.before(offer) for offer in found if folded.reads(offer.reads, axes)]


@settings(SETTINGS, max_examples=300)
@given(st.data(), st.integers(1, 3))
def test_any_geometry(data, axes):
    factor, shape = data.draw(factors(axes, groupings=["dense"]))
    factor = replace(factor, dilation=(1,) * axes)
    whole = [-(-size // step) * step for size, step in zip(shape[2:], factor.stride, strict=True)]
    shape = (*shape[:2], *whole)
    made = list(folds(factor, shape, ANY))
    assume(made)
    for folded in made:
        assert folded.factor.stride[-1] == 1
        assert folded.factor.output_shape(folded.shape(shape)) == factor.output_shape(shape)
        offers = all_offers(folded, shape, axes)
        assert any(offer.form == "conv" for offer in offers) or (folded.steps[0] > 1 and axes == 3)
        check_offers(offers, factor, shape)


STEM = Factor(kernel(8, 3, 7, 7), stride=(2, 2), pads=((3, 3),) * 2)


@pytest.mark.parametrize(
    ("factor", "size", "most", "expected"),
    [
        (STEM, (16, 16), 16, [(1, 2), (2, 2)]),
        (STEM, (16, 16), 6, [(1, 2)]),
        (STEM, (16, 16), 5, []),
        (STEM, (16, 15), 16, []),
        (STEM, (15, 16), 16, [(1, 2)]),
        (replace(STEM, stride=(1, 2)), (16, 16), 16, [(1, 2)]),
        (replace(STEM, stride=(2, 1)), (16, 16), 16, []),
        (replace(STEM, stride=(1, 1)), (16, 16), 16, []),
        (replace(STEM, dilation=(1, 2)), (16, 16), 16, []),
        (replace(STEM, dilation=(2, 1)), (16, 16), 16, [(1, 2)]),
        (Factor(kernel(6, 1, 3, 3), stride=(2, 2), groups=3), (16, 16), 16, []),
        (Factor(kernel(8, 3)), (), 16, []),
    ],
)
def test_conditions(factor, size, most, expected):
    assert [each.steps for each in folds(factor, (1, 3, *size), most)] == expected


def test_taps_become_whole_steps():
    columns, both = folds(STEM, (1, 3, 16, 16), 16)
    assert columns.factor.kernel.shape == (8, 6, 7, 4)
    assert columns.factor.pads == ((3, 3), (2, 1))
    assert both.factor.kernel.shape == (8, 12, 4, 4)
    assert both.factor.pads == ((2, 1), (2, 1))
    (conv, *_) = all_offers(both, (1, 3, 16, 16), 2)
    assert ops(offered(conv, STEM, (1, 3, 16, 16))) == {"SpaceToDepth": 1, "Conv": 1}


def test_rows_of_clips_are_folded_frame_by_frame():
    factor = Factor(kernel(8, 3, 3, 7, 7), stride=(1, 2, 2), pads=((1, 1), (3, 3), (3, 3)))
    columns, both = folds(factor, (1, 3, 4, 16, 16), 16)
    assert columns.factor.kernel.shape == (8, 6, 3, 7, 4)
    assert both.factor.kernel.shape == (8, 12, 3, 4, 4)
    assert {offer.reads for offer in all_offers(both, (1, 3, 4, 16, 16), 3)} <= {Layout.APART, Layout.FRAMES}


def test_only_what_is_no_link_of_a_chain_is_folded():
    net = Net(1, 3, 16, 16)
    net.conv("x", 8, 3, 7, 7, strides=[2, 2], pads=3, name="stem")
    net.conv("stem", 4, 8, 1, 1, name="a")
    net.conv("a", 4, 4, 3, 3, strides=[2, 2], pads=1, name="b")
    net.conv("b", 8, 4, 1, 1, name="y")
    found = candidates(network(net.model()), Scope())
    folded = {(each.units[0].name, each.form) for each in found if each.form.startswith("folded.")}
    assert {form for name, form in folded if "stem" in name} >= {"folded.1x2 conv", "folded.2x2 conv"}
    assert all("stem" in name for name, _ in folded)
