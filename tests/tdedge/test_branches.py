from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdedge.branches import add_branches
from tdedge.chain import Chain
from tdedge.compose import NotExactError
from tdedge.factor import Factor


@st.composite
def branch_sets(draw, factors):
    """Branches of one geometry and unequal widths: pointwise, grouped or depthwise, pointwise."""
    core = draw(factors(groups=1, max_channels=1, activation=st.sampled_from((None, "relu", "sigmoid"))))
    ones = (1,) * core.spatial_rank
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    activation = draw(st.sampled_from((None, "relu")))
    biased = draw(st.lists(st.booleans(), min_size=9, max_size=9))
    block = draw(st.integers(1, 2))
    branches = []
    for branch in range(draw(st.integers(1, 3))):
        groups = draw(st.integers(1, 4))
        width = block * groups

        def bias(size, place, branch=branch):
            return rng.normal(size=size) if biased[3 * branch + place] else None

        branches.append(
            Chain(
                (
                    Factor(rng.normal(size=(width, 3, *ones)), bias=bias(width, 0), activation=activation),
                    replace(
                        core,
                        kernel=rng.normal(size=(width, block, *core.kernel_size)),
                        groups=groups,
                        bias=bias(width, 1),
                    ),
                    Factor(rng.normal(size=(5, width, *ones)), bias=bias(5, 2)),
                ),
                "kcp",
            )
        )
    return branches


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_the_wide_chain_is_the_sum_of_the_branches(data, factors, inputs, torch_run):
    branches = data.draw(branch_sets(factors))
    wide = add_branches(branches)
    x = data.draw(inputs(branches[0]))
    total = sum(torch_run(branch, x) for branch in branches)
    np.testing.assert_allclose(torch_run(wide, x), total, atol=1e-10 * max(1.0, np.abs(total).max()))
    assert wide.ranks[0] == sum(branch.ranks[0] for branch in branches)
    assert wide.format == "kcp"
    weights = [sum(factor.kernel.size for factor in chain) for chain in (wide, *branches)]
    assert weights[0] == sum(weights[1:])


def linear(out=4, width=2, **last):
    return Chain((Factor(np.ones((width, 3))), Factor(np.ones((out, width)), **last)))


def conv(stride=1, groups=1):
    return Chain(
        (
            Factor(np.ones((4, 3, 1))),
            Factor(np.ones((4, 4 // groups, 3)), stride=(stride,), groups=groups),
            Factor(np.ones((5, 4, 1))),
        )
    )


@pytest.mark.parametrize(
    ("branches", "reason"),
    [
        ([linear(), conv()], "unequal|factors; need"),
        ([Chain((Factor(np.ones((4, 3))),))] * 2, "at least 2"),
        ([conv(1), conv(2)], "geometry"),
        ([linear(activation="relu")] * 2, "last factor has an activation"),
        ([conv(groups=2), conv(groups=4)], "unequal size"),
        ([Chain((Factor(np.ones((2, 3)), groups=2), Factor(np.ones((4, 2)))))] * 2, "first factor"),
        ([Chain((Factor(np.ones((2, 3))), Factor(np.ones((4, 1)), groups=2)))] * 2, "last factor"),
    ],
)
def test_branches_that_cannot_be_one_chain_are_refused(branches, reason):
    with pytest.raises(NotExactError, match=reason):
        add_branches(branches)


@pytest.mark.parametrize("shape", [(4, 7), (5, 3)])
def test_branches_of_other_channels_are_refused(shape):
    outputs, inputs = shape
    other = Chain((Factor(np.ones((2, inputs))), Factor(np.ones((outputs, 2)))))
    with pytest.raises(NotExactError, match="channels"):
        add_branches([linear(), other])
