"""The user's own measure of a network, and what compression costs in it."""

from __future__ import annotations

import contextlib
import copy
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdedge.compress import compress
from tdedge.errors import TdedgeError, UsageError
from tdedge.plan import CompressionPlan
from tdedge.progress import SILENT, Progress
from tdedge.ranks.options import Option, plan_of
from tdedge.ranks.sensitivity import metric_scales

#: A drop this small, as a share of the dense value, is not told from none.
RESOLUTION = 1e-3


def call_users(function: Callable[[Any], Any], module: Any, name: str) -> Any:
    """What the user's function gives for a module; what it prints goes to stderr.

    Raises:
        UsageError: it failed; one line with its file and line.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return function(module)
    except TdedgeError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        raise UsageError(f"{name} failed: {type(error).__name__}: {error} ({where})") from error


@dataclass
class UserMetric:
    """A function of a torch module whose value is better the higher it is.

    Attributes:
        function: called as ``function(module) -> float``, the module in evaluation mode.
        module: the dense network; never changed.
        example: its example inputs.
        name: of the function, for messages.
        calls: how often it was called.
    """

    function: Callable[[Any], Any]
    module: Any
    example: Any
    name: str = "the metric"
    calls: int = 0
    _dense: list[float] = field(default_factory=list)

    def dense(self) -> float:
        """Value of the dense network.

        Raises:
            UsageError: the function gives no positive finite number.
        """
        if not self._dense:
            value = self.value(copy.deepcopy(self.module))
            if value <= 0:
                raise UsageError(f"{self.name} gives {value} for the dense network; expected more than 0")
            self._dense.append(value)
        return self._dense[0]

    def value(self, module: Any) -> float:
        """Value of a network.

        Raises:
            UsageError: the function gives no finite number.
        """
        self.calls += 1
        found = call_users(self.function, module.eval(), self.name)
        try:
            value = float(found)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"{self.name} gives {found!r}; expected a finite number, better the higher")
        return value

    def drop(self, plan: CompressionPlan) -> float:
        """What the network loses when it is compressed by a plan, as a share of the dense value."""
        small = copy.deepcopy(self.module)
        compress(small, plan, example=self.example)
        return self.drop_of(small)

    def drop_of(self, module: Any) -> float:
        """What a compressed network loses, as a share of the dense value; negative where it gains."""
        return 1 - self.value(module) / self.dense()

    def scales(
        self,
        options: Mapping[str, Sequence[Option]],
        errors: Mapping[str, Sequence[float]],
        progress: Progress = SILENT,
    ) -> dict[str, float]:
        """Loss per squared error of every layer, one call of the function per layer."""

        def drop(name: str, index: int) -> float:
            lost = self.drop(plan_of({name: options[name][index]}))
            progress.step(name)
            return lost

        progress.start("Ask the metric", sum(any(values) for values in errors.values()))
        try:
            return metric_scales(errors, drop, RESOLUTION)
        finally:
            progress.finish()
