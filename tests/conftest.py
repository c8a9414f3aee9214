"""Fixtures every test may use; torch is imported only by those that need it."""

import os
import sys

import pytest

# Numerical libraries that are loaded later take one thread each: tests are small, and often run side by side.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Tests that import a runtime themselves must not make it report its use over the network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules.setdefault("openvino_telemetry", None)


@pytest.fixture(scope="session")
def trained_ntt():
    """(module in evaluation mode, example input, accuracy) of an NTT network trained from scratch."""
    from support import training

    trained = training.trained_ntt()
    return trained.module, trained.example, trained.accuracy


@pytest.fixture(scope="session")
def trained_kcp():
    """(module in evaluation mode, example input, accuracy) of a KCP network trained from scratch."""
    from support import training

    trained = training.trained_kcp()
    return trained.module, trained.example, trained.accuracy
