"""``tdedge compress --budget`` and ``--max-drop``: ranks chosen by what they cost on the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdedge.cli.output import Output
from tdedge.errors import GateError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from tdedge.progress import Progress
    from tdedge.ranks.budget import Budget, Chosen, Menu
    from tdedge.ranks.sensitivity import SquaredError
    from tdedge_exporters.budgeting import DenseNetwork, Ranked, TargetTimes
    from tdedge_exporters.prepare import Source
    from tdedge_exporters.user_metric import UserMetric

FORMATS = "tucker,tt"


@dataclass(frozen=True)
class Wishes:
    """What the options of a budget say.

    Attributes:
        budget: ``latency=0.5``; None where only a drop is given.
        max_drop: what the metric may lose, as a share of its dense value.
        metric: ``module:function``.
        calibration: ``.npz`` of unlabelled inputs.
        formats: comma-separated names.
        target: one runtime.
        device: name or address; None for this machine.
        threads: of one inference.
        effort: of the planner.
        cost_table: file of known times.
        python_path: folders the metric is imported from.
    """

    budget: str | None
    max_drop: str | None
    metric: str | None
    calibration: Path | None
    formats: str
    target: str
    device: str | None
    threads: int
    effort: str
    cost_table: Path | None
    python_path: tuple[Path, ...]

    @property
    def is_given(self) -> bool:
        """Whether ranks are to be chosen by cost."""
        return self.budget is not None or self.max_drop is not None

    def check(self) -> None:
        """Refuse what does not go together, before any work.

        Raises:
            UsageError: naming the options.
        """
        if self.max_drop is not None and self.metric is None:
            raise UsageError("--max-drop needs --metric module:function, which says what a network is worth")
        if self.metric is not None and not self.is_given:
            raise UsageError("--metric goes with --budget or --max-drop")
        if self.calibration is not None and not self.is_given:
            raise UsageError("--calibration goes with --budget or --max-drop")
        if self.effort == "none":
            raise UsageError("--effort none measures nothing to choose ranks by; choose low, normal or max")

    def drop(self) -> float | None:
        """The share of ``--max-drop``.

        Raises:
            UsageError: it is none.
        """
        from tdedge.ranks.budget import parse_share

        if self.max_drop is None:
            return None
        share = parse_share(self.max_drop)
        if share is None or not 0 <= share < 1:
            raise UsageError(f"--max-drop {self.max_drop!r}; expected a share of the metric such as 1%")
        return share


@dataclass(frozen=True)
class Outcome:
    """A network within its budget.

    Attributes:
        ranked: the network.
        menu: what there was to choose from.
        front: every choice that no other beats.
        drop: what the metric lost; None without one.
        target: runtime and where.
    """

    ranked: Ranked
    menu: Menu
    front: Sequence[Chosen]
    drop: float | None
    target: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        ranked = self.ranked
        return {
            "target": self.target,
            "chosen": ranked.chosen.to_json(),
            "predicted_share": ranked.chosen.share,
            "measured_ms": dict(ranked.measured_ms),
            "measured_share": ranked.measured_share,
            "rounds": ranked.rounds,
            "drop": self.drop,
            "front": [each.to_json() for each in self.front],
        }


def within_budget(source: Source, wishes: Wishes, output: Output) -> Outcome:
    """The network that the wishes describe.

    Raises:
        UsageError: options that do not go together, bad source, metric or calibration data.
        GateError: the budget or the drop cannot be kept.
    """
    from tdedge.cli.planning_device import planning_device
    from tdedge.ranks.budget import Budget, front
    from tdedge_exporters import lowering
    from tdedge_exporters.budgeting import TargetTimes, read_dense
    from tdedge_exporters.planning import Planning

    most = wishes.drop()
    budget = None if wishes.budget is None else Budget.parse(wishes.budget)
    formats = [name.strip() for name in wishes.formats.split(",") if name.strip()]
    (target, *more) = lowering.parse_targets(wishes.target)
    if more:
        raise UsageError(f"--target {wishes.target}: ranks are chosen for one target at a time")
    lowering.require(target)
    if (wishes.metric or wishes.calibration) and not source.is_module:
        raise UsageError(
            f"{source.location}: --metric and --calibration need a torch module; pass module:factory"
        )
    with planning_device(wishes.device, wishes.effort) as remote, output.progress() as progress:
        planning = Planning(wishes.effort, wishes.threads, wishes.cost_table, remote=remote)
        times = TargetTimes(target, planning, progress)
        dense = read_dense(source)
        kind = "latency" if budget is None else budget.kind
        data = None if wishes.calibration is None else read_calibration(wishes.calibration, dense)
        metric = _metric(dense, wishes)
        menu = menu_for(dense, formats, kind, times, data, metric, progress)
        choices = front(menu)
        ranked, drop = _chosen(dense, menu, budget, most, metric, choices, times, progress)
    place = str(target) if wishes.device is None else f"{target} on {wishes.device}"
    return Outcome(ranked, menu, choices, drop, place)


def check_plot(path: Path | None, *, force: bool) -> None:
    """Refuse a file for the plot before any work is done.

    Raises:
        UsageError: an unknown suffix, or the file exists.
    """
    if path is None:
        return
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--front {path}: unknown suffix {path.suffix!r}; expected .svg or .png")
    if path.exists() and not force:
        raise UsageError(f"--front {path} exists; pass --force to replace it")


def plot_front(outcome: Outcome, path: Path, *, force: bool) -> None:
    """Write the plot of the front, with the chosen network on it."""
    from tdedge.artifact import atomic_file
    from tdedge.report.fronts import front_figure
    from tdedge.report.plots import svg

    chosen = outcome.ranked.chosen
    points = [(each.share, each.loss) for each in outcome.front]
    figure = front_figure(points, (chosen.share, chosen.loss), outcome.target)
    with atomic_file(path, force=force) as part:
        if path.suffix == ".svg":
            part.write_text(svg(figure), encoding="utf-8")
        else:
            figure.savefig(part, format="png", dpi=150)


def _chosen(
    dense: DenseNetwork,
    menu: Menu,
    budget: Budget | None,
    most: float | None,
    metric: UserMetric | None,
    choices: Sequence[Chosen],
    times: TargetTimes,
    progress: Progress,
) -> tuple[Ranked, float | None]:
    """The network, and what the metric lost of it."""
    from tdedge_exporters.budgeting import compress_within, compressed

    if budget is not None:
        ranked = compress_within(dense, menu, budget, times, progress)
        drop = None if metric is None else metric.drop_of(ranked.prepared.module)
        if most is not None and drop is not None and drop > most:
            raise GateError(
                f"at {budget} the metric loses {drop:.1%}, more than {most:.1%}; allow more of one, or tune "
                "the network after compressing it (tdedge.training)"
            )
        return ranked, drop
    assert metric is not None and most is not None
    low, high = 0, len(choices) - 1
    while low < high:  # the front's losses fall as its costs grow
        middle = (low + high) // 2
        if metric.drop(choices[middle].plan) <= most:
            high = middle
        else:
            low = middle + 1
    ranked = compressed(dense, choices[low], times, progress)
    drop = metric.drop_of(ranked.prepared.module)
    if drop > most:
        raise GateError(f"every choice loses more than {most:.1%} of the metric; keep more layers dense")
    return ranked, drop


def _metric(dense: DenseNetwork, wishes: Wishes) -> UserMetric | None:
    if wishes.metric is None:
        return None
    from tdedge_exporters.sources import load_function
    from tdedge_exporters.user_metric import UserMetric

    function = load_function(wishes.metric, wishes.python_path)
    return UserMetric(function, dense.module, dense.example, wishes.metric)


def menu_for(
    dense: DenseNetwork,
    formats: Sequence[str],
    kind: str,
    times: TargetTimes,
    calibration: Sequence[Tensor] | None,
    metric: UserMetric | None,
    progress: Progress,
) -> Menu:
    """Every option of every layer with its cost, and with what it loses.

    Args:
        dense: the network.
        formats: to choose from.
        kind: of cost: ``latency``, ``macs``, ...
        times: on the target.
        calibration: unlabelled samples, for the errors of layers' outputs; those of their kernels without.
        metric: says what an error is worth; the gain of its layer does where None.
        progress: told about every stage.
    """
    from tdedge.ranks.budget import Menu
    from tdedge.ranks.sensitivity import gain_scales, moment_error, option_errors, scaled, weight_error
    from tdedge.training.activations import input_moments
    from tdedge_exporters.budgeting import menu_of

    options, costs, rest = menu_of(dense, formats, kind, times)
    error: SquaredError = weight_error
    if calibration is not None:
        error = moment_error(input_moments(dense.module, calibration, list(dense.sites)))
    errors = option_errors(dense.sites, options, error, progress)
    scales = gain_scales(dense.sites) if metric is None else metric.scales(options, errors, progress)
    unit = "ms" if kind in ("latency", "energy") else kind
    return Menu(options, costs, scaled(errors, scales), rest, unit)


def read_calibration(path: Path, dense: DenseNetwork) -> list[Tensor]:
    """Unlabelled samples for a torch module, one tensor per input.

    Raises:
        UsageError: the file does not fit the network.
    """
    import torch

    from tdedge_exporters.inputs import load_samples

    return [torch.from_numpy(array) for array in load_samples(path, dense.model).values()]
