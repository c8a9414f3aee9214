"""ONNX's own backend tests for every operator of the TensorFlow Lite target."""

from pathlib import Path

import pytest
from support import conformance

PAGE = Path(__file__).parents[3] / "docs" / "tflite-operators.md"


@pytest.mark.parametrize("operator", conformance.operators())
def test_every_case_passes_or_is_refused_by_name(operator):
    found = [outcome for outcome in conformance.outcomes() if outcome.operator == operator]
    print(conformance.summary(found))
    assert [outcome for outcome in found if outcome.status == conformance.FAILED] == []


def test_nothing_fails_and_the_page_of_operators_is_what_was_found():
    found = conformance.outcomes()
    print(conformance.summary(found))
    assert [outcome for outcome in found if outcome.status == conformance.FAILED] == []
    assert PAGE.read_text(encoding="utf-8") == conformance.page(found), (
        "write it again: cd tests; python -m support.conformance --write ../docs/tflite-operators.md"
    )
