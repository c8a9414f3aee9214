"""Ranks within a budget, on a target whose times follow from the operators of a file."""

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from tdedge.errors import GateError, UsageError
from tdedge.ranks.budget import Budget, Menu
from tdedge.ranks.sensitivity import gain_scales, option_errors, scaled
from tdedge_exporters.budgeting import DENSE, SMALL, TargetTimes, compress_within, menu_of, read_dense
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.costs import Cost
from tdedge_exporters.planner.roofline import Roofline
from tdedge_exporters.planning import Planning
from tdedge_exporters.prepare import Source
from tdedge_exporters.user_metric import UserMetric

TUCKER = ("tucker",)


def network():
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    made.example_input = torch.randn(1, 3, 24, 24)
    return made.eval()


def counted(slower=1.0):
    """A measure: the roofline's time of a file, of whole compressed networks so many times that."""

    def measure(files, target, options):
        roofline = Roofline(1.0, 10.0)
        return {
            label: Cost(roofline.predict_ms(ir.load(path)) * (slower if label == SMALL else 1.0))
            for label, path in files.items()
        }

    return measure


@pytest.fixture
def dense():
    return read_dense(Source(network()))


@pytest.fixture
def times(tmp_path):
    def made(slower=1.0):
        table = tmp_path / "costs.sqlite"
        return TargetTimes(Target("onnxruntime"), Planning("low", cost_table=table, measure=counted(slower)))

    return made


def priced(dense, kind, times):
    options, costs, rest = menu_of(dense, TUCKER, kind, times)
    errors = option_errors(dense.sites, options)
    return Menu(options, costs, scaled(errors, gain_scales(dense.sites)), rest)


def test_a_network_within_half_of_the_time(dense, times):
    menu = priced(dense, "latency", times())
    ranked = compress_within(dense, menu, Budget("latency", 0.5), times())
    assert ranked.rounds == 1
    assert ranked.measured_share <= 0.51
    assert set(ranked.measured_ms) == {DENSE, SMALL}
    assert ranked.chosen.share == pytest.approx(ranked.measured_share, rel=0.15)
    rows = {row.name: row for row in ranked.prepared.compression.rows}
    assert rows["4"].format == "tucker"
    assert all(rank % 16 == 0 or rank <= 8 for rank in rows["4"].ranks)


def test_a_whole_that_is_slower_than_its_parts_is_chosen_again(dense, times):
    menu = priced(dense, "latency", times())
    once = compress_within(dense, menu, Budget("latency", 0.5), times())
    again = compress_within(dense, menu, Budget("latency", 0.5), times(1.5))
    assert again.rounds > 1
    assert again.measured_share <= 0.51
    assert again.chosen.loss > once.chosen.loss


def test_a_budget_that_the_whole_never_keeps(dense, times):
    menu = priced(dense, "latency", times())
    with pytest.raises(GateError, match=r"latency=0.5: the best of \d choices took \d+% of the dense"):
        compress_within(dense, menu, Budget("latency", 0.5), times(30.0))


def test_a_budget_of_macs_measures_nothing(dense):
    def refuse(files, target, options):
        raise AssertionError("timed")

    times = TargetTimes(Target("onnxruntime"), Planning("low", measure=refuse))
    ranked = compress_within(dense, priced(dense, "macs", times), Budget("macs", 0.4), times)
    report = ranked.prepared.compression
    assert ranked.measured_share is None
    assert report.totals["macs_after"] <= 0.4 * report.totals["macs_before"]
    assert report.totals["macs_after"] == ranked.chosen.cost


def test_an_onnx_graph_has_its_own_names(dense, times, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(ir.to_proto(dense.model), path)
    graph = read_dense(Source(str(path)))
    assert graph.module is None
    assert len(graph.sites) == len(dense.sites)
    ranked = compress_within(graph, priced(graph, "params", times()), Budget("params", 0.5), times())
    report = ranked.prepared.compression
    assert report.totals["params_after"] <= 0.5 * report.totals["params_before"]


def test_formats_that_make_nothing_smaller(times):
    tiny = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    tiny.example_input = torch.randn(1, 1, 8, 8)
    with pytest.raises(UsageError, match="no layer becomes smaller as tucker; choose other formats"):
        menu_of(read_dense(Source(tiny.eval())), TUCKER, "macs", times())


def test_a_metric_sees_what_layers_matter(dense):
    """Likeness to the dense outputs: layers differ in what they do to it."""
    x = torch.randn(4, 3, 24, 24)
    goal = dense.module(x).detach()

    def likeness(module):
        assert not module.training
        with torch.no_grad():
            return 1 / (1 + float((module(x) - goal).square().mean() / goal.square().mean()))

    metric = UserMetric(likeness, dense.module, dense.example, "likeness")
    assert metric.dense() == 1.0
    times = TargetTimes(Target("onnxruntime"), Planning("low", measure=counted()))
    options, _, _ = menu_of(dense, TUCKER, "macs", times)
    errors = option_errors(dense.sites, options)
    scales = metric.scales(options, errors)
    assert metric.calls == 1 + sum(any(values) for values in errors.values())
    assert min(scales.values()) > 0
    assert max(scales.values()) > 2 * min(scales.values())


@pytest.mark.parametrize("value", [float("nan"), "good", None, [1.0, 2.0]])
def test_a_metric_that_gives_no_number(dense, value):
    metric = UserMetric(lambda module: value, dense.module, dense.example, "mine.py:score")
    with pytest.raises(UsageError, match=r"mine.py:score gives .*; expected a finite number"):
        metric.dense()


def test_a_metric_that_fails(dense):
    def broken(module):
        return module(torch.zeros(1, 9, 24, 24)).mean()

    metric = UserMetric(broken, dense.module, dense.example, "mine.py:score")
    with pytest.raises(UsageError, match=r"mine.py:score failed: RuntimeError: .* \(conv.py:\d+\)"):
        metric.dense()


def test_a_metric_of_nothing(dense):
    with pytest.raises(UsageError, match=r"gives 0\.0 for the dense network; expected more than 0"):
        UserMetric(lambda module: 0.0, dense.module, dense.example).dense()
