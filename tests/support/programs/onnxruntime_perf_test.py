"""Runs an .onnx file by ONNX Runtime's Python package and prints what ``onnxruntime_perf_test`` prints."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> int:
    words = sys.argv[1:]
    flags = {
        words[at]: words[at + 1]
        for at in range(len(words) - 1)
        if words[at] in ("-e", "-m", "-r", "-t", "-x", "-p")
    }
    model, results = words[-2:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(flags["-x"])
    if "-p" in flags:
        options.enable_profiling = True
        options.profile_file_prefix = flags["-p"]
    print(f"Setting intra_op_num_threads to {flags['-x']}")
    start = time.perf_counter()
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        print(f"Load model from {model} failed:{str(error).splitlines()[0]}", file=sys.stderr)
        return 255
    created = time.perf_counter() - start
    generator = np.random.default_rng(0)
    feeds = {entry.name: generator.random(entry.shape).astype(np.float32) for entry in session.get_inputs()}

    def call() -> float:
        begin = time.perf_counter()
        session.run(None, feeds)
        return time.perf_counter() - begin

    first, begin, times = call(), time.perf_counter(), []
    busy = time.process_time()
    calls, seconds = int(flags.get("-r", "0")), float(flags.get("-t", "0"))
    while len(times) < calls or time.perf_counter() - begin < seconds:
        times.append(call())
    ran = time.perf_counter() - begin
    usage = int(100 * (time.process_time() - busy) / ran)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"Session creation time cost: {created:.6g} s")
    print(f"First inference time cost: {int(first * 1e3)} ms")
    print(f"Total inference time cost: {sum(times):.6g} s")
    print(f"Total inference requests: {len(times)}")
    print(f"Average inference time cost: {1e3 * sum(times) / len(times):.6g} ms")
    print(f"Total inference run time: {ran:.6g} s")
    print(f"Number of inferences per second: {len(times) / ran:.6g} ")
    print(f"Avg CPU usage: {usage} %")
    print(f"Peak working set size: {peak} bytes")
    ordered = sorted(times)
    latencies = {"Min": 0.0, "Max": 1.0, "P50": 0.5, "P90": 0.9, "P95": 0.95, "P99": 0.99, "P999": 0.999}
    lines = [
        f"{name} Latency: {ordered[min(int(len(ordered) * part), len(ordered) - 1)]:.6g} s"
        for name, part in latencies.items()
    ]
    print("\n".join(lines))
    with Path(results).open("a") as file:
        file.writelines(f"graph,{value:.6g},{peak},{usage},{at}\n" for at, value in enumerate(times))
        file.write("\n" + "\n".join(lines) + "\n")
    if "-p" in flags:
        session.end_profiling()
    return 0


sys.exit(main())
