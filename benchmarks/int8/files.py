"""The files of one row: dense and planned in float32, on integers as we make them, and as peers do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from benchmarks.int8 import networks, peers
from benchmarks.int8.cases import SQNR_DB, axes, shape_of
from benchmarks.int8.networks import Samples
from benchmarks.int8.quality import Outputs, Quality, outputs, quality
from benchmarks.int8.rows import (
    DENSE,
    DENSE_INT8,
    FLOAT_PLAN,
    INT8,
    MIN_MAX,
    NOT_EQUALISED,
    PLANNED,
    STRICT,
    UNPLANNED,
)
from benchmarks.realisation.cases import Case
from benchmarks.realisation.exporting import Exported, export_network
from tdedge.errors import GateError, TdedgeError
from tdedge.progress import Progress
from tdedge_exporters import lowering
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.timing import lower_to_time
from tdedge_exporters.planning import FAILED, Planning, Way, ways
from tdedge_exporters.quantiser import Equalised, Made, Quantising, timer
from tdedge_exporters.quantize.quantize import Quantised, quantize
from tdedge_exporters.quantize.settings import Int8
from tdedge_runtimes.errors import RuntimesError


@dataclass(frozen=True)
class Workplace:
    """Where and how files are made.

    Attributes:
        kept: folder of dense networks, which all cases share.
        scratch: folder of one case, removed with it.
        planning: effort, threads and known times.
        quick: leave out the peers that live in environments of their own, and what is compared with alone
            of 3-D networks: not planned, ONNX Runtime takes seconds for them on integers; leave out what
            keeps products in float32 for the ratio that is asked for.
        progress: told about the steps.
    """

    kept: Path
    scratch: Path
    planning: Planning
    quick: bool
    progress: Progress


@dataclass
class Files:
    """What was made for one row; attributes as those of :class:`benchmarks.int8.rows.Row`."""

    paths: dict[str, Path] = field(default_factory=dict)
    quality: dict[str, Quality] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    kept_strict: dict[str, str] = field(default_factory=dict)
    equalised: int = 0
    planning_s: float = 0.0
    quantising_s: float = 0.0


class Makers:
    """The graphs of one case, each made when first asked for, and the files of its rows."""

    def __init__(self, case: Case, place: Workplace) -> None:
        self.case = case
        self.place = place

    @cached_property
    def dense(self) -> Exported:
        """The dense network, kept for all cases and runs."""
        name = self.case.network
        return self._export(self.place.kept / name, lambda: networks.dense(name))

    @cached_property
    def decomposed(self) -> Exported:
        """The network of the case."""
        return self._export(self.place.scratch / "decomposed", lambda: networks.decomposed(self.case))

    @cached_property
    def samples(self) -> Samples:
        """Its inputs, named as the decomposed network's."""
        return networks.samples(self.case.network, ir.load(self.decomposed.rewritten))

    @property
    def _settings(self) -> Int8:
        return Int8(samples=len(self.samples.calibration))

    @cached_property
    def exact(self) -> Outputs:
        """Its float32 outputs on the held-out inputs."""
        return outputs("onnxruntime", self.decomposed.rewritten, self.samples.held_out)

    @cached_property
    def equalised(self) -> Equalised:
        """Its graph with equalised links."""
        plain = ir.load(self.decomposed.rewritten)
        return Equalised.of(plain, self.samples.calibration, self.place.progress)

    def files(self, runtime: str) -> Files:
        """Everything of one row.

        Raises:
            TdedgeError: the planned files cannot be made.
            RuntimesError: they cannot be run.
        """
        made = Files()
        folder = self.place.scratch / runtime
        floats, integers = Target(runtime), Target(runtime, "int8")
        made.paths[DENSE] = self._plain(self.dense, self.place.kept / self.case.network, floats)
        made.paths[DENSE_INT8], made.quality[DENSE_INT8] = self._dense_int8(integers)
        ((planned, _), *_), _ = self._planned(ir.load(self.decomposed.rewritten), floats)
        made.paths[PLANNED] = lowering.lower(planned, _new(folder / "planned"), floats).entry
        found, whole = self._int8(made, integers, folder)
        if not self.place.quick:
            self._strict(made, found, whole, integers, folder)
        if self.place.quick and axes(self.case.network) == 3:
            return made
        self._try(made, FLOAT_PLAN, lambda: self._timed(planned, folder / "float-plan", integers))
        rewritten = ir.load(self.decomposed.rewritten)
        self._try(made, UNPLANNED, lambda: self._timed(rewritten, folder / "not-planned", integers))
        sources = {".onnx": self.decomposed.rewritten, ".tflite": made.paths[PLANNED]}
        for name in peers.names(runtime, quick=self.place.quick):
            self._peer(made, name, runtime, sources, folder / name.partition(" ")[0])
        return made

    def _int8(self, made: Files, target: Target, folder: Path) -> tuple[tuple[Way, ...], Made]:
        """The planned int8 network, and in quality alone what it is without parts of it.

        Returns:
            How the runtime may execute it, and the first way on integers.
        """
        found, made.planning_s = self._planned(ir.load(self.decomposed.rewritten), target)
        start = time.monotonic()
        chosen = self._quantising(self._settings, target).better(found[0])
        made.quantising_s = time.monotonic() - start
        quantised, made.equalised = chosen.quantised, chosen.links
        made.kept = dict(quantised.report.kept)
        made.paths[INT8] = lowering.lower(quantised.model, _new(folder / "int8"), target).entry
        made.quality[INT8] = self._judged(target.runtime, made.paths[INT8])
        for label, other, settings in (
            (NOT_EQUALISED, found[0][0], replace(self._settings, equalise=False)),
            (MIN_MAX, chosen.source, replace(self._settings, method="minmax")),
        ):
            path = lowering.lower(
                self._quantised(other, settings).model, _new(folder / label.replace(" ", "-")), target
            ).entry
            made.quality[label] = self._judged(target.runtime, path)
        return found, chosen

    def _strict(self, made: Files, found: Sequence[Way], whole: Made, target: Target, folder: Path) -> None:
        """The network with the ratio that is asked for, where it has less with all products on integers."""
        least_db, ratio = SQNR_DB[axes(self.case.network)], made.quality[INT8].sqnr_db
        if ratio is None or ratio >= least_db:
            return
        settings = replace(self._settings, min_sqnr_db=least_db).with_margin()
        stage = self._quantising(settings, target)
        chosen = stage.at_ratio(whole, found, timer(self.place.planning))
        quantised = chosen.quantised
        made.kept_strict = dict(quantised.report.kept)
        made.paths[STRICT] = lowering.lower(quantised.model, _new(folder / "strict"), target).entry
        made.quality[STRICT] = self._judged(target.runtime, made.paths[STRICT])

    def _peer(self, made: Files, name: str, runtime: str, sources: Mapping[str, Path], folder: Path) -> None:
        def make() -> Path:
            path = peers.make(name, runtime, sources, self.samples.calibration, folder)
            made.quality[name] = self._judged(runtime, path, foreign=True)
            return path

        self._try(made, name, make)

    def _dense_int8(self, target: Target) -> tuple[Path, Quality]:
        """The dense network on integers, not planned; kept for all cases and runs."""
        folder = self.place.kept / self.case.network / f"int8-{target.runtime}"
        about = folder / "quality.json"
        if about.exists():
            known = json.loads(about.read_text(encoding="utf-8"))
            return folder / known.pop("entry"), Quality(**known)
        model, feeds, exact = self._dense_quantised
        path = lowering.lower(model, _new(folder), target).entry
        found = quality(exact, outputs(target.runtime, path, feeds))
        about.write_text(json.dumps({"entry": path.name, **asdict(found)}) + "\n", encoding="utf-8")
        return path, found

    @cached_property
    def _dense_quantised(self) -> tuple[ir.Model, Sequence[networks.Feed], Outputs]:
        """The dense graph on integers, held-out inputs of it, and its float32 outputs."""
        model = ir.load(self.dense.rewritten)
        feeds = networks.samples(self.case.network, model)
        equal = Equalised.of(model, feeds.calibration, self.place.progress)
        any_runtime = Target("onnxruntime", "int8")
        stage = Quantising(equal, feeds.calibration, self._settings, any_runtime, self.place.progress)
        made = stage.better((model, None))
        exact = outputs("onnxruntime", self.dense.rewritten, feeds.held_out)
        return made.quantised.model, feeds.held_out, exact

    @staticmethod
    def _plain(exported: Exported, folder: Path, target: Target) -> Path:
        """As peers deploy it; in TensorFlow Lite our lowering of the unplanned network."""
        if target.runtime != "tflite":
            return exported.plain
        path = folder / "plain" / "model.tflite"
        if path.exists():
            return path
        return lowering.lower(ir.load(exported.rewritten), _new(folder / "plain"), target).entry

    def _planned(self, model: ir.Model, target: Target) -> tuple[tuple[Way, ...], float]:
        start = time.monotonic()
        found = ways(model, target, self.place.planning, self.place.progress)
        _, plan = found[0]
        if plan is not None and plan.why.startswith(FAILED):
            raise GateError(f"{target}: {plan.why}")
        return found, time.monotonic() - start

    def _quantising(self, settings: Int8, target: Target) -> Quantising:
        return Quantising(self.equalised, self.samples.calibration, settings, target, self.place.progress)

    def _quantised(self, model: ir.Model, settings: Int8) -> Quantised:
        return quantize(model, self.samples.calibration, settings, self.place.progress)

    def _judged(self, runtime: str, path: Path, *, foreign: bool = False) -> Quality:
        return quality(self.exact, outputs(runtime, path, self.samples.held_out, foreign=foreign))

    @staticmethod
    def _timed(model: ir.Model, folder: Path, target: Target) -> Path:
        return lower_to_time(model, _new(folder), target).entry

    @staticmethod
    def _try(made: Files, label: str, make: Callable[[], Path]) -> None:
        try:
            made.paths[label] = make()
        except (TdedgeError, RuntimesError) as error:
            made.notes[label] = error.message

    def _export(self, folder: Path, make: Callable[[], object]) -> Exported:
        return Exported.load(folder) or export_network(make(), shape_of(self.case.network), folder)


def size_bytes(path: Path) -> int:
    """Bytes of a model file, with the weights beside it where they have a file of their own."""
    weights = path.with_suffix(".bin")
    beside = weights.stat().st_size if path.suffix == ".xml" and weights.exists() else 0
    return path.stat().st_size + beside


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
