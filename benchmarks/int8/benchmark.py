"""Int8 of planned networks: every chosen row, those that are done left out, then tables and gates.

python -m benchmarks int8 [--quick] [--networks ...] [--formats ...] [--runtimes ...] [--ranks ...]
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.int8.cases import TRAINED_CASES, chosen
from benchmarks.int8.files import Files, Makers, Workplace, size_bytes
from benchmarks.int8.gates import gates
from benchmarks.int8.operators import operators
from benchmarks.int8.rows import INT8, STRICT, Row
from benchmarks.int8.tables import markdown
from benchmarks.outcome import Outcome
from benchmarks.peers.environment import cache_folder
from benchmarks.realisation.benchmark import scratch_folder
from benchmarks.realisation.cases import Case, Selection
from benchmarks.realisation.gates import FAIL
from benchmarks.realisation.measuring import row_options, time_files
from benchmarks.realisation.store import Store, key_of, published
from tdedge import __version__
from tdedge.errors import TdedgeError, UsageError
from tdedge.progress import Progress, track
from tdedge_exporters.planning import Planning
from tdedge_runtimes.environment import describe_environment
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.measure import MeasureOptions

_ABOUT = (
    "All files of a row are timed in one interleaved run. `dense` is torch.onnx and onnxsim, for LiteRT "
    "our lowering of the unplanned network; `dense int8` our integers in the dense network, not planned; "
    "`planned` the decomposed network planned in float32, `int8` planned for integers, equalised, "
    "calibrated and with corrected biases. `over ...` is how much faster `int8` is: than the planned "
    "float32 network, than both dense ones, than integers in the float32 plan, and in the network as it "
    "came. SQNR is the energy of the float32 outputs over that of the error, on inputs that are not among "
    "the calibration samples; beside it those without equalisation, and with ranges from min to max. "
    "`smaller` is float32 bytes over int8 bytes, both planned. `on integers` is the share of the products "
    "with constant weights that the runtime executes so. Weights of all networks but the trained ones are "
    "random, as are their inputs (seeded, standard normal; synthetic clips for THETIS): their times are "
    "those of real networks, their SQNR and classes say how rounding adds up and no more, and their chains, "
    "all channels alike, have nothing to equalise. "
    "Trained ones are decomposed and reconstructed on data without labels, not tuned; they are calibrated "
    "and judged on different samples of their test data, others on 32 and 32 inputs, THETIS on 64 and 128 "
    "clips, C3D, VGG-16 and the 3-D ResNets on 8 and 8. Peers quantise on the same samples. Where all "
    "products on integers have less than 30 dB (3-D networks) or 35 dB (2-D), a table of its own has what is "
    "left of the speed when as many stay float32 as the ratio needs, to judge by the calibration samples "
    "(`--min-sqnr`), in the forms that are the fastest then."
)


def run(options: MeasureOptions, progress: Progress, *, quick: bool, selection: Selection) -> Outcome:
    """Measure what is chosen and not measured yet.

    Raises:
        UsageError: the selection is empty.
    """
    environment, threads = describe_environment(), options.threads
    machine = key_of(environment, __version__)
    key = f"{machine}-quick" if quick else machine  # rows of shorter runs are no substitute
    folder = cache_folder() / "int8"
    store = Store(folder / "rows.jsonl", Row.from_json, published("int8", threads))
    cases = chosen(selection, quick=quick)
    wanted = [Row(case, runtime, threads, key) for case in cases for runtime in selection.targets()]
    if not wanted:
        raise UsageError("the options leave no row; widen --networks, --formats, --runtimes or --ranks")
    if selection.fresh:
        for network in {case.network for case in cases}:
            shutil.rmtree(folder / machine / network, ignore_errors=True)
    missing = [row for row in wanted if selection.fresh or store.get(row) is None]
    # Times that the realisation benchmark, or a run before this one, has measured are not measured again.
    table = cache_folder() / "realisation" / "costs.sqlite"
    table.parent.mkdir(parents=True, exist_ok=True)
    planning = Planning("low" if quick else "normal", threads, table)
    place = Workplace(folder / machine, folder, planning, quick, progress)
    by_case = {case: [row for row in missing if row.case == case] for case in cases}
    items = [(case.name, (case, rows)) for case, rows in by_case.items() if rows]
    for case, rows in track(items, progress, "Measure", len(items)):
        for row in _measured(case, rows, place, row_options(threads, quick=quick)):
            store.add(row)
            sys.stderr.write(f"{row.name}, {threads} threads: {_state(row)}\n")
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
        rows=[row.to_json() for row in done],
    )


def reported(store: Store, key: str, threads: int, wanted: Sequence[Row]) -> list[Row]:
    """The rows of a report: those of ``wanted``, or where it is empty all cases that are done, in order."""
    every = [
        Row(case, runtime, threads, key)
        for case in (*Selection().cases(quick=False), *TRAINED_CASES)
        for runtime in Selection().targets()
    ]
    known = {row.identity: row for row in store.rows(key, threads)}
    return [known[row.identity] for row in wanted or every if row.identity in known]


def _state(row: Row) -> str:
    if row.error:
        return row.error
    ratio = row.sqnr_db()
    return f"{row.speedup or 0:.2f}x over planned float32, {'-' if ratio is None else f'{ratio:.1f}'} dB"


def _measured(case: Case, rows: Sequence[Row], place: Workplace, timing: MeasureOptions) -> Iterator[Row]:
    """The rows of one case; its files are removed when the last is done."""
    with scratch_folder(place.scratch) as scratch:
        makers = Makers(case, replace(place, scratch=Path(scratch)))
        for row in rows:
            try:
                yield _row(row, makers, timing)
            except (TdedgeError, RuntimesError) as error:
                yield replace(row, error=error.message)
            except Exception as error:  # one network must not end a run of hours
                told = " ".join(str(error).split())[:300]
                yield replace(row, error=f"unexpected {type(error).__name__}: {told}")


def _row(row: Row, makers: Makers, timing: MeasureOptions) -> Row:
    made: Files = makers.files(row.runtime)
    timed = time_files(made.paths, row.runtime, timing)
    return replace(
        row,
        dense_macs=makers.dense.macs,
        macs=makers.decomposed.macs,
        samples_ms=timed.samples_ms,
        quality=made.quality,
        size_bytes={label: size_bytes(path) for label, path in made.paths.items()},
        operators=operators(row.runtime, made.paths[INT8]),
        operators_strict=operators(row.runtime, made.paths[STRICT]) if STRICT in made.paths else None,
        kept=made.kept,
        kept_strict=made.kept_strict,
        equalised=made.equalised,
        planning_s=made.planning_s,
        quantising_s=made.quantising_s,
        notes=made.notes,
        foreign_cpu=timed.foreign_cpu,
        quiet=timed.quiet,
    )
