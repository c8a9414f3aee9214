"""One run of a program, by this machine's own shell."""

import time
from contextlib import closing

import pytest

from tdedge_devices.local import LocalShell
from tdedge_devices.tools.running import last_words, run_tool
from tdedge_runtimes.errors import RuntimeFailed
from tdedge_runtimes.foreign_cpu import foreign_share


@pytest.fixture
def shell(tmp_path):
    with closing(LocalShell(tmp_path)) as shell:
        yield shell


def end_s(seconds=60.0):
    return time.monotonic() + seconds


def test_both_streams_are_read_and_processor_time_is_the_programs(shell):
    loop = "echo out; echo err >&2; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    run = run_tool(shell, ["sh", "-c", loop], end_s=end_s())
    assert sorted(run.text.split()) == ["err", "out"]
    before, after = run.cpu
    assert before.reason == after.reason == ""
    assert after.total_ticks > before.total_ticks
    assert 0 < after.own_seconds < 60
    assert foreign_share(before, after, ticks_per_second=100)["unit"] == "share of all cores"
    assert run.memory_bytes == {}


def test_memory_is_watched(shell):
    code = "b = bytearray(b'x') * 50_000_000; import time; time.sleep(0.4); del b; time.sleep(0.4)"
    run = run_tool(shell, ["python3", "-c", code], watch=True, end_s=end_s())
    assert run.memory_bytes["VmHWM"] > 50_000_000  # the largest
    assert run.memory_bytes["RssAnon"] < 50_000_000  # at the end
    assert 0 < run.memory_bytes["Pss"] < 50_000_000


def test_cores(shell):
    run = run_tool(shell, ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"], cpus=[0], end_s=end_s())
    assert run.text.split()[-1] == "0"


def test_failures(shell):
    with pytest.raises(RuntimeFailed, match=r"^sh ended with code 3: a Fail$"):
        run_tool(shell, ["sh", "-c", "echo a Fail; echo bye; exit 3"], end_s=end_s())
    with pytest.raises(
        RuntimeFailed, match=r"^sh was ended by signal 9 \(SIGKILL; it may have run out of memory\)"
    ):
        run_tool(shell, ["sh", "-c", "kill -9 $$"], end_s=end_s())
    with pytest.raises(RuntimeFailed, match=r"^none ended with code 127"):
        run_tool(shell, ["/none"], end_s=end_s())


def test_a_program_that_takes_too_long(shell):
    with pytest.raises(RuntimeFailed, match=r"^sleep was not done in time and was ended"):
        run_tool(shell, ["sleep", "60"], end_s=end_s(0.5))


def test_last_words():
    assert last_words("a\nERROR: b\nc\n") == "ERROR: b"
    assert last_words("a\n\nc\n\n") == "c"
    assert last_words("\n") == "it said nothing"
