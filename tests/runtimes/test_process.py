"""Threads and cores of this process, tried in children."""

import json
import os
import subprocess
import sys

import pytest

from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.process import ABANDONED, THREAD_VARIABLES, pin, read_line


def child(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_threads_are_limited():
    code = (
        "import json, os; from tdedge_runtimes.process import limit_threads, THREAD_VARIABLES as names; "
        "limit_threads(3); print(json.dumps({name: os.environ[name] for name in names}))"
    )
    assert child(code) == dict.fromkeys(THREAD_VARIABLES, "3")


def test_a_process_is_pinned():
    core = max(os.sched_getaffinity(0))
    code = (
        f"import json, os; from tdedge_runtimes.process import pin; pin([{core}]); "
        "print(json.dumps(sorted(os.sched_getaffinity(0))))"
    )
    assert child(code) == [core]


@pytest.mark.parametrize("cpus", [[100_000], [-1], ["0"], [2**80]])
def test_cores_that_do_not_exist(cpus):
    before = os.sched_getaffinity(0)
    with pytest.raises(RuntimeInputError, match="cannot pin to cores"):
        pin(cpus)
    assert os.sched_getaffinity(0) == before


def test_no_cores_change_nothing():
    before = os.sched_getaffinity(0)
    pin([])
    assert os.sched_getaffinity(0) == before


def test_the_first_line_is_read():
    reader, writer = os.pipe()
    os.write(writer, b"one line\n")
    assert read_line(reader) == b"one line"
    os.write(writer, b"the end")
    os.close(writer)
    assert read_line(reader) == b"the end"
    os.close(reader)


@pytest.mark.parametrize("work", ["time.sleep(60)", "\nwhile True: pass"])
def test_a_process_ends_with_its_input(tmp_path, work):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "file").write_text("")
    code = (
        "import sys, time; from tdedge_runtimes.process import end_at_eof; "
        f"end_at_eof(sys.argv[1]); print('ready', flush=True)\n{work.strip()}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, scratch], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(20) == ABANDONED
    assert not scratch.exists()
