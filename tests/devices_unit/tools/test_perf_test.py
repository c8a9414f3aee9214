"""What onnxruntime_perf_test and its forks print and write."""

import pytest

from tdedge_devices.tools.perf_test import command, parse, parse_results
from tdedge_runtimes.errors import RuntimeFailed

USUAL = """Disabling intra-op thread spinning between runs
Session creation time cost: 0.0102016 s
First inference time cost: 2 ms
Total inference time cost: 0.185739 s
Total inference requests: 100
Average inference time cost: 1.85739 ms
Total inference run time: 0.18581 s
Number of inferences per second: 538.184
Avg CPU usage: 96 %
Peak working set size: 36696064 bytes
Avg CPU usage:96
Peak working set size:36696064
Runs:100
Min Latency: 0.00183404 s
Max Latency: 0.00190312 s
P50 Latency: 0.00185674 s
P90 Latency: 0.00187215 s
P95 Latency: 0.00187393 s
P99 Latency: 0.00190312 s
P999 Latency: 0.00190312 s
"""
OF_2025 = """Setting intra_op_num_threads to 1
Session creation time cost: 0.217932 s
First inference time cost: 196 ms
Total inference time cost: 0.49481 s
Total inference requests: 5
Average inference time cost total: 98.961997 ms
Total inference run time: 0.494854 s
Peak working set size: 271122432 bytes
"""
FORK = """using SpaceMITExecutionProvider
Session creation time cost: 2.74716 s
Total inference time cost: 6.22935 s
Total inference requests: 100
Average inference time cost: 62.2935 ms
Total CPU usage: 382 %
Min Latency: 0.0529422 s
"""
OF_2020 = """Session creation time cost:1.84149 s
Total inference time cost:0.734606 s
Total inference requests:1
Average inference time cost:734.606 ms
Total inference run time:0.734761 s
"""
OF_2019 = """Session creation time cost: 0.5 s
Total time cost: 58.8053
Total iterations: 1000
Average time cost: 58.8053 ms
Total run time: 58.8102 s
Min Latency is 0.0559777 sec
"""


def test_the_usual_build():
    report = parse(USUAL)
    assert (report.calls, report.mean_ms, report.load_ms) == (100, 1.85739, 10.2016)
    assert (report.first_ms, report.run_time_s, report.peak_bytes) == (2.0, 0.18581, 36696064)
    assert set(report.latency_ms) == {"Min", "Max", "P50", "P90", "P95", "P99", "P999"}
    assert report.latency_ms["Min"] == pytest.approx(1.83404)
    assert report.latency_ms["P50"] == pytest.approx(1.85674)


def test_other_builds():
    assert parse(OF_2025).mean_ms == 98.961997
    fork = parse(FORK)
    assert (fork.mean_ms, fork.first_ms, fork.peak_bytes, fork.run_time_s) == (62.2935, None, None, None)
    old = parse(OF_2020)
    assert (old.calls, old.mean_ms, old.load_ms) == (1, 734.606, 1841.49)
    oldest = parse(OF_2019)
    assert (oldest.calls, oldest.mean_ms, oldest.run_time_s) == (1000, 58.8053, 58.8102)
    assert oldest.latency_ms == pytest.approx({"Min": 55.9777})


def test_a_first_inference_of_less_than_a_millisecond_is_not_told():
    assert parse(USUAL.replace("cost: 2 ms", "cost: 0 ms")).first_ms is None


def test_what_tells_no_time():
    with pytest.raises(RuntimeFailed, match=r"told no inference time: Load model from m.onnx failed:x"):
        parse("Setting intra_op_num_threads to 1\nLoad model from m.onnx failed:x\n")


def test_the_file_of_single_times():
    assert parse_results("graph,0.0025,36696064,96,0\ngraph,0.0015,36696064,96,1\n", 2) == [2.5, 1.5]


def test_a_file_with_two_times_names_with_commas_and_statistics():
    lines = ["main,graph,0.0005,0.002,36696064,96,0", "main,graph,0.0006,1.5e-3,36696064,96,1"]
    text = "\n".join([*lines, "", "Min Latency: 0.0015 s", ""])
    assert parse_results(text, 2) == [2.0, 1.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "wrote 0 times; expected 2"),
        ("graph,0.0025,36696064,96,0\n", "wrote 1 times; expected 2"),
        ("failed to open result file\n", "wrote 'failed to open result file'; expected NAME,SECONDS"),
    ],
)
def test_a_broken_file(text, said):
    with pytest.raises(RuntimeFailed, match=said):
        parse_results(text, 2)


@pytest.mark.parametrize(
    ("how", "words"), [({"calls": 12}, "-m times -r 12"), ({"seconds": 3}, "-m duration -t 3")]
)
def test_command_line(how, words):
    line = command("/d/perf", "/d/m.onnx", "/d/t.csv", threads=2, **how)
    assert " ".join(line) == f"/d/perf -e cpu {words} -x 2 -s -I /d/m.onnx /d/t.csv"
