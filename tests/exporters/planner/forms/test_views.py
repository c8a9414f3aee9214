"""3-D factors as 2-D convolutions on views."""

import numpy as np
import pytest
from hypothesis import given, settings
from support.graphs import ops
from support.planning import SETTINGS, check_offers, factors, offered

from tdedge.factor import Factor
from tdedge_exporters.planner.forms import views


def forms(factor, shape):
    return [offer.form for offer in views.offers(factor, shape)]


@settings(SETTINGS, max_examples=300)
@given(factors(3, styles=("pointwise", "temporal", "spatial")))
def test_any_geometry(case):
    check_offers(list(views.offers(*case)), *case)


def kernel(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("form", "factor", "batch"),
    [
        ("view.pointwise", Factor(kernel(4, 6, 1, 1, 1)), 2),
        ("view.pointwise", Factor(kernel(6, 1, 1, 1, 1), groups=6, bias=np.ones(6, np.float32)), 1),
        ("view.temporal", Factor(kernel(4, 6, 3, 1, 1), (2, 1, 1), ((1, 0), (0, 0), (0, 0)), (2, 1, 1)), 2),
        ("view.temporal", Factor(kernel(4, 6, 1, 1, 1), (2, 1, 1)), 1),
        ("view.spatial", Factor(kernel(6, 1, 1, 3, 2), (1, 2, 1), ((0, 0), (1, 2), (0, 1)), groups=6), 1),
    ],
)
def test_forms(form, factor, batch):
    shape = (batch, 6, 5, 7, 8)
    (offer,) = views.offers(factor, shape)
    assert offer.form == form
    model = offered(offer, factor, shape)
    assert ops(model) == {"Reshape": 2, "Conv": 1}
    (conv,) = (node for node in model.graph if node.op_type == "Conv")
    assert len(conv.inputs[0].shape) == 4
    check_offers([offer], factor, shape)


@pytest.mark.parametrize(
    ("factor", "batch"),
    [
        (Factor(kernel(4, 6, 3, 3, 3)), 1),
        (Factor(kernel(4, 6, 1, 3, 3)), 1),  # not depthwise
        (Factor(kernel(6, 1, 1, 3, 3), groups=6), 2),  # frames of two clips would mix
        (Factor(kernel(6, 1, 1, 3, 3), (2, 1, 1), groups=6), 1),
        (Factor(kernel(4, 6, 3, 1, 1), (1, 2, 1)), 1),
        (Factor(kernel(4, 6, 3, 1, 1), pads=((1, 1), (0, 0), (0, 1))), 1),
    ],
)
def test_what_has_no_view(factor, batch):
    assert forms(factor, (batch, 6, 5, 7, 8)) == []


def test_images_have_no_view():
    assert forms(Factor(kernel(4, 6, 1, 1)), (1, 6, 7, 8)) == []
