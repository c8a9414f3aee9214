import json
from pathlib import Path

import jsonschema
import pytest
from support.devices import device, document, energy, gone

from tdedge.report.schema import schema

VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_published_schema_is_the_one_the_code_has():
    published = Path(__file__).parents[3] / "docs" / "result.schema.json"
    assert json.loads(published.read_text()) == schema()


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("kind", ["measured", "emulated", "replayed"])
def test_results_of_devices_follow_it(kind):
    VALIDATOR.validate(document(pi5=device(kind), bad=device(kind, valid=False), phone=gone()))


def _spoil(*path, value):
    def change(result):
        for key in path[:-1]:
            result = result[key]
        result[path[-1]] = value

    return change


TARGET = ("devices", "pi5", "targets", "onnxruntime")


@pytest.mark.parametrize(
    "change",
    [
        _spoil("schema_version", value=2),
        _spoil("devices", "pi5", "figure_kind", value="guessed"),
        _spoil("devices", "pi5", "stray", value=1),
        _spoil(*TARGET, "valid", value="yes"),
        _spoil(*TARGET, "energy", "base", value={**energy(1), "gross_j_per_inference": 0}),
        _spoil(
            *TARGET, "result", "models", "base", "load", value={"value": 0, "unit": "s", "kind": "measured"}
        ),
        _spoil(*TARGET, "rounds", value=[{"valid": True}]),
        _spoil(*TARGET, "sustained", "base", "points", value=[{"at_s": 1}]),
    ],
)
def test_other_documents_do_not(change):
    result = document(pi5=device())
    VALIDATOR.validate(result)
    change(result)
    assert not VALIDATOR.is_valid(result)
