"""The whole benchmark: every chosen row, those that are done left out, then tables, gates and the plot."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from benchmarks.model_zoo.catalogue import ZOO
from benchmarks.outcome import Outcome
from benchmarks.peers.environment import cache_folder
from benchmarks.realisation import networks
from benchmarks.realisation.cases import Case, Selection
from benchmarks.realisation.conv3d import needed_bytes, write_conv3d
from benchmarks.realisation.exporting import Exported, export_network
from benchmarks.realisation.gates import FAIL, gates
from benchmarks.realisation.limits import bound_ms
from benchmarks.realisation.machine import available_memory_bytes, sgemm_gflops, stream_gbs
from benchmarks.realisation.measuring import own_memory_bytes, parity, row_options, time_files
from benchmarks.realisation.planning import Files, prepare_target
from benchmarks.realisation.plot import realisations
from benchmarks.realisation.rows import ALIGNED, CONV3D, PLAIN, PLAIN_DENSE, PLANNED, PLANNED_DENSE, Row
from benchmarks.realisation.store import Store, key_of, published
from benchmarks.realisation.tables import markdown
from tdedge import __version__
from tdedge.errors import TdedgeError, UsageError
from tdedge.progress import Progress, track
from tdedge_exporters.planner.costs import CostTable, open_table
from tdedge_runtimes.environment import describe_environment
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.measure import MeasureOptions

_ABOUT = (
    "All files of a row are timed in one interleaved run. `plain` is torch.onnx and onnxsim, for LiteRT our "
    "lowering of the unplanned network, clips in 2-D forms; converters make `CONV_3D` of those, which the "
    "last columns have: every convolution of the dense network so, the rest as ours; `planned` is the whole "
    "pipeline at normal effort (low effort with --quick); `best dense` is "
    "the faster of plain and planned dense network. `speed-up` is planned over plain dense. What a network "
    "`realises` is its speed-up over its MAC ratio: against the plain dense export, and, for the planned "
    "one, against the best dense network. `sgemm peak` is the planned network's share of what a matrix "
    "product reaches on as many threads. `first layer`, where it is dense, is its share of the time, plain "
    "and planned, by the times that the plan was made from (of a network in blocked kernels: by those of "
    "the others). `planning` is the time it took and the small "
    "models that were timed for it; what earlier rows had timed is not timed again."
)


@dataclass(frozen=True)
class _Run:
    """What all rows of one run share."""

    folder: Path
    quick: bool
    options: MeasureOptions
    table: CostTable
    sgemm_gflops: float
    stream_gbs: float
    progress: Progress

    @property
    def threads(self) -> int:
        return self.options.threads

    @property
    def effort(self) -> str:
        return "low" if self.quick else "normal"


def run(options: MeasureOptions, progress: Progress, *, quick: bool, selection: Selection) -> Outcome:
    """Measure what is chosen and not measured yet.

    Raises:
        UsageError: the selection is empty.
    """
    environment = describe_environment()
    threads = options.threads
    folder = cache_folder() / "realisation"
    machine = key_of(environment, __version__)
    key = f"{machine}-quick" if quick else machine  # rows of shorter runs are no substitute
    store = Store(folder / "rows.jsonl", published=published("realisation", threads))
    cases = selection.cases(quick=quick)
    wanted = [Row(case, runtime, threads, key) for case in cases for runtime in selection.targets()]
    if not wanted:
        raise UsageError("the options leave no row; widen --networks, --formats, --runtimes or --ranks")
    if selection.fresh:
        for network in {case.network for case in cases}:
            shutil.rmtree(folder / machine / network, ignore_errors=True)
    missing = [row for row in wanted if selection.fresh or store.get(row) is None]
    with open_table(folder / "costs.sqlite") as table:
        timing = row_options(threads, quick=quick)
        rates = sgemm_gflops(threads), stream_gbs(threads)
        shared = _Run(folder / machine, quick, timing, table, *rates, progress)
        by_case = {case: [row for row in missing if row.case == case] for case in cases}
        items = [(case.name, (case, rows)) for case, rows in by_case.items() if rows]
        for case, rows in track(items, progress, "Measure", len(items)):
            for row in _measured(case, rows, shared):
                store.add(row)
                state = row.error or f"{row.realisation:.2f} of {row.mac_ratio:.2f}x realised"
                sys.stderr.write(f"{row.name}, {threads} threads: {state}\n")
    done = reported(store, key, threads, wanted if quick else [])
    checked = gates(done, threads)
    return Outcome(
        environment=environment,
        about=_ABOUT,
        tables=markdown(done, checked),
        document={
            "schema_version": 1,
            "environment": environment,
            "rows": [{**row.to_json(), "derived": row.derived()} for row in done],
            "gates": [asdict(gate) for gate in checked],
        },
        failures=tuple(gate.line() for gate in checked if gate.state == FAIL),
        plots={"": realisations(done)},
        rows=[row.to_json() for row in done],
    )


def reported(store: Store, key: str, threads: int, wanted: Sequence[Row]) -> list[Row]:
    """The rows of a report: those of ``wanted``, or where it is empty all of the matrix that are done."""
    matrix = [
        Row(case, runtime, threads, key)
        for case in Selection().cases(quick=False)
        for runtime in Selection().targets()
    ]
    known = {row.identity: row for row in store.rows(key, threads)}
    return [known[row.identity] for row in wanted or matrix if row.identity in known]


def _measured(case: Case, rows: list[Row], shared: _Run) -> Iterator[Row]:
    """The rows of one case; its files are removed when the last is done."""
    with scratch_folder(shared.folder) as scratch:
        exports = _Exports(case, scratch, shared)
        for row in rows:
            try:
                yield _row(row, exports, shared)
            except (TdedgeError, RuntimesError) as error:
                yield replace(row, error=error.message)
            except Exception as error:  # one network must not end a run of hours
                yield replace(
                    row, error=f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
                )


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A new folder below ``folder``, removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield Path(scratch)


class _Exports:
    """The graphs that the rows of one case need, each made when first asked for."""

    def __init__(self, case: Case, scratch: Path, shared: _Run) -> None:
        self.case = case
        self._scratch = scratch
        self._shared = shared

    @property
    def conv3d(self) -> Path | None:
        """The dense network with ``CONV_3D`` operators; None where the machine has too little memory."""
        model = ir.load(self.dense().rewritten)
        free = available_memory_bytes()
        if free is None or free < needed_bytes(model):
            return None
        return write_conv3d(model, self._scratch / "conv3d.tflite")

    def dense(self) -> Exported:
        """The dense network, kept for all cases and runs."""
        name = self.case.network
        return self._export(self._shared.folder / name, lambda: networks.dense(name))

    def decomposed(self, case: Case) -> Exported:
        """The network of a case."""
        folder = self._scratch / case.rank.replace("/", "-")
        return self._export(folder, lambda: networks.decomposed(case))

    def files(self, exported: Exported, runtime: str) -> Files:
        """Plain and planned file for a runtime."""
        shared = self._shared
        effort, table = shared.effort, shared.table
        return prepare_target(exported, runtime, shared.threads, effort, table, shared.progress)

    def _export(self, folder: Path, make: Callable[[], Any]) -> Exported:
        shape = ZOO[self.case.network].shape
        return Exported.load(folder) or export_network(make(), shape, folder)


def _row(row: Row, exports: _Exports, shared: _Run) -> Row:
    dense, decomposed = exports.dense(), exports.decomposed(row.case)
    dense_files, own = exports.files(dense, row.runtime), exports.files(decomposed, row.runtime)
    difference = parity(row.runtime, own.plain, own.planned)
    files = {
        PLAIN_DENSE: dense_files.plain,
        PLANNED_DENSE: dense_files.planned,
        PLAIN: own.plain,
        PLANNED: own.planned,
        **({} if shared.quick else _beside(row, exports)),
    }
    timed = time_files(files, row.runtime, shared.options)
    return replace(
        row,
        dense_macs=dense.macs,
        macs=decomposed.macs,
        own_memory_bytes=own_memory_bytes(own.planned, row.runtime, shared.options),
        first_layer_ms=own.first_layer_ms if ZOO[row.case.network].stem else None,
        forms=own.forms,
        planning_s=own.planning_s,
        again_s=own.again_s,
        trials=own.trials,
        parity=difference,
        bound_ms=bound_ms(own.work, shared.sgemm_gflops, shared.stream_gbs),
        executed_macs={PLANNED_DENSE: dense_files.executed_macs, PLANNED: own.executed_macs},
        parts=own.parts,
        sgemm_gflops=shared.sgemm_gflops,
        samples_ms=timed.samples_ms,
        streams_gbs=timed.streams_gbs,
        mode=timed.mode,
        foreign_cpu=timed.foreign_cpu,
        quiet=timed.quiet,
    )


def _beside(row: Row, exports: _Exports) -> Mapping[str, Path]:
    """Files that a gate compares the planned one with, in the same run."""
    if len(ZOO[row.case.network].shape) == 5 and row.runtime == "tflite":
        path = exports.conv3d
        return {} if path is None else {CONV3D: path}
    if row.case.aligned is not None:
        aligned = exports.decomposed(row.case.aligned)
        return {ALIGNED: exports.files(aligned, row.runtime).planned}
    return {}
