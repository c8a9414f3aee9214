"""The result of an example: a table, claims beside what was found, and the same as JSON."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from examples.int8 import ALLOWED, RUNTIMES, Integers
from examples.steps import Row
from examples.tasks import Task
from tdedge.report import numbers
from tdedge.report.comparison import Comparison

_INT8_HEAD = ("network", "float32", *RUNTIMES, "same class as float32", "SQNR dB", "stay float32")
_HEAD = (
    "network", "MACs", "params", "decomposed", "reconstructed", "tuned", "of the file", "latency", "speed-up",
    "95 % interval", "parity",
)  # fmt: skip
#: Networks of the timed run that are the dense one: as everybody exports it, and planned.
PLAIN, DENSE = "dense-plain", "dense"

_INT8_ABOUT = (
    "On integers of 8 bits, accuracy on the test samples by runtime; nothing was trained for it. Ranges are "
    "those on 48 samples to learn from, without labels. Agreement with the float32 network and the "
    "signal-to-noise ratio of the scores are those of the runtime that keeps least; where the ratio is "
    "below 20 dB on held-out samples, the noisiest products stay float32."
)


@dataclass(frozen=True)
class Result:
    """Everything about one task.

    Attributes:
        task: the example.
        times: how many times fewer multiply-accumulates and parameters were asked for.
        seeds: seed -> rows, the dense one first; the first seed's networks are exported and timed.
        comparison: the timed run; None where nothing was exported.
        format_names: the formats that were asked for; all where there are none.
    """

    task: Task
    times: float
    seeds: Mapping[int, Sequence[Row]]
    comparison: Comparison | None
    format_names: Sequence[str] = ()

    def mean(self, label: str, stage: str) -> float | None:
        """Accuracy of a network at a stage, mean over the seeds; None where it has no such stage."""
        found = [getattr(row, stage) for rows in self.seeds.values() for row in rows if row.label == label]
        values = [value for value in found if value is not None]
        return statistics.fmean(values) if values else None

    def labels(self) -> list[str]:
        """Networks in order, the dense one first."""
        return [row.label for row in next(iter(self.seeds.values()))]

    def claims(self) -> list[tuple[str, str, bool]]:
        """What is claimed, what was found, and whether that holds."""
        dense = _number(self.mean(DENSE, "tuned"))
        compressed = [label for label in self.labels() if label != DENSE]
        found = []
        for label in compressed:
            tuned = _number(self.mean(label, "tuned"))
            allowed = 2 if label in self.task.published else 1
            found.append(
                (
                    f"{label}: within {allowed} point{'s' * (allowed > 1)} of the dense network",
                    f"{100 * (tuned - dense):+.2f} points",
                    tuned >= dense - allowed / 100 - 1e-9,
                )
            )
        for label in compressed:
            before, after = self.mean(label, "decomposed"), self.mean(label, "reconstructed")
            if before is not None and after is not None and before < dense - 0.005:
                share = (after - before) / (dense - before)
                claim = f"{label}: reconstruction without labels recovers half of what decomposition lost"
                found.append((claim, f"{100 * share:.0f} %", share >= 0.5))
        for better, worse, text in (
            ("ntt-scratch", "tt-scratch", "NTT above TT, both from scratch"),
            ("kcp-scratch", DENSE, "KCP from scratch at or above the dense network"),
        ):
            left, right = self.mean(better, "tuned"), self.mean(worse, "tuned")
            if left is not None and right is not None:
                is_right = left >= right if worse == DENSE else left > right
                found.append((text, f"{100 * (left - right):+.2f} points", is_right))
        return found + self._int8_claims()

    def _int8_claims(self) -> list[tuple[str, str, bool]]:
        """Every network on integers, in the runtime that keeps least."""
        found = []
        for row in self._on_integers():
            claim = f"{row.label} int8: within {ALLOWED:g} points of float32 in every runtime"
            lost = [
                (each.accuracy, runtime) for runtime, each in row.int8.items() if each.accuracy is not None
            ]
            if len(lost) < len(row.int8):
                missing = [runtime for runtime, each in row.int8.items() if each.accuracy is None]
                found.append((claim, f"no file: {', '.join(missing)}", False))
                continue
            least, runtime = min(lost)
            points = 100 * (least - row.tuned)
            found.append((claim, f"{points:+.2f} points ({runtime})", points >= -ALLOWED - 1e-9))
        return found

    def _on_integers(self) -> list[Row]:
        return [row for row in next(iter(self.seeds.values())) if row.int8]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON; timed samples are left out."""
        comparison = None
        if self.comparison is not None:
            raw = self.comparison.result
            comparison = {
                "target": self.comparison.target,
                "options": raw["options"],
                "environment": raw["environment"],
                "foreign_cpu": raw["foreign_cpu"],
                "quiet": raw["quiet"],
                "rows": [vars(row) for row in self.comparison.rows()],
            }
        return {
            "schema_version": 1,
            "task": self.task.name,
            "times": self.times,
            "training": {
                "dense": asdict(self.task.dense),
                "tune": asdict(self.task.tune),
                "scratch": asdict(self.task.scratch or self.task.dense),
            },
            "seeds": {str(seed): [asdict(row) for row in rows] for seed, rows in self.seeds.items()},
            "claims": [{"claim": claim, "found": found, "holds": ok} for claim, found, ok in self.claims()],
            "measured": comparison,
        }

    def to_markdown(self) -> str:
        """The result for people."""
        task, seeds = self.task, ", ".join(map(str, self.seeds))
        lines = [f"# Example: {task.name}", "", f"`{self._command()}`", ""]
        lines += [*textwrap.wrap(task.about, 110), "", *textwrap.wrap(self._how(seeds), 110), ""]
        lines += [f"| {' | '.join(_HEAD)} |", "|---|" + "---:|" * (len(_HEAD) - 1)]
        lines += self._rows()
        lines += self._int8_table()
        lines += ["", "| claimed | found | holds |", "|---|---:|---|"]
        lines += [
            f"| {claim} | {found} | {'yes' if ok else '**no**'} |" for claim, found, ok in self.claims()
        ]
        lines += ["", "Ranks of the first seed:", ""]
        for row in next(iter(self.seeds.values())):
            if row.ranks:
                lines.append(f"- {row.label}: " + "; ".join(f"{k} {v}" for k, v in row.ranks.items()))
        return "\n".join(lines) + "\n"

    def _command(self) -> str:
        command = f"python -m examples.train {self.task.name}"
        if self.format_names:
            command += f" --formats {','.join(self.format_names)}"
        return command if len(self.seeds) == 1 else f"{command} --seeds {len(self.seeds)}"

    def _rows(self) -> list[str]:
        rows = {row.label: row for row in next(iter(self.seeds.values()))}
        times = {row.label: row for row in self.comparison.rows()} if self.comparison is not None else {}
        names = [PLAIN] * (PLAIN in times) + list(rows)
        lines = []
        for name in names:
            row, timed = rows[DENSE if name == PLAIN else name], times.get(name)
            stages = ("decomposed", "reconstructed", "tuned", "exported")
            cells = [name, numbers.ratio(row.macs_ratio), numbers.ratio(row.params_ratio)]
            cells += [_percent(self.mean(row.label, stage)) for stage in stages]
            if timed is None:
                cells += ["-"] * 4
            else:
                low_high = f"{timed.speedup_low:.2f} to {timed.speedup_high:.2f}" if timed.speedup else "-"
                cells += [numbers.milliseconds(timed.latency_ms), numbers.ratio(timed.speedup), low_high]
                cells.append(numbers.error(timed.parity))
            lines.append(f"| {' | '.join(cells)} |")
        return lines

    def _int8_table(self) -> list[str]:
        """Accuracy on integers by runtime; agreement and ratio of the runtime that keeps least."""
        rows = self._on_integers()
        if not rows:
            return []
        lines = ["", *textwrap.wrap(_INT8_ABOUT, 110), ""]
        lines += [f"| {' | '.join(_INT8_HEAD)} |", "|---|" + "---:|" * (len(_INT8_HEAD) - 1)]
        for row in rows:
            each = [row.int8.get(runtime, Integers()) for runtime in RUNTIMES]
            ratios = [one.sqnr_db for one in each if one.sqnr_db is not None]
            same = [one.agreement for one in each if one.agreement is not None]
            kept = dict.fromkeys(str(one.kept) for one in each if one.accuracy is not None)
            cells = [row.label, _percent(row.tuned), *(_percent(one.accuracy) for one in each)]
            cells += [_percent(min(same, default=None)), f"{min(ratios):.1f}" if ratios else "-"]
            lines.append(f"| {' | '.join([*cells, ', '.join(kept) or '-'])} |")
        errors = [
            f"- {row.label}, {runtime}: {one.error}"
            for row in rows
            for runtime, one in row.int8.items()
            if one.error
        ]
        return [*lines, *(["", "Without a file:", "", *errors] if errors else [])]

    def _how(self, seeds: str) -> str:
        alone, dense = self.task.scratch or self.task.dense, self.task.dense
        text = (
            f"Ranks make the network at least {self.times:g} times cheaper in multiply-accumulates and "
            "parameters, where they are not published ones. Accuracies are those on the test samples: as "
            "decomposed, after the local reconstruction on samples without labels, after fine-tuning "
            "with distillation from the dense network, and of the exported file in its runtime. Networks "
            f"from scratch learn from the labels alone, {alone.epochs} epochs at a learning rate of "
            f"{alone.learning_rate:g}; the dense one {dense.epochs} epochs at {dense.learning_rate:g}. "
            f"Seeds: {seeds}; accuracies are means over them, of the file at the first."
        )
        if self.comparison is not None:
            where = self.comparison.result["environment"]
            text += (
                f" Latency: {self.comparison.target} on {where['cpu_model']}, "
                f"{self.comparison.threads} thread, batch 1, all networks interleaved in one process, "
                "planned with effort normal; dense-plain is the dense network without planning, against "
                "which speed-ups are given."
            )
            if not self.comparison.quiet:
                text += " Other processes used more than 6 % of the CPU during the run."
        return text


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> float:
    assert value is not None
    return value
