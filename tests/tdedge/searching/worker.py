"""A process of its own that searches: ``worker.py FOLDER TRIALS [--stop-at N] [--wait-for FILE]``.

Every evaluation is one line of a log of this process; at the N-th one it says so and stands still until it is
killed.
"""

import argparse
import os
import time
from pathlib import Path

from support.searching import accuracy, latency_ms, space

from tdedge.searching.study import search

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("trials", type=int)
parser.add_argument("--stop-at", type=int)
parser.add_argument("--wait-for", type=Path)
chosen = parser.parse_args()
log = (chosen.folder / f"evaluated.{os.getpid()}").open("w", buffering=1)
count = 0


def evaluate(plan):
    global count
    count += 1
    log.write(plan.model_dump_json(exclude_none=True) + "\n")
    if count == chosen.stop_at:
        (chosen.folder / "standing").touch()
        time.sleep(600)
    time.sleep(0.05)
    return accuracy(plan)


if chosen.wait_for is not None:
    (chosen.folder / f"ready.{os.getpid()}").touch()
    while not chosen.wait_for.exists():
        time.sleep(0.01)
result = search(
    space(),
    evaluate,
    latency_ms,
    storage=chosen.folder / "study.db",
    trials=chosen.trials,
    heartbeat_s=1,
    grace_s=2,
)
print(len(result.tried))
