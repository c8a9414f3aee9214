"""What a device leaves behind, and jobs that are watched while they run."""

import threading
import time
from pathlib import Path

import numpy as np
from support.sshd import command_of, processes

from tdedge.agreement import agree
from tdedge.artifact import read_manifest
from tdedge.golden import read_golden


def models_in_parity(device, artifact, scratch):
    """Runtime -> model of an artifact, each of which gave the golden outputs on the device."""
    manifest = read_manifest(artifact)
    inputs, expected = read_golden(artifact, manifest)
    np.savez(scratch / "in.npz", **inputs)
    models = {}
    for entry in manifest.targets:
        models[entry.runtime] = {"path": str(artifact / entry.entry), "runtime": entry.runtime}
        paths = {"inputs": str(scratch / "in.npz"), "outputs": str(scratch / f"{entry.runtime}.npz")}
        device.do({"kind": "run", "model": models[entry.runtime], **paths})
        with np.load(paths["outputs"]) as outputs:
            actual = [outputs[name] for name in expected]
        assert agree("y", list(expected.values()), actual).max_rel < 1e-5
    return models


def long_job(model):
    """A job that takes longer than any test."""
    return {"kind": "load", "model": {"path": str(model)}, "seconds": 300}


def job_folders(folder):
    """Names of the jobs' folders in a device's folder; the first job makes the place for them."""
    jobs = Path(folder) / "jobs"
    return [path.name for path in jobs.iterdir()] if jobs.is_dir() else []


def left(folder):
    """What jobs left in a folder of this machine, and of processes."""
    return job_folders(folder) + [command_of(pid) for pid in processes(f"{folder}/files")]


def nothing_left(folder):
    """Whether everything is gone within ten seconds."""
    return within(10, lambda: not left(folder))


def worker_of(folder):
    """The process of the worker; waits until it does its job."""

    def found():
        running = [pid for pid in processes(f"{folder}/files") if "timeout -k" not in command_of(pid)]
        return running if running and job_folders(folder) else []

    assert within(30, found), "the worker does not run"
    return found()[0]


def within(seconds, condition):
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def in_background(call):
    """Start a call; what is returned waits for its end and gives the error it ended with, or None."""
    errors = []

    def run():
        try:
            call()
            errors.append(None)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def joined(seconds=20):
        thread.join(seconds)
        assert not thread.is_alive(), f"still runs after {seconds} s"
        return errors[0]

    return joined
