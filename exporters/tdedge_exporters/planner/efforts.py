"""How much is tried and how long it is timed: ``low``, ``normal`` and ``max``; ``none`` plans nothing.

What is tried depends on the runtime, from what was measured (see ``docs/planner.md``): TensorFlow Lite files
are laid out by their own lowering, so that of the layouts only frames apart are tried there; OpenVINO lays
5-D tensors out by itself, so that frames together are tried at ``max`` alone; it does not gain from whole
lanes either. On integers every product is rounded: products are not added up where one could compute the sum.
Minimal filtering takes float32: it rounds more than the filter does.
"""

from __future__ import annotations

from dataclasses import dataclass

from tdedge.errors import UsageError
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.candidates import Scope
from tdedge_exporters.planner.layouts import Layout
from tdedge_runtimes.measure import MeasureOptions

#: Forms that multiply from the left: runtimes have integer products with constant right factors alone.
FLOAT_FORMS = frozenset(("matmul.left", "matmul.time"))

EFFORTS = ("none", "low", "normal", "max")


@dataclass(frozen=True)
class Settings:
    """What one effort means for one target.

    Attributes:
        scope: what is tried.
        trial: how one form is timed.
        check: how the whole network is timed.
        confirms: whether forms that decide the plan are timed twice.
    """

    scope: Scope
    trial: MeasureOptions
    check: MeasureOptions
    confirms: bool = False


def settings(effort: str, target: Target, *, threads: int = 1, lanes: int = 16) -> Settings:
    """The settings of an effort.

    Raises:
        UsageError: for an unknown one.
    """
    if effort not in EFFORTS:
        raise UsageError(f"unknown effort {effort!r}; expected one of {', '.join(EFFORTS)}")
    frames = (Layout.FRAMES,) if effort == "max" else ()
    layouts = {
        "onnxruntime": (Layout.FRAMES, Layout.LAST, Layout.APART),
        "openvino": (*frames, Layout.LAST, Layout.APART),
        "tflite": (Layout.APART,),
    }[target.runtime]
    scope = Scope(
        lanes=lanes,
        layouts=layouts,
        packings={"low": 1, "normal": 3}.get(effort, 8),
        volumes=target.runtime == "openvino" or effort == "max",
        pad_ranks=target.runtime == "onnxruntime" or effort == "max",
        waste={"low": 1.5, "normal": 2.5}.get(effort, 6.0),
        without=FLOAT_FORMS if target.calibrated else frozenset(),
        partial=not target.calibrated,
        minimal=target.precision == "float32",
    )
    blocks = {"low": 2, "normal": 3}.get(effort, 9)
    trial = MeasureOptions(
        threads=threads,
        warmup_calls=1,
        warmup_seconds=0.01,
        per_block=1,
        min_blocks=blocks,
        max_blocks=5 * blocks,
        max_seconds=0.3 * blocks,
        resamples=10,
    )
    check = MeasureOptions(threads=threads, min_blocks=3 * blocks, max_seconds=2.0 * blocks, resamples=100)
    return Settings(scope, trial, check, confirms=effort != "low")
