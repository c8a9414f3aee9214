"""Cost tables that were recorded before: what the planner chooses from them is deterministic."""

from collections.abc import Callable, Iterable

from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Candidate, Scope, candidates
from tdedge_exporters.planner.costs import Cost, CostTable, Place
from tdedge_exporters.planner.layouts import NATIVE
from tdedge_exporters.planner.pricing import Pricing
from tdedge_exporters.planner.trials import Trial, base_trial, candidate_trial, conversion_trial
from tdedge_exporters.planner.units import Network, network
from tdedge_runtimes.measure import MeasureOptions

PLACE = Place("onnxruntime", "1", "float32", 1, "recorded")
TARGET = Target("onnxruntime")
OPSET = 18


class Recording:
    """A ``measure`` that knows the milliseconds of every trial, by its key; counts what it was asked.

    Attributes:
        asked: SHA-256 of the trials, call by call.
    """

    def __init__(self, ms: Callable[[str], float]) -> None:
        self.ms = ms
        self.asked: list[list[str]] = []

    def __call__(self, files, target, options):
        assert all(path.is_file() for path in files.values())
        self.asked.append(list(files))
        return {label: Cost(self.ms(label)) for label in files}


def recorded(
    net: Network, scope: Scope, ms: Callable[[Candidate], float], conversion_ms: float = 0.25
) -> dict[str, float]:
    """Trial -> milliseconds; a form in its place then costs what ``ms`` says. Bases take 1 ms."""
    table: dict[str, float] = {}

    def add(trial: Trial, ports: Iterable, cost: float) -> None:
        bases = [base_trial(port, OPSET).sha256 for port in ports]
        table.update(dict.fromkeys(bases, 1.0))
        table[trial.sha256] = cost + len(bases) / 2

    offered = candidates(net, scope)
    for candidate in offered:
        add(*candidate_trial(candidate, OPSET), ms(candidate))
    labels = {each.gives for each in offered} | {each.reads for each in offered} | {NATIVE}
    for value in {value for each in offered for value in (*each.inputs, *each.outputs)}:
        for source in labels:
            for target in labels - {source}:
                if source.zeros == target.zeros and len(value.shape) > 1:
                    add(*conversion_trial(value, source, target, OPSET), conversion_ms)
    return table


def pricing(table: CostTable, measure) -> Pricing:
    return Pricing(table, PLACE, TARGET, measure, MeasureOptions(), OPSET)


def units_of(net) -> Network:
    return network(net.model())
