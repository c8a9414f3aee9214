"""Planning for a device: here the worker of this machine stands at the other end."""

import json
from pathlib import Path

import onnx_ir as ir
import pytest
from support.counted import Counted
from support.graphs import Net

from tdedge.errors import MissingError, UsageError
from tdedge_exporters.export import export
from tdedge_exporters.lowering import Target
from tdedge_exporters.planner.efforts import settings
from tdedge_exporters.planner.explain import diff
from tdedge_exporters.planner.plan import from_artifact
from tdedge_exporters.planner.planner import here
from tdedge_exporters.planner.remote import Remote
from tdedge_exporters.planning import Planning
from tdedge_runtimes.client import run_job
from tdedge_runtimes.environment import describe_environment, simd_lanes
from tdedge_runtimes.measure import MeasureOptions

ORT = Target("onnxruntime")


class Device:
    """Does jobs on this machine, but tells made-up times that do not change from run to run.

    Remembers the jobs, and how many calls of each model were timed.
    """

    def __init__(self):
        self.jobs, self.calls = [], set()

    def __call__(self, job):
        self.jobs.append(job)
        result = run_job(job)
        self.calls |= {model["latency"]["count"] for model in result["models"].values()}
        files = {label: Path(model["path"]) for label, model in job["models"].items()}
        for label, cost in Counted()(files, ORT, MeasureOptions()).items():
            result["models"][label]["latency"]["median_ms"] = cost.median_ms
        return result


def remote(do=run_job, figures="measured", **changes) -> Remote:
    return Remote("ssh://board", {**describe_environment(), **changes}, do, figures)


def save_net(path):
    net = Net(1, 4, 6, 16, 16)
    net.conv("x", 4, 4, 3, 5, 5, bias=True, name="a")
    net.add("Relu", "a", name="b")
    net.conv("b", 6, 4, 1, 3, 3, name="y")
    ir.save(net.model(), path)
    return path


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Kind of figures -> (device, manifest, plan of ONNX Runtime) of an export planned for a device."""
    folder = tmp_path_factory.mktemp("planned")
    found = {}
    for figures in ("measured", "emulated"):
        device = Device()
        result = export(
            save_net(folder / "net.onnx"),
            folder / figures,
            to="onnxruntime",
            effort="low",
            cost_table=folder / "costs.sqlite",
            remote=remote(device, figures),
        )
        document = json.loads((folder / figures / "plan.json").read_text())
        found[figures] = (
            device,
            result.manifest,
            from_artifact(document["targets"], "plan.json")["onnxruntime"],
        )
    return found


def test_the_device_times_and_the_plan_names_it(planned):
    device, manifest, plan = planned["measured"]
    assert {job["kind"] for job in device.jobs} == {"latency"}
    assert set(device.jobs[-1]["models"]) == {"plain", "planned"}
    assert (plan.device, plan.check.kind) == ("ssh://board", "measured")
    assert {piece.kind for piece in plan.pieces if piece.rejected} == {"measured"}
    assert plan.why.endswith(", on ssh://board")
    assert manifest.targets[0].plan.why == plan.why


def test_times_that_are_counted_take_few_calls_and_say_so(planned):
    device, _, plan = planned["emulated"]
    assert device.calls == {2}
    assert (plan.device, plan.check.kind) == ("ssh://board", "emulated")
    assert {piece.kind for piece in plan.pieces if piece.rejected} == {"emulated"}
    assert "ms of instruction time" in plan.why


def test_counted_times_are_never_taken_for_measured_ones(planned):
    plan = planned["emulated"][2]
    assert plan.machine.startswith("ssh://board, instruction time: ")
    assert any(line.startswith("machine: ssh://board") for line in diff(plan, planned["measured"][2]))


def test_busy_processes_elsewhere_do_not_matter_where_times_are_counted(tmp_path):
    entry = {"latency": {"median_ms": 2.0, "mad_ms": 0.0, "count": 2}}
    busy = {"models": {"a": entry}, "quiet": False}
    options = settings("low", ORT).trial
    for figures, quiet in (("measured", False), ("emulated", True)):
        cost = remote(lambda job: busy, figures).measure({"a": tmp_path}, ORT, options)["a"]
        assert (cost.median_ms, cost.quiet) == (2.0, quiet)


def test_its_place_is_that_of_the_same_machine_here():
    assert remote(board=None).place(ORT, 2) == here(ORT, 2)
    assert remote(board="Some Board").place(ORT, 2).machine.startswith("Some Board: ")
    assert remote().lanes(Target("tflite")) == simd_lanes()


def test_lanes_depend_on_the_runtime_too():
    board = remote(machine="aarch64", simd_lanes=8)
    assert [board.lanes(Target(name)) for name in ("onnxruntime", "openvino", "tflite")] == [16, 8, 8]
    assert remote(machine="x86_64", simd_lanes=8).lanes(ORT) == 8


def test_only_counted_times_change_how_trials_are_made():
    chosen = settings("normal", ORT, threads=2)
    assert remote().settings(chosen) == chosen
    counted = remote(figures="emulated").settings(chosen)
    assert counted.scope == chosen.scope
    assert (counted.trial.threads, counted.trial.warmup_calls, counted.trial.untimed_calls) == (2, 0, 0)


def test_any_package_of_a_runtime_will_do():
    versions = {"ai-edge-litert": None, "tflite-runtime": "2.14.0"}
    assert remote(versions=versions).place(Target("tflite"), 1).version == "2.14.0"


def test_a_runtime_that_the_device_lacks_is_named():
    with pytest.raises(
        MissingError, match="ssh://board has no openvino; install it there, or leave out openv"
    ):
        remote(versions={"openvino": None}).place(Target("openvino"), 1)


def test_a_device_and_nothing_to_measure_there_contradict_each_other():
    with pytest.raises(UsageError, match="effort none measures nothing on ssh://board"):
        Planning("none", remote=remote())
