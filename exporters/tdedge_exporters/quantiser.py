"""The int8 stage of an export: the equalised network, and each target's planned graph on integers."""

from __future__ import annotations

from functools import cached_property

import onnx_ir as ir

from tdedge.progress import SILENT, Progress
from tdedge_exporters.calibration import Calibration
from tdedge_exporters.lowering import Target
from tdedge_exporters.quantize.equalise import equalised
from tdedge_exporters.quantize.quantize import Quantised, quantize
from tdedge_exporters.quantize.settings import Int8


class Quantiser:
    """Quantises one network for any number of targets.

    Args:
        model: the composed network; not changed.
        data: samples; None where no target is int8.
        settings: how.
        progress: told about the calibration.
    """

    def __init__(
        self, model: ir.Model, data: Calibration | None, settings: Int8, progress: Progress = SILENT
    ) -> None:
        self.model, self.data, self.settings, self.progress = model, data, settings, progress

    def network(self, target: Target) -> ir.Model:
        """The network to plan for a target: for int8 with its channels equalised, which changes no output."""
        return self._equalised[0] if target.calibrated else self.model

    def links(self, target: Target) -> int:
        """How many of its links were rescaled."""
        return self._equalised[1] if target.calibrated else 0

    def quantised(self, planned: ir.Model, target: Target) -> Quantised | None:
        """A target's planned graph on integers; None for a target of floats."""
        if not target.calibrated or self.data is None:
            return None
        return quantize(planned, self.data.samples, self.settings, self.progress)

    @cached_property
    def _equalised(self) -> tuple[ir.Model, int]:
        if self.data is None or not self.settings.equalise:
            return self.model, 0
        model, rescaled = equalised(self.model, self.data.samples, self.progress)
        return model, len(rescaled)
