"""A measure for the planner that counts instead of timing: the same costs every time, on every machine."""

from collections.abc import Mapping
from pathlib import Path
from random import Random

import onnx_ir as ir

from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.checks import IN_BLOCKED, PLAIN, PLANNED
from tdedge_exporters.planner.costs import Cost
from tdedge_runtimes.measure import MeasureOptions


class Counted:
    """Adds up the costs of the nodes of .onnx files; other files cost a number that their label decides.

    Remembers how many trials it timed, and for which targets a whole network was checked.

    Args:
        conv3d: milliseconds of a convolution of a 5-D tensor; one of fewer axes takes 1.
        transpose: milliseconds of a Transpose; any other node takes 0.01.
        planned: milliseconds of the whole planned network, where they are to be others.
    """

    def __init__(self, conv3d: float = 10.0, transpose: float = 0.01, planned: float | None = None) -> None:
        self.conv3d, self.transpose, self.planned = conv3d, transpose, planned
        self.trials = 0
        self.checks: list[str] = []

    def __call__(self, files: Mapping[str, Path], target: Target, options: MeasureOptions) -> dict[str, Cost]:
        costs = {label: Cost(self._ms(label, path)) for label, path in files.items()}
        if PLAIN not in files:
            self.trials += len(files)
            return costs
        self.checks.append(str(target))
        return costs if self.planned is None else {**costs, PLANNED: Cost(self.planned)}

    def _ms(self, label: str, path: Path) -> float:
        if path.suffix != ".onnx":
            whole = {PLAIN: 2.0, PLANNED: 1.0, **dict.fromkeys(IN_BLOCKED.values(), 3.0)}
            return whole.get(label, Random(label).uniform(1, 9))
        total = 0.0
        for node in ir.load(path).graph:
            if node.op_type == "Conv":
                total += self.conv3d if len(node.inputs[0].shape or ()) == 5 else 1.0
            else:
                total += self.transpose if node.op_type == "Transpose" else 0.01
        return total
