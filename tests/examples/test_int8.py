"""Integers in the examples: figures of known scores, and what the page claims of them."""

import pytest
import torch

from examples.int8 import RUNTIMES, Integers, judged
from examples.steps import Row
from examples.tables import Result
from examples.tasks import digits


def test_scores_beside_those_of_the_float_network():
    wanted = torch.tensor([[3.0, 4.0], [0.0, 5.0], [4.0, 3.0], [5.0, 0.0]])
    scores = torch.tensor([[3.0, 4.5], [0.5, 5.0], [3.5, 4.0], [5.0, 0.0]])
    found = judged(wanted, scores, torch.tensor([1, 1, 0, 1]))
    assert found.accuracy == 0.5
    assert found.agreement == 0.75
    assert found.sqnr_db == pytest.approx(17.57, abs=0.01)  # 100 over 3 x 0.5^2 + 1
    assert judged(wanted, wanted, torch.tensor([1, 1, 0, 0])).sqnr_db is None


def row(label, *accuracies, tuned=0.99, error="", kept=0):
    each = [Integers(value, 0.98, 25.0 + value, kept) for value in accuracies]
    found = dict(zip(RUNTIMES, each, strict=False))
    found |= {runtime: Integers(error=error) for runtime in RUNTIMES if runtime not in found and error}
    return Row(label, {}, 4.0, 4.0, None, None, tuned, tuned, found)


def test_the_runtime_that_keeps_least_decides():
    rows = [
        row("dense", 0.99, 0.985, 0.99),
        row("svd", 0.99, 0.99, 0.984, kept=2),
        row("tt", 0.99, error="8.0 dB"),
    ]
    result = Result(digits.TASK, 4, {0: rows, 1: [row("dense")]}, None)
    claims = {claim: (found, holds) for claim, found, holds in result.claims()}
    within = "within 0.5 points of float32 in every runtime"
    assert claims[f"dense int8: {within}"] == ("-0.50 points (openvino)", True)
    assert claims[f"svd int8: {within}"] == ("-0.60 points (tflite)", False)
    assert claims[f"tt int8: {within}"] == ("no file: openvino, tflite", False)
    page = result.to_markdown()
    assert "| dense | 99.0 % | 99.0 % | 98.5 % | 99.0 % | 98.0 % | 26.0 | 0 |" in page
    assert "| svd | 99.0 % | 99.0 % | 99.0 % | 98.4 % | 98.0 % | 26.0 | 2 |" in page
    assert "- tt, openvino: 8.0 dB" in page
    assert result.to_json()["seeds"]["0"][1]["int8"]["tflite"]["kept"] == 2


def test_networks_that_were_not_exported_claim_nothing():
    result = Result(digits.TASK, 4, {0: [row("dense"), row("svd")]}, None)
    assert not [claim for claim, _, _ in result.claims() if "int8" in claim]
    assert "SQNR" not in result.to_markdown()
