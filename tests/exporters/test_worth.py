"""Integers against float32, timed when they are made."""

import onnx_ir as ir
import pytest
from support.eight_bits import residual, save_samples
from support.rendered import shown

from tdedge.report import quality
from tdedge_exporters.export import export
from tdedge_exporters.lowering import Target, lower
from tdedge_exporters.planner.costs import Cost
from tdedge_exporters.planning import Planning
from tdedge_exporters.quantize.assemble import with_any_grids
from tdedge_exporters.worth import Worth, worth
from tdedge_runtimes.errors import RuntimeFailed


class Clock:
    """Milliseconds by label; remembers what it was asked, with the most blocks of every time."""

    def __init__(self, **ms):
        self.ms = ms
        self.asked = []

    def __call__(self, files, target, options):
        assert all(path.is_file() for path in files.values())
        self.asked.append((sorted(files), options.max_blocks))
        return {label: Cost(self.ms[label.replace(" ", "_")]) for label in files}


@pytest.fixture
def lowered(tmp_path):
    return lower(with_any_grids(residual()), tmp_path, Target("onnxruntime", "int8"))


def test_the_fastest_float32_network_is_what_counts(lowered):
    clock = Clock(int8=2.0, float32_0=5.0, float32_1=3.0)
    found = worth(lowered, [residual(), residual(1)], Planning("low", 2, measure=clock))
    assert found == Worth(2.0, 3.0, 2)
    assert found.is_faster
    assert str(found) == (
        "int8 is 1.50 times as fast as float32: 2 ms, float32 3 ms here (median, 2 threads)"
    )
    (few, blocks), (pair, _) = clock.asked
    assert (few, blocks) == (["float32 0", "float32 1"], 2)
    assert pair == ["float32 1", "int8"]


def test_slower_integers_are_told(lowered):
    found = worth(lowered, [residual()], Planning("low", measure=Clock(int8=2.0, float32_0=1.0)))
    assert not found.is_faster
    assert str(found).startswith("int8 is slower than float32: 2 ms, float32 1 ms here (median, 1 thread)")
    assert "export float32 for speed" in str(found)


def test_what_cannot_be_timed_is_told(lowered):
    def broken(files, target, options):
        raise RuntimeFailed("the worker died")

    told = worth(lowered, [residual()], Planning("low", measure=broken))
    assert told == "int8 was not timed beside float32: the worker died"


@pytest.mark.parametrize(("int8_ms", "warned"), [(0.5, False), (50.0, True)])
def test_an_export_says_what_integers_gain(tmp_path, int8_ms, warned):
    model = residual()
    ir.save(model, tmp_path / "net.onnx")
    data = save_samples(tmp_path / "data.npz", model, 8)

    def measure(files, target, options):
        return {label: Cost(int8_ms if label == "int8" else 5.0) for label in files}

    given = {"calibration": data, "cost_table": tmp_path / "costs.sqlite", "measure": measure}
    planned = export(tmp_path / "net.onnx", tmp_path / "a", to="onnxruntime:int8", effort="low", **given)
    (entry,) = planned.manifest.targets
    assert any("float32" in note and "here (median, 1 thread)" in note for note in entry.notes)
    assert (entry.quality.int8_ms, entry.quality.float32_ms) == (int8_ms, 5.0)
    table = " ".join(shown(quality.summary(planned.manifest)))
    assert f" {5.0 / int8_ms:.2f}x " in table
    warnings = [text for text in planned.manifest.warnings if "int8 is slower" in text]
    assert [text.partition(": ")[0] for text in warnings] == (["onnxruntime:int8"] if warned else [])
    given |= {"effort": "low", "forms": planned.plans}
    again = export(tmp_path / "net.onnx", tmp_path / "b", to="onnxruntime:int8", **given)
    (entry,) = again.manifest.targets
    assert not any("float32" in note for note in entry.notes), "nothing is timed"
    assert entry.quality.int8_ms is None
