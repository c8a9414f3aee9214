"""Threads and cores of this process, tried in children."""

import json
import os
import subprocess
import sys

import pytest

from tdedge_runtimes.errors import RuntimeInputError
from tdedge_runtimes.process import THREAD_VARIABLES, pin


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
