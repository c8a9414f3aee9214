"""A float32 graph and samples in, a QDQ graph and what it cost out.

    exact rewrites -> what is seen on the samples -> [method] -> [what stays float32] -> QDQ

The graph is a target's planned one: its forms decide which tensors there are to be rounded, so every target
is calibrated on its own, with the same samples and the same equalised weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from tdedge.progress import SILENT, Progress
from tdedge_exporters.quantize import mixed, report
from tdedge_exporters.quantize.assemble import assemble
from tdedge_exporters.quantize.grids import Array, Grids
from tdedge_exporters.quantize.judge import Judge, optimism_db
from tdedge_exporters.quantize.report import QualityReport
from tdedge_exporters.quantize.scheme import scheme
from tdedge_exporters.quantize.settings import Int8


@dataclass(frozen=True)
class Quantised:
    """A quantised network.

    Attributes:
        model: the QDQ graph.
        grids: what is in it.
        report: what it cost on the samples.
        expected_db: signal-to-noise ratio of the outputs on samples that ranges were not found on, all
            products on integers, the best of all methods that were tried; infinite without any noise.
        kept_ms: what the products take that stay float32 for a ratio that was asked for, by the roofline
            model.
    """

    model: ir.Model
    grids: Grids
    report: QualityReport
    expected_db: float
    kept_ms: float = 0.0


def quantize(
    model: ir.Model,
    samples: Sequence[Mapping[str, Array]],
    settings: Int8 | None = None,
    progress: Progress = SILENT,
) -> Quantised:
    """Quantise a float32 graph to int8.

    Args:
        model: in the forms its target executes; not changed.
        samples: calibration data, one feed each.
        settings: how.
        progress: told about the calibration.

    Raises:
        UsageError: no samples, a node to keep that does not exist, or tensors that are not finite.
    """
    chosen = settings or Int8()
    judge = Judge(model, list(samples)[: chosen.samples], chosen.keep, progress)
    return quantize_judged(judge, chosen, progress)


def quantize_judged(
    judge: Judge, settings: Int8, progress: Progress = SILENT, *, less_db: float = 0.0
) -> Quantised:
    """Quantise the graph of a judge to int8.

    Args:
        judge: of the graph and of the samples, with what is to be kept by ``settings``.
        settings: how.
        progress: told about products that are judged.
        less_db: what the ratio is too high by where this method was chosen before, see :func:`optimism_db`.
    """
    whole, feeds = judge.model, judge.feeds
    ratios = {method: judge.expected_db(replace(settings, method=method)) for method in settings.tried}
    less_db += optimism_db(judge.energies_of_methods(settings))
    chosen = replace(settings, method=max(ratios, key=lambda method: ratios[method]))
    kept = dict.fromkeys(scheme(whole, chosen.keep).kept, "asked for")
    kept_ms = 0.0
    if chosen.min_sqnr_db is not None:
        more = []
        if judge.sure_db(chosen) - less_db < chosen.min_sqnr_db:
            more = _kept_for(whole, judge, chosen, chosen.min_sqnr_db, less_db, progress)
        kept |= {name: mixed.why(one, chosen.min_sqnr_db) for one in more for name in one.names}
        kept_ms = sum(one.float_ms for one in more)
    made = assemble(whole, judge.statistics, chosen, tuple(kept))
    quality = QualityReport(
        sqnr_db=report.outputs_sqnr_db(whole, made.model, feeds[: report.MOST_SAMPLES]),
        samples=len(feeds),
        method=chosen.method,
        products=made.products,
        kept=kept,
        tensors=report.tensors(whole, made.model, made.grids, feeds),
        corrected=made.corrected,
    )
    return Quantised(made.model, made.grids, quality, ratios[chosen.method], kept_ms)


def _kept_for(
    model: ir.Model, judge: Judge, settings: Int8, least_db: float, less_db: float, progress: Progress
) -> list[mixed.Stretch]:
    """Products that stay float32 beside those that were asked for."""
    products = scheme(model, settings.keep).products

    def alone_db(names: Sequence[str]) -> float:
        return judge.about_db(settings, [name for name in products if name not in names])

    ranked = mixed.stretches(model, products, alone_db, least_db, progress)
    return mixed.keep_for(ranked, lambda names: judge.sure_db(settings, names) - less_db, least_db)
