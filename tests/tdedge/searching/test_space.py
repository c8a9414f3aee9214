import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from support.searching import SITES, conv, space

from tdedge.compress import LayerSite, decompose_layers
from tdedge.errors import UsageError
from tdedge.factor import Factor
from tdedge.plan import CompressionPlan, LayerRule
from tdedge.searching.space import Space


@given(st.data())
def test_parameters_are_the_inverse_of_suggest(data):
    searched = space()
    chosen = {
        layer: data.draw(st.sampled_from([option for rungs in ladder.values() for option in rungs]))
        for layer, ladder in searched.ladders.items()
    }
    values = searched.parameters(chosen)
    trial = FixedTrial(values)
    assert searched.suggest(trial) == chosen
    assert trial.params == values
    for name, distribution in trial.distributions.items():
        assert distribution._contains(distribution.to_internal_repr(values[name]))


def test_a_larger_size_never_costs_less():
    searched = space(("tucker",))
    last = searched.parameters(searched.starts()[0])
    before = 0
    for size in range(last["body.size"] + 1):
        chosen = searched.suggest(FixedTrial({**last, "body.size": size}))
        assert chosen["body"].macs >= before
        before = chosen["body"].macs
    assert chosen["body"].is_dense


def test_the_plan_and_its_cost_are_those_of_the_decomposition():
    searched = space()
    for chosen in searched.starts():
        done = decompose_layers(SITES, searched.plan(chosen))
        totals = done.report.totals
        assert searched.cost(chosen) == (totals["params_after"], totals["macs_after"])


def test_a_search_starts_dense_and_at_uniform_shares():
    dense, *uniform = space().starts()
    assert all(option.is_dense for option in dense.values())
    assert len(uniform) == 6  # two formats, three shares
    whole = sum(option.macs for option in dense.values())
    shares = [sum(option.macs for option in chosen.values()) / whole for chosen in uniform]
    for share, wanted in zip(shares, (0.5, 0.5, 0.25, 0.25, 0.125, 0.125), strict=True):
        assert share == pytest.approx(wanted, rel=0.35)


def test_nearest_takes_ranks_as_they_are_or_their_neighbours():
    searched = space()
    exact = searched.starts()[3]
    assert searched.nearest(searched.plan(exact)) == exact
    near = searched.nearest(CompressionPlan(layers={"body": LayerRule(format="tt", ranks=(5, 9, 9))}))
    assert near["body"].ranks == (4, 8, 8)
    assert near["stem"].is_dense
    assert searched.nearest(CompressionPlan(layers={"head": LayerRule(format="tucker", ranks=(3, 5))}))[
        "head"
    ].ranks == (3,)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (LayerRule(format="cp", ranks=(4,)), "is cp, which is not searched there (tucker, tt)"),
        (LayerRule(format="tucker", energy=0.9), "has no explicit ranks"),
    ],
)
def test_a_start_that_is_not_in_the_space(rule, words):
    with pytest.raises(UsageError, match="layer 'body'") as error:
        space().nearest(CompressionPlan(layers={"body": rule}))
    assert words in error.value.message


def test_a_start_for_another_network():
    with pytest.raises(UsageError, match="'tail' matches no layer"):
        space().nearest(CompressionPlan(keep=("tail",)))


def test_layers_without_a_choice_stay_dense_and_count():
    depthwise = LayerSite(Factor(np.ones((8, 1, 3, 3)), groups=8), (1, 8, 16, 16))
    fixed = LayerSite(conv(8, 8, 3).factor, (1, 8, 16, 16), fixed="it carries hooks")
    searched = Space.of({**SITES, "fixed": fixed}, ["tucker"])
    assert list(searched.ladders) == list(SITES)
    (dense, *_) = searched.starts()
    assert searched.cost(dense)[0] == sum(s.factor.params for s in (*SITES.values(), fixed))
    with pytest.raises(UsageError, match="none of the network's 2 layers becomes smaller in tucker"):
        Space.of({"a": fixed, "b": depthwise}, ["tucker"])


@pytest.mark.parametrize(("formats", "words"), [([], "no format to search"), (["tuker"], "did you mean")])
def test_wrong_formats(formats, words):
    with pytest.raises(UsageError, match=words):
        Space.of(SITES, formats)


def test_identity_follows_what_can_be_chosen():
    assert space().sha256 == space().sha256
    assert len({space().sha256, space(("tucker",)).sha256, space(quantum=8).sha256}) == 3
