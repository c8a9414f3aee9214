"""A result of devices as ``tdedge bench --on`` writes it, made up: for the code that shows figures."""

import copy
from typing import Any

from tdedge_runtimes.statistics import ratio_of_medians, summarise_ms

ENVIRONMENT = {
    "system": "Linux",
    "kernel": "6.6",
    "machine": "aarch64",
    "python": "3.11.2",
    "cpu_model": "Arm Cortex-A76",
    "board": "Raspberry Pi 5",
    "cores": 4,
    "affinity": [0, 1, 2, 3],
    "governor": ["ondemand"],
    "frequency_mhz": [2400.0],
    "load_1min": {"value": 0.1, "unit": "runnable tasks", "kind": "measured"},
    "temperature_celsius": {"thermal_zone0:cpu-thermal": 48.0},
    "thread_variables": {"OMP_NUM_THREADS": "1"},
    "versions": {"numpy": "2.1.0", "onnxruntime": "1.31.1", "openvino": None},
}
CONDITIONS = {
    "celsius": 48.0,
    "zones_celsius": {"cpu": 48.0},
    "governors": ["ondemand"],
    "frequency_mhz": [2400.0],
    "ceiling_mhz": [2400.0],
    "bits": 0,
    "states": {},
    "counters": {},
}
GATE = {"state": "resting", "waited_s": 60.0, "limit_celsius": 45.0, "conditions": CONDITIONS}
OPTIONS = {
    "threads": 1,
    "warmup_calls": 3,
    "warmup_seconds": 0.2,
    "per_block": 2,
    "min_blocks": 10,
    "max_blocks": 500,
    "max_seconds": 10.0,
    "seed": 0,
    "confidence": 0.95,
    "resamples": 2000,
    "quiet_limit": 0.06,
    "cpus": [],
}


def figure(value: float | None, unit: str, kind: str = "measured") -> dict[str, Any]:
    if value is None:
        return {"value": None, "unit": unit, "reason": "no sensor. Looked for rapl: none"}
    return {"value": value, "unit": unit, "kind": kind}


def energy(joules: float | None) -> dict[str, Any]:
    values = {
        "gross_j_per_inference": (joules, "J"),
        "net_j_per_inference": (joules and joules / 2, "J"),
        "gross_energy_mj": (joules and joules * 1e3, "mJ"),
        "net_energy_mj": (joules and joules * 500, "mJ"),
        "idle_power_w": (joules and 2.3, "W"),
        "run_power_w": (joules and 4.2, "W"),
    }
    figures = {name: figure(value, unit) for name, (value, unit) in values.items()}
    if joules is None:
        return {**figures, "windows": []}
    spread = {
        "gross_j_per_inference": {"low": joules * 0.98, "high": joules * 1.02, "windows": 3},
        "net_j_per_inference": {"low": joules * 0.49, "high": joules * 0.51, "windows": 3},
    }
    told = {"sensor": "pmic", "scope": "12 rails, lower bound", "rails": ["VDD_CORE"], "method": "windows"}
    return {**figures, **told, "spread": spread, "windows": []}


def curve(first_ms: float) -> dict[str, Any]:
    points = [
        {"at_s": float(second), "median_ms": first_ms * (1 + second / 600), "p90_ms": first_ms * 1.5}
        for second in range(1, 241)
    ]
    stretches = [
        {
            "begin_s": 60.0 * number,
            "end_s": 60.0 * number + 59,
            "inferences": 100,
            "celsius": 50.0 + 10 * number,
            "frequency_mhz": [2400.0],
            "throttled": ["throttled (vcgencmd get_throttled 0x4)"] if number > 1 else [],
        }
        for number in range(4)
    ]
    told = {"kind": "measured", "complete": True, "gate": GATE, "points": points, "stretches": stretches}
    return {**told, "first_ms": first_ms, "last_ms": first_ms * 1.4, "slowdown": 1.4}


def operator(ordinal: int, name: str, us: float, op_type: str = "Conv") -> dict[str, Any]:
    times = {"median_us": us, "mean_us": us, "min_us": us, "max_us": us}
    told = {"ordinal": ordinal, "name": name, "delegated": False, "node": ordinal, "op_type": op_type}
    return {**told, **times, "kind": "measured"}


def profile(*ops: dict[str, Any]) -> dict[str, Any]:
    total = sum(op["median_us"] for op in ops)
    told = {"kind": "measured", "method": "20 runs", "runs": 20}
    return {**told, "total_median_us": total, "ops": list(ops)}


def model(blocks: list[list[float]], kind: str) -> dict[str, Any]:
    memory = {
        name: figure(value * 2.0**20, "bytes", kind)
        for name, value in {
            "peak_rss_bytes": 62,
            "anonymous_bytes": 20,
            "heap_bytes": 18,
            "pss_bytes": 37,
            "own_peak_rss_bytes": 8,
        }.items()
    }
    return {
        "file": "model.onnx",
        "file_bytes": 2**20,
        "sha256": "0" * 64,
        "session": {"runtime": "onnxruntime", "version": "1", "threads": 1, "execution": {}},
        "inputs": [{"name": "x", "shape": [1, 3], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": [1, 4], "dtype": "float32"}],
        "load": figure(12.0, "ms", kind),
        "first_inference": figure(7.0, "ms", kind),
        "latency": {"kind": kind, "method": "blocks", **summarise_ms(blocks), "samples_ms": blocks},
        "memory": {"method": "fresh process", **memory},
    }


def device(kind: str = "measured", *, valid: bool = True, names=("base", "small")) -> dict[str, Any]:
    """A device that ran two networks of one target, the second four times as fast."""
    times = dict(zip(names, (40.0, 10.0), strict=True))
    blocks = {
        label: [[ms * (1 + 0.01 * (i % 7)), ms * (1 + 0.02 * (i % 5))] for i in range(30)]
        for label, ms in times.items()
    }
    base, small = names
    result = {
        "schema_version": 1,
        "kind": "bench",
        "created": "2026-11-21T20:00:00+00:00",
        "options": OPTIONS,
        "environment": ENVIRONMENT,
        "models": {label: model(blocks[label], kind) for label in names},
        "ratios": {
            small: {
                "kind": kind,
                "reference": base,
                "speedup": ratio_of_medians(blocks[base], blocks[small]).to_json(),
            }
        },
        "orders": [[base, small]] * 30,
        "foreign_cpu": figure(0.01, "share of all cores"),
        "quiet": True,
        "window": figure(9.0, "s"),
    }
    good = {"valid": True, "reasons": [], "gate": GATE, "before": CONDITIONS, "after": CONDITIONS}
    reasons = ["under-voltage (vcgencmd get_throttled 0x50005)"]
    bad = {**good, "valid": False, "reasons": reasons, "samples_ms": blocks}
    parity = {"passed": True, "max_rel": 3e-7, "tolerance": 1e-4, "precision": "float32", "reason": ""}
    ops = (operator(0, "conv1", 900.0), operator(1, "relu", 100.0, "Relu"))
    errors = [] if valid else [{"piece": "onnxruntime/latency", "message": reasons[0], "exit_code": 1}]
    return copy.deepcopy(
        {
            "url": "ssh://pi@192.0.2.7",
            "settings": {},
            "figure_kind": kind,
            "environment": ENVIRONMENT,
            "started": "2026-11-21T20:00:00+00:00",
            "finished": "2026-11-21T20:10:00+00:00",
            "errors": errors,
            "notes": ["connection lost, trying again: connection reset"],
            "targets": {
                "onnxruntime": {
                    "valid": valid,
                    "reasons": [] if valid else reasons,
                    "result": result,
                    "rounds": [good, bad] if valid else [bad, bad],
                    "costs": {
                        base: {"params": 80, "macs": 600, "weight_bytes": 2**21},
                        small: {"params": 20, "macs": 100, "weight_bytes": 2**20},
                    },
                    "parity": {label: {**parity, "outputs": []} for label in names},
                    "profiles": {base: profile(*ops), small: {"reason": "not told"}},
                    "energy": {base: energy(0.2), small: energy(0.05)},
                    "sustained": {base: curve(40.0), small: curve(10.0)},
                }
            },
        }
    )


def gone() -> dict[str, Any]:
    """A device that was not there."""
    error = {"piece": "connection", "message": "adb://R58M cannot be reached", "exit_code": 4}
    return {
        "url": "adb://R58M",
        "settings": {},
        "figure_kind": "measured",
        "environment": None,
        "targets": {},
        "errors": [error],
        "notes": [],
    }


def document(**devices: dict[str, Any]) -> dict[str, Any]:
    """A result file."""
    return {"schema_version": 1, "comparisons": [], "profiles": {}, "devices": devices}
