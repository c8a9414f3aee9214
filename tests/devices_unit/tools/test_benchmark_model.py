"""What builds of benchmark_model of all years print."""

import pytest

from tdedge_devices.tools.benchmark_model import MOST_RAW, Row, command, parse, parse_profile
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.measure import MeasureOptions

NEW = """STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [m.tflite]
Loaded model m.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
The input model file size (MB): 24.6229
Initialized session in 119.515ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=155 first=2761 curr=3012 min=2608 max=13256 avg=3243.58 std=1330 p5=2647 median=2790 p95=3300

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781 p95=3169

Inference timings in us: Init: 119515, First inference: 2761, Warmup (avg): 3243.58, Inference (avg): 2942.27
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
Memory footprint delta from the start of the tool (MB): init=39.4531 overall=40.8281
Overall peak memory footprint (MB) via periodic monitoring: 44.5
"""
OLD = """STARTING!
Loaded model m.tflite
resolved reporter
Initialized session in 9.933ms
Running benchmark for at least 4 iterations and at least 0.5 seconds
count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944

Running benchmark for at least 10 iterations and at least 1 seconds
count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39

Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6
"""
OLD_MEMORY = """Initialized session in 0.855ms.
count=1 curr=1041765
count=2 first=32891 curr=33978 min=32891 max=33978 avg=33434.5 std=543
Average inference timings in us: Warmup: 1.04176e+06, Init: 855, Inference: 33434.5
Peak memory footprint (MB): init=0 overall=12.8672
"""
LOGCAT = """05-30 15:16:44.858  3380  3380 I tflite  : Initialized session in 126.059ms.
05-30 15:16:45.362  3380  3380 I tflite  : count=40 first=32942 curr=12594 min=11340 max=32942 avg=12581.9
05-30 15:16:46.365  3380  3380 I tflite  : count=75 first=12840 curr=11853 min=11787 max=13649 avg=12167.6
05-30 15:16:46.366  3380  3380 I tflite  : Inference timings in us: Init: 126059, First inference: 32942, \
Warmup (avg): 12581.9, Inference (avg): 12167.6
"""


def test_a_new_build():
    report = parse(NEW)
    assert (report.calls, report.samples_ms, report.mean_ms) == (337, (2.94227,), 2.94227)
    assert (report.load_ms, report.first_ms) == (119.515, 2.761)
    megabyte = 2**20
    assert report.footprint_bytes == pytest.approx(
        {"init": 39.4531 * megabyte, "overall": 40.8281 * megabyte, "monitored": 44.5 * megabyte}
    )


def test_every_line_may_begin_with_a_level():
    assert parse("\n".join(f"INFO: {line}" for line in NEW.splitlines())) == parse(NEW)


def test_old_builds():
    report = parse(OLD)
    assert (report.calls, report.mean_ms, report.load_ms, report.first_ms) == (15, 66.7676, 9.933, 127.425)
    assert report.footprint_bytes == {}
    report = parse(OLD_MEMORY)
    assert report.first_ms == 1041.765  # a warm-up of one call tells only `curr`
    assert report.samples_ms == (32.891, 33.978)
    assert report.footprint_bytes == pytest.approx({"init": 0.0, "overall": 12.8672 * 2**20})


def test_logcat():
    report = parse(LOGCAT)
    assert (report.calls, report.mean_ms, report.load_ms, report.first_ms) == (75, 12.1676, 126.059, 32.942)


@pytest.mark.parametrize(
    ("line", "samples_ms"),
    [
        ("count=1 curr=1041765", (1041.765,)),
        ("count=2 curr=33(all same)", (0.033, 0.033)),
        ("count=2 first=40 curr=30 min=30 max=40 avg=35 std=5", (0.04, 0.03)),
        ("count=3 first=40 curr=30 min=30 max=41 avg=37 std=5", (0.037,)),
        ("count=50 curr=1.04176e+06(all same)", (1041.76,)),
    ],
)
def test_calls_are_told_one_by_one_up_to_two(line, samples_ms):
    text = f"Initialized session in 1ms.\ncount=5 first=9 curr=8 min=8 max=9 avg=8.5 std=1\n{line}\n"
    assert parse(text).samples_ms == pytest.approx(samples_ms)
    assert MOST_RAW == 2


def test_init_from_the_summary_where_the_session_has_no_line():
    text = (
        "count=2 first=40 curr=30 min=30 max=40 avg=35 std=5\n"
        "Inference timings in us: Init: 6395, First inference: 2761"
    )
    assert (parse(text).load_ms, parse(text).first_ms) == (6.395, 2.761)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "told no inference time: it said nothing"),
        (
            "STARTING!\nERROR: Could not open 'x'.\nbye\n",
            "told no inference time: ERROR: Could not open 'x'.",
        ),
        ("Initialized session in 1ms.\ncount=0\n", "told no inference time"),
        ("count=1 curr=5\n", "told no time to load the model"),
    ],
)
def test_what_tells_no_time(text, said):
    with pytest.raises(RuntimeFailed, match=said):
        parse(text)


def test_command_line():
    options = MeasureOptions(threads=3, warmup_calls=4, warmup_seconds=0.25)
    words = command("/d/benchmark_model", "/d/m.tflite", options, calls=2, seconds=1.5, profile=True)
    assert words[0] == "/d/benchmark_model"
    assert set(words[1:]) >= {
        "--graph=/d/m.tflite",
        "--num_threads=3",
        "--num_runs=2",
        "--min_secs=1.5",
        "--warmup_runs=4",
        "--warmup_min_secs=0.25",
        "--enable_op_profiling=true",
    }


HEAD = "============================== Run Order =============================="
TOP = "============================== Top by Computation Time =============================="
INITIAL = f"""Profiling Info for Benchmark Initialization:
{HEAD}
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t         AllocateTensors\t    0.102\t    0.102\t100.000%\t100.000%\t     0.000\t        1\tAllocateTensors/0

Timings (microseconds): count=1 curr=102
"""


def test_a_profile_in_which_what_a_delegate_ran_is_among_the_rest():
    text = INITIAL + (
        f"INFO: Operator-wise Profiling Info for Regular Benchmark Runs:\n{HEAD}\n"
        "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
        "\tQUANTIZE\t0.199\t0.203\t1.328%\t1.328%\t0.000\t1\t[tfl.quantize]:0\n"
        "\tConvolution (NHWC, QC8) IGEMM\t0.398\t0.407\t2.658%\t3.986%\t0.000\t1\t"
        "Delegate/Convolution (NHWC, QC8) IGEMM:0\n"
        "\tConvolution (NHWC, QC8) DWConv\t0.428\t0.051\t4.317%\t8.304%\t0.000\t13\t"
        "Delegate/Convolution (NHWC, QC8) DWConv:1\n\n"
        f"{TOP}\n\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
        "\tNOT\t9\t9\t1%\t1%\t0.0\t1\tTHIS\n"
    )
    rows = parse_profile(text)
    assert [(row.name, row.delegated, row.node) for row in rows] == [
        ("QUANTIZE", False, 0),
        ("Convolution (NHWC, QC8) IGEMM", True, 0),
        ("Convolution (NHWC, QC8) DWConv", True, 1),
    ]
    # An operator called 13 times: the table has the mean of one call and the share of all.
    assert [row.average_us for row in rows] == pytest.approx([203, 407, 663])


def test_a_profile_with_a_table_of_the_delegate_for_itself():
    columns = "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
    text = INITIAL + (
        f"Operator-wise Profiling Info for Regular Benchmark Runs:\n{HEAD}\n{columns}"
        "\tTRANSPOSE\t0.1\t0.1\t1%\t1%\t0.0\t1\t[in]:0\n"
        "\tTfLiteXNNPackDelegate\t0.9\t0.9\t1%\t1%\t0.0\t1\t[out]:7\n"
        "\tSOFTMAX\t0.2\t0.2\t1%\t1%\t0.0\t1\t[soft]:8\n\n"
        f"{TOP}\n{columns}\tTfLiteXNNPackDelegate\t0.9\t0.9\t1%\t1%\t0.0\t1\t[out]:7\n\n"
        f"Delegate internal: \n{HEAD}\n{columns}"
        "\tFully Connected (NC, F32) GEMM\t0.8\t0.7\t1%\t1%\t0.0\t1\t"
        "Delegate/Fully Connected (NC, F32) GEMM:0\n"
    )
    assert parse_profile(text) == [
        Row("TRANSPOSE", 100.0, False, 0),
        Row("Fully Connected (NC, F32) GEMM", 700.0, True, 0),
        Row("SOFTMAX", 200.0, False, 8),
    ]


def test_a_profile_of_an_old_build_with_spaces_and_a_column_of_starts():
    text = f"""count=626 first=1675 curr=1587 min=1586 max=1684 avg=1592.71 std=14

{HEAD}
             [node type]                  [start]         [first]        [avg ms]            [%]          [cdf%]     [mem KB]      [times called]  [Name]
       DEPTHWISE_CONV_2D                    0.000           0.802           0.719        45.131%         45.131%        0.000              1       [Relu6]
         FULLY_CONNECTED                    0.719           0.848           0.849        53.325%         98.456%        0.000              0       [BiasAdd_1]

{TOP}
             [node type]                  [start]         [first]        [avg ms]            [%]          [cdf%]     [mem KB]      [times called]  [Name]
         FULLY_CONNECTED                    0.719           0.848           0.849        53.325%         98.456%        0.000              1       [BiasAdd_1]
"""  # noqa: E501 - as it was printed
    rows = parse_profile(text)
    assert [(row.name, row.delegated, row.node) for row in rows] == [
        ("DEPTHWISE_CONV_2D", False, 0),
        ("FULLY_CONNECTED", False, 1),
    ]
    assert [row.average_us for row in rows] == pytest.approx([719, 849])


def test_no_profile():
    with pytest.raises(RuntimeFailed, match="told no time of single operators"):
        parse_profile(NEW)
