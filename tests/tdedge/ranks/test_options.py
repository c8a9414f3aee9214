"""What a layer may become."""

import numpy as np
import pytest

from tdedge import formats
from tdedge.compress import Cost, LayerSite, decompose_layers
from tdedge.factor import Factor
from tdedge.ranks.options import DENSE, Option, layer_options, plan_of

RNG = np.random.default_rng(0)


def site(out, into, *kernel, groups=1, fixed=None):
    factor = Factor(RNG.standard_normal((out, into // groups, *kernel)), pads=((1, 1),) * len(kernel))
    if groups > 1:
        factor = Factor(factor.kernel, groups=groups)
    return LayerSite(factor, (1, into, *(8,) * len(kernel)), fixed=fixed)


def test_aligned_ranks_of_every_format():
    found = layer_options(site(64, 64, 3, 3), ("tucker", "cp", "tt"), quantum=16)
    assert found[0] == Option(DENSE, (), 64 * 64 * 9, 64 * 64 * 64 * 9)
    assert {each.format for each in found[1:]} == {"tucker", "cp", "tt"}
    for each in found[1:]:
        assert all(rank % 16 == 0 or rank <= 8 for rank in each.ranks)
        assert each.params < found[0].params or each.macs < found[0].macs
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_sizes_are_those_of_the_chain(name):
    """What an option says it costs is what the compression it stands for costs."""
    layer = site(24, 16, 3, 3)
    for option in layer_options(layer, (name,), quantum=8)[1:]:
        chain = decompose_layers({"layer": layer}, plan_of({"layer": option})).chains["layer"]
        assert (option.params, option.macs) == (Cost.of(chain, layer).params, Cost.of(chain, layer).macs)


def test_one_svd_where_there_are_no_taps():
    found = layer_options(site(64, 64, 1, 1), ("tucker", "tt", "cp"), quantum=16)
    assert {each.format for each in found} == {DENSE, "svd"}


@pytest.mark.parametrize(
    "layer", [site(8, 8, 3, 3, groups=8), site(8, 8, 3, 3, fixed="its weights are shared")]
)
def test_what_cannot_be_replaced_stays(layer):
    assert [each.format for each in layer_options(layer, ("tucker",))] == [DENSE]


def test_a_plan_of_options():
    plan = plan_of({"a[0]": Option("tucker", (4, 4), 1, 1), "b": Option(DENSE, (), 1, 1)})
    assert plan.rule_for("a[0]").ranks == (4, 4)
    assert plan.rule_for("b") is None
