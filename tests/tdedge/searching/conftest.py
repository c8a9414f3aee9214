"""A small space with figures that are known exactly, and the processes that search it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("worker.py")
TESTS = Path(__file__).parents[2]


@pytest.fixture
def process(tmp_path):
    """Start a process that searches ``study.db`` of the test's folder; killed when the test ends."""
    started = []

    def start(trials: int, *options: str) -> subprocess.Popen:
        command = [sys.executable, str(WORKER), str(tmp_path), str(trials), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()
