"""The benchmark programs that are known."""

from __future__ import annotations

from tdedge_devices.tools.litert_program import BenchmarkModel
from tdedge_devices.tools.ort_program import PerfTest

#: The programs, by the setting that gives them.
PROGRAMS: dict[str, type[BenchmarkModel] | type[PerfTest]] = {
    BenchmarkModel.name: BenchmarkModel,
    PerfTest.name: PerfTest,
}
