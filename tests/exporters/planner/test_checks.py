"""The last word on a plan: close calls are made twice, and what is known is not timed again."""

import onnx_ir as ir
import pytest
from support.graphs import Net
from support.recorded import PLACE, TARGET

from tdedge_exporters.planner.checks import checker, decided, remembered, saving, structure_sha256
from tdedge_exporters.planner.costs import Cost, CostTable, Place
from tdedge_runtimes.measure import MeasureOptions


def network(seed=0, *, taps=3, attribute=1.0) -> ir.Model:
    net = Net(1, 4, 6, 6, seed=seed)
    net.add("Elu", net.conv("x", 4, 4, taps, taps, pads=1), alpha=attribute)
    return net.model()


class Clock:
    """A check that answers from a list, the plain network always taking 3 ms."""

    def __init__(self, *planned_ms: float, quiet: bool = True) -> None:
        self.left = list(planned_ms)
        self.quiet = quiet

    def __call__(self, models):
        return {"plain": Cost(3.0), "planned": Cost(self.left.pop(0), quiet=self.quiet)}


def pair(**changed):
    return {"plain": network(), "planned": network(**changed)}


@pytest.mark.parametrize(
    ("first", "again", "counts"), [(2.9, 2.95, 2.95), (2.9, 2.86, 2.9), (3.1, 2.9, 3.1), (2.9, 3.3, 3.3)]
)
def test_close_call_is_made_twice(first, again, counts):
    clock = Clock(first, again)
    assert decided(clock)({})["planned"].median_ms == counts
    assert not clock.left


@pytest.mark.parametrize("planned_ms", [2.0, 2.84, 3.2])
def test_clear_call_is_made_once(planned_ms):
    clock = Clock(planned_ms, 99.0)
    assert saving(decided(clock)({})) == pytest.approx(1 - planned_ms / 3)
    assert clock.left == [99.0]


def test_known_networks_are_not_timed_again():
    table, clock = CostTable(), Clock(2.0, 1.0)
    check = remembered(clock, table, PLACE)
    first = check(pair(taps=1))
    assert check(pair(taps=1)) == first
    assert check({"plain": network(5), "planned": network(6, taps=1)}) == first  # other weights
    assert clock.left == [1.0]


@pytest.mark.parametrize("changed", [{"taps": 2}, {"attribute": 2.0}])
def test_other_networks_are_timed(changed):
    check = remembered(clock := Clock(2.0, 1.0), CostTable(), PLACE)
    assert check(pair(taps=1))["planned"].median_ms == 2.0
    assert check(pair(**{"taps": 1, **changed}))["planned"].median_ms == 1.0
    assert not clock.left


def test_times_are_of_one_place():
    table = CostTable()
    remembered(Clock(2.0), table, PLACE)(pair())
    elsewhere = Place("onnxruntime", "2", "float32", 1, "recorded")
    assert remembered(Clock(1.0), table, elsewhere)(pair())["planned"].median_ms == 1.0


def test_times_beside_busy_processes_are_not_kept():
    clock = Clock(2.0, 1.0, quiet=False)
    check = remembered(clock, CostTable(), PLACE)
    assert [check(pair())["planned"].median_ms for _ in range(2)] == [2.0, 1.0]


def test_structure_leaves_weights_out():
    assert structure_sha256(network(0)) == structure_sha256(network(1))
    assert len({structure_sha256(network(taps=taps)) for taps in (1, 2, 3)}) == 3


def test_checker_lowers_every_network_to_a_file_of_its_own():
    seen = {}

    def measure(files, target, options):
        seen.update({label: (path.read_bytes(), target, options) for label, path in files.items()})
        return {label: Cost(1.0) for label in files}

    options = MeasureOptions(min_blocks=4)
    assert checker(TARGET, measure, options)(pair(taps=1)) == {"plain": Cost(1.0), "planned": Cost(1.0)}
    assert seen["plain"][0] != seen["planned"][0]
    assert all(each[1:] == (TARGET, options) for each in seen.values())
