"""``tdedge search``: formats and ranks of every layer, searched for accuracy and measured latency."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from tdedge.plan import CompressionPlan
    from tdedge.searching.result import Tried
    from tdedge_exporters.budgeting import DenseNetwork
    from tdedge_exporters.lowering import Target
    from tdedge_exporters.planning import Planning


def search(
    source: opt.Source,
    metric: Annotated[
        str,
        typer.Option(
            metavar="MODULE:FN", help="Called as fn(module) -> float, higher is better; or file.py:fn."
        ),
    ],
    storage: Annotated[
        str, typer.Option(metavar="FILE|URL", help="SQLite file of the study, or the URL of a database.")
    ],
    output_folder: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the Pareto front. [default: none is written]"),
    ] = None,
    trials: Annotated[
        int, typer.Option(help="Finished trials the study shall hold, those of all processes together.")
    ] = 50,
    study: Annotated[str, typer.Option(help="Name of the study; a storage may hold several.")] = "search",
    formats: Annotated[str, typer.Option(help="Formats to choose from, comma-separated.")] = "tucker,tt",
    target: Annotated[str, typer.Option(help="Runtime that latency is measured in.")] = "onnxruntime",
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|URL", help="Measure latency there (see: tdedge devices). [default: this machine]"
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of one inference.")] = 1,
    effort: opt.Effort = "low",
    cost_table: opt.CostTable = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help=".npz of unlabelled inputs: every candidate is first fitted to the dense network."),
    ] = None,
    finetune: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FN", help="Called as fn(module) before the metric, to train each candidate."
        ),
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option(help="Compression plan with explicit ranks to try early; repeatable."),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE,...",
            help="Shares of the dense latency, such as 0.7,0.5: the plans that tdedge compress "
            "--budget would choose for them are tried early.",
        ),
    ] = None,
    weights: opt.Weights = None,
    input_shape: opt.InputShape = None,
    python_path: opt.PythonPath = None,
    seed: Annotated[int, typer.Option(help="Seed of the proposals.")] = 0,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    no_progress: opt.NoProgress = False,
) -> None:
    """Search the formats and ranks of every layer: the most accurate network at each latency.

    Interrupt it when you like, and call it again: it goes on where it stopped. Several calls may work on
    one study at once.
    """
    output = Output(json=json, quiet=quiet, no_progress=no_progress)
    location = opt.source(source, weights, input_shape, python_path, trust=False)
    if not location.is_module:
        raise UsageError(f"{source}: --metric needs a torch module; pass module:factory or file.py:factory")

    from tdedge.plan import CompressionPlan
    from tdedge.searching import study as searching  # Optuna: looked for before any work
    from tdedge.searching.front import check_front, document, non_dominated, write_front
    from tdedge.searching.space import Space
    from tdedge_exporters import lowering
    from tdedge_exporters.planning import Planning

    if output_folder is not None:
        check_front(output_folder, force=force)
    runtime = lowering.Target.parse(target)
    lowering.require(runtime)
    Planning(effort, threads)
    starts = [CompressionPlan.load(path) for path in start or ()]
    shares = _shares(budgets, effort)
    functions = _Functions.load(metric, finetune, tuple(python_path or ()))

    from tdedge.cli.planning_device import planning_device
    from tdedge.cli.within_budget import menu_for, read_calibration
    from tdedge.ranks.budget import choose
    from tdedge_exporters.budgeting import TargetTimes, read_dense

    with planning_device(device, effort) as remote, output.progress() as progress:
        planning = Planning(effort, threads, cost_table, remote=remote)
        dense = read_dense(location)
        data = None if calibration is None else read_calibration(calibration, dense)
        names = [name.strip() for name in formats.split(",") if name.strip()]
        times = TargetTimes(runtime, planning, progress)
        space = Space.of(dense.sites, names, quantum=times.lanes())
        if shares:
            menu = menu_for(dense, names, "latency", times, data, None, progress)
            starts += [choose(menu, share).plan for share in shares]
        candidates = _Candidates(dense, functions, data, runtime, planning)
        result = searching.search(
            space,
            candidates.accuracy,
            candidates.latency_ms,
            storage=storage,
            trials=trials,
            study_name=study,
            seed=seed,
            starts=starts,
            made_for={
                "set of weights": _weights_sha256(dense),
                "metric": metric,
                "finetune": finetune or "none",
                "calibration": "none" if calibration is None else _sha256(calibration.read_bytes()),
                **candidates.place(),
            },
            progress=progress,
        )
        kind = "measured" if remote is None else remote.figures
    front = non_dominated(result.tried)
    content = document(result, front, kind)
    if output_folder is not None:
        content = write_front(output_folder, result, kind=kind, force=force)
    output.table(_table(front, len(result.tried), str(runtime), kind))
    if output_folder is not None:
        output.note(f"wrote {output_folder}")
    output.document(content)


def _shares(budgets: str | None, effort: str) -> list[float]:
    """The shares of ``--budgets``.

    Raises:
        UsageError: one is none, or nothing is measured to choose by.
    """
    from tdedge.ranks.budget import parse_share

    if budgets is None:
        return []
    if effort == "none":
        raise UsageError("--budgets chooses by measured times; choose --effort low, normal or max")
    found = []
    for text in budgets.split(","):
        share = parse_share(text.strip())
        if share is None or not 0 < share < 1:
            raise UsageError(f"--budgets: {text.strip()!r} is no share; expected some such as 0.7,50%")
        found.append(share)
    return found


@dataclass(frozen=True)
class _Functions:
    """The user's functions of a torch module."""

    metric: Callable[[Any], Any]
    finetune: Callable[[Any], Any] | None

    @classmethod
    def load(cls, metric: str, finetune: str | None, python_path: tuple[Path, ...]) -> _Functions:
        from tdedge_exporters.sources import load_function

        train = None if finetune is None else load_function(finetune, python_path)
        return cls(load_function(metric, python_path), train)

    def accuracy(self, module: Any) -> Any:
        """Train the module where that was asked for, and ask the metric.

        Raises:
            UsageError: a function failed.
        """
        from tdedge_exporters.user_metric import call_users

        if self.finetune is not None:
            call_users(self.finetune, module, "--finetune")
        return call_users(self.metric, module.eval(), "--metric")


@dataclass
class _Candidates:
    """Compressed networks: made once per plan, tuned, asked for their accuracy and timed.

    Attributes:
        dense: the network.
        functions: of the user.
        calibration: unlabelled inputs; None where candidates are not fitted.
        target: what is timed.
        planning: how it is planned, and where.
    """

    dense: DenseNetwork
    functions: _Functions
    calibration: Any
    target: Target
    planning: Planning
    _made: dict[str, Any] = field(default_factory=dict)

    def accuracy(self, plan: CompressionPlan) -> float:
        """What the metric says of the network, fitted and tuned as was asked for."""
        module = self._compressed(plan)
        value: float = self.functions.accuracy(module)
        self._made = {plan.model_dump_json(): module}
        return value

    def latency_ms(self, plan: CompressionPlan) -> float:
        """Median latency of the planned network on the target; the shorter of two where others were busy."""
        from tdedge_exporters.budgeting import TargetTimes
        from tdedge_exporters.capture import capture
        from tdedge_exporters.planner.efforts import settings

        times = TargetTimes(self.target, self.planning)
        module = self._made.pop(plan.model_dump_json(), None)
        module = self._compressed(plan) if module is None else module.cpu().eval()
        model = capture(module, example=self.dense.example).model
        remote, threads = self.planning.remote, self.planning.threads
        options = settings(self.planning.effort, self.target, threads=threads)
        if remote is not None:
            options = remote.settings(options)
        with _alone(), tempfile.TemporaryDirectory() as scratch:
            file = times.planned_file(model, Path(scratch))
            cost = times.measure({"candidate": file}, self.target, options.check)["candidate"]
            if not cost.quiet:
                again = times.measure({"candidate": file}, self.target, options.check)["candidate"]
                cost = min(cost, again, key=lambda each: each.median_ms)
        return cost.median_ms

    def place(self) -> dict[str, str]:
        """What latencies depend on beside the network."""
        from tdedge_exporters.planner.planner import here

        remote, threads = self.planning.remote, self.planning.threads
        place = here(self.target, threads) if remote is None else remote.place(self.target, threads)
        return {
            "target": f"{self.target} {place.version}, {threads} threads",
            "machine": place.machine,
            "effort": self.planning.effort,
        }

    def _compressed(self, plan: CompressionPlan) -> Any:
        from tdedge.compress import compress
        from tdedge.modules import ChainLayer

        small = copy.deepcopy(self.dense.module)
        compress(small, plan, example=self.dense.example)
        if self.calibration is not None and any(isinstance(part, ChainLayer) for part in small.modules()):
            from tdedge.training.reconstruct import reconstruct

            reconstruct(small, self.dense.module, self.calibration)
        return small


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Only one process of this user times at once on this machine; others wait."""
    import fcntl

    from tdedge_devices.locks import state_folder

    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "search.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # gone with the process, however it ends
        yield


def _weights_sha256(dense: DenseNetwork) -> str:
    """Identity of the dense network's weights, in short."""
    digest = hashlib.sha256()
    for name, tensor in dense.module.state_dict().items():
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _table(front: list[Tried], tried: int, target: str, kind: str) -> Table:
    from rich.table import Table

    from tdedge.report import numbers
    from tdedge.searching.front import file_name

    table = Table(title=f"Pareto front of {tried} trials", title_justify="left", title_style="bold")
    table.add_column("plan")
    for name in (f"latency, {target} ({kind})", "accuracy", "MACs", "parameters", "trial"):
        table.add_column(name, justify="right")
    for number, each in enumerate(front, 1):
        table.add_row(
            file_name(number) if each.plan.layers else f"{file_name(number)} (dense)",
            numbers.milliseconds(each.latency_ms),
            f"{each.accuracy:.4g}",
            numbers.count(each.macs),
            numbers.count(each.params),
            str(each.number),
        )
    return table
