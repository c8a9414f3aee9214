import numpy as np
import pytest

from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.formats import FORMATS, get
from tdedge.ranks import ratio

DENSE = Factor(np.ones((64, 32, 3, 3)))


@pytest.mark.parametrize(
    ("share", "ranks"), [(0.5, (16, 32)), (0.4, (13, 26)), (0.001, (1, 1)), (1.0, (32, 64))]
)
def test_it_is_the_share_of_the_channels_rounded_up(share, ranks):
    assert ratio.choose(DENSE, get("tucker"), share) == ranks


def test_rounding_errors_add_no_rank():
    """0.07 * 100 is 7.000000000000001 in floating point."""
    assert ratio.choose(Factor(np.ones((100, 100))), get("svd"), 0.07) == (7,)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_what_the_rule_gives(name):
    dense = Factor(np.random.default_rng(0).normal(size=(8, 6, 3, 3)))
    chain = get(name).decompose(dense, ratio.choose(dense, get(name), 0.5))
    assert chain.params < 2 * dense.params


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_outside_zero_and_one_is_refused(share):
    with pytest.raises(UsageError, match="ratio"):
        ratio.choose(DENSE, get("svd"), share)


def test_ranks_of_a_grouped_layer_refer_to_one_group():
    assert ratio.choose(Factor(np.ones((64, 8, 3, 3)), groups=4), get("tucker"), 0.5) == (4, 8)
