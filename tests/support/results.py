"""Results of runs as the measuring package gives them, made up: for the code that shows figures."""

from tdedge.report.comparison import Comparison

ENVIRONMENT = {
    "cpu_model": "Some CPU",
    "cores": 2,
    "machine": "x86_64",
    "system": "Linux",
    "python": "3.12.1",
    "versions": {"numpy": "2.1", "openvino": None},
}


def result(times_ms: dict[str, float], *, quiet=True, memory=True, threads=1) -> dict:
    """A run in which every call of a network took the same time; the first is the reference."""
    reference = next(iter(times_ms))
    models = {
        label: {"latency": {"median_ms": ms, "mad_ms": 0.25, "samples_ms": [[ms, ms], [ms]]}}
        for label, ms in times_ms.items()
    }
    if memory:
        for label, ms in times_ms.items():
            models[label]["memory"] = {
                "own_peak_rss_bytes": {"value": ms * 2**20},
                "peak_rss_bytes": {"value": 2**27},
            }
    ratios = {
        label: {
            "reference": reference,
            "speedup": {
                "value": times_ms[reference] / ms,
                "low": 0.9 * times_ms[reference] / ms,
                "high": 1.1 * times_ms[reference] / ms,
            },
        }
        for label, ms in times_ms.items()
        if label != reference
    }
    return {
        "models": models,
        "ratios": ratios,
        "quiet": quiet,
        "foreign_cpu": {"value": 0.02 if quiet else 0.4},
        "options": {"threads": threads},
        "environment": ENVIRONMENT,
    }


def comparison(times_ms=None, costs=None, parities=None, target="onnxruntime", **options) -> Comparison:
    """By default: dense at 8 ms and 400 MACs, small at 4 ms and 100 MACs, a quarter of the parameters."""
    if times_ms is None:
        times_ms = {"dense": 8.0, "small": 4.0}
        costs = {"dense": {"params": 80, "macs": 400}, "small": {"params": 20, "macs": 100}}
    return Comparison(target, result(times_ms, **options), costs or {}, parities or {})
