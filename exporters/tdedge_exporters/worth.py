"""Whether integers are worth their noise: an int8 target's file against float32 ones, timed when it is made.

Small networks can be slower on integers: what converts numbers at the borders of the graph, and between
operators, costs more than the products save. A few calls tell which float32 network is the fastest: the one
in the same forms, the one as it came, or the runtime's planned one where the export has that too. The file is
then timed against it, interleaved in one process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from tdedge.errors import UnsupportedError
from tdedge_exporters import lowering
from tdedge_exporters.lowering import Lowered, Target
from tdedge_exporters.planner.screening import few_calls
from tdedge_exporters.planning import Planning
from tdedge_runtimes.errors import RuntimesError

_INTEGERS = "int8"


@dataclass(frozen=True)
class Worth:
    """What integers gain.

    Attributes:
        int8_ms: median latency of the int8 file.
        float32_ms: of the fastest float32 one.
        threads: of one inference.
        where: on which machine.
    """

    int8_ms: float
    float32_ms: float
    threads: int
    where: str = "here"

    @property
    def is_faster(self) -> bool:
        """Whether the int8 file is the fastest."""
        return self.int8_ms < self.float32_ms

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        times = f"{self.int8_ms:.3g} ms, float32 {self.float32_ms:.3g} ms {self.where} (median, {threads})"
        if self.is_faster:
            return f"int8 is {self.float32_ms / self.int8_ms:.2f} times as fast as float32: {times}"
        return f"int8 is slower than float32: {times}; int8 serves its size alone, export float32 for speed"


def worth(lowered: Lowered, floats: Iterable[ir.Model], planning: Planning) -> Worth | str:
    """Time an int8 target's file beside float32 networks of the same outputs.

    Args:
        lowered: the target's files.
        floats: float32 graphs: in the target's forms, and in others.
        planning: how and where the export times.

    Returns:
        What integers gain, or why that is not known.

    Raises:
        DeviceError: the device was lost.
    """
    target, remote = lowered.target, planning.remote
    measure, options = planning.whole(target)
    with tempfile.TemporaryDirectory() as scratch:
        files = {_INTEGERS: lowered.entry}
        for index, model in enumerate(floats):
            folder = Path(scratch) / str(index)
            folder.mkdir()
            try:
                files[f"float32 {index}"] = lowering.lower(model, folder, Target(target.runtime)).entry
            except UnsupportedError:
                continue
        if len(files) == 1:
            return f"int8 was not timed beside float32: {target.runtime} cannot run the network in float32"
        try:
            others = {label: path for label, path in files.items() if label != _INTEGERS}
            rough = measure(others, target, few_calls(options)) if len(others) > 1 else {}
            best = min(others, key=lambda label: rough[label].median_ms if rough else 0.0)
            pair = {label: files[label] for label in (_INTEGERS, best)}
            costs = measure(pair, target, options)
        except RuntimesError as error:
            return f"int8 was not timed beside float32: {error.message}"
    where = "here" if remote is None else f"on {remote.name}"
    return Worth(costs[_INTEGERS].median_ms, costs[best].median_ms, planning.threads, where)
