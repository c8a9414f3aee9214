import subprocess
import sys

import numpy as np
import pytest
from support.graphs import Net, assert_close, assert_rewrites, ops, run

from tdedge import formats
from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan, LayerRule
from tdedge_exporters.chains import find_chains, layer_sites
from tdedge_exporters.compress import compress_model


def network():
    net = Net("n", 8, 9, 9)
    value = net.add("Relu", net.conv("x", 16, 8, 3, 3, pads=1, bias=True, strides=[2, 2], name="conv"))
    value = net.add("Relu", net.conv(value, 16, 16, 3, 3, groups=16, pads=1, name="dw"))
    value = net.conv(value, 12, 16, 1, 1, bias=True, name="pw")
    value = net.add("Flatten", net.add("GlobalAveragePool", value))
    net.add("Gemm", value, net.weight(10, 12), net.weight(10), transB=1, name="fc")
    return net


def full(format_):
    return CompressionPlan(default=LayerRule(format=format_, ratio=1.0))


def test_layers_are_named_after_their_nodes():
    sites = layer_sites(network().model())
    assert list(sites) == ["n_conv", "n_dw", "n_pw", "n_fc"]
    assert sites["n_conv"].input_shape == (1, 8, 9, 9)
    assert sites["n_fc"].factor.kernel.shape == (10, 12)


@pytest.mark.parametrize("format_", ["tucker", "tt", "ht2"])
def test_explicit_full_ranks_are_exact(format_):
    dense = layer_sites(network().model())["n_conv"].factor
    ranks = formats.get(format_).max_ranks(dense)
    plan = CompressionPlan(layers={"n_conv": LayerRule(format=format_, ranks=ranks)})
    reports = []
    model = assert_rewrites(network(), lambda m: reports.append(compress_model(m, plan)), tolerance=2e-5)
    (report,) = reports
    assert [row.status for row in report.rows] == ["decomposed", "kept", "kept", "kept"]
    chain = next(site.chain for site in find_chains(model) if site.name.startswith("n_conv"))
    assert chain.ranks[: len(ranks)] == ranks
    last = chain.factors[len(ranks)]
    assert (last.out_channels, last.activation) == (16, "relu")
    np.testing.assert_array_equal(last.bias, dense.bias)


def test_low_ranks_shrink_the_network_and_change_it():
    net = network()
    model = net.model()
    x = net.sample()
    (dense,) = run(model, x)
    plan = CompressionPlan(keep=["n_fc"], default=LayerRule(format="tucker", ratio=0.25))
    report = compress_model(model, plan)
    (small,) = run(model, x)
    assert small.shape == dense.shape
    assert np.abs(small - dense).max() > 0
    statuses = {row.name: row.status for row in report.rows}
    assert statuses == {"n_conv": "decomposed", "n_dw": "kept", "n_pw": "decomposed", "n_fc": "kept"}
    sites = find_chains(model)
    assert sum(site.chain.params for site in sites) == report.totals["params_after"]
    assert sum(site.chain.macs(site.input_shape) for site in sites) == report.totals["macs_after"]
    assert {str(value.dtype) for value in model.graph.initializers.values()} == {"FLOAT"}


def test_shared_layers_stay_shared():
    net = Net(1, 16, 6, 6)
    weight = net.weight(16, 16, 3, 3, name="w")
    value = net.add("Relu", net.conv("x", 16, 16, 3, 3, weight=weight, pads=1))
    net.conv(value, 16, 16, 3, 3, weight=weight, pads=1)
    model = net.model()
    compress_model(model, CompressionPlan(default=LayerRule(format="tucker", ratio=0.25)))
    assert ops(model) == {"Conv": 6, "Relu": 1}
    assert len(model.graph.initializers) == 3


def test_an_unknown_layer_is_refused_and_the_network_kept():
    model = network().model()
    plan = CompressionPlan(layers={"n_cov": LayerRule(format="tucker", ratio=0.5)})
    with pytest.raises(UsageError, match="n_cov"):
        compress_model(model, plan)
    assert ops(model)["Conv"] == 3


def test_two_compressions_agree():
    results = []
    for _ in range(2):
        net = network()
        model = net.model()
        compress_model(model, CompressionPlan(default=LayerRule(format="tucker", energy=0.5)))
        results.append(run(model, net.sample()))
    assert_close(results[0], results[1], 1e-7)


def test_no_torch_is_needed():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import tdedge_exporters.compress, tdedge_exporters.passes.pipeline\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
