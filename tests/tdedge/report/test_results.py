import json

import pytest
from support.devices import device, document, gone
from support.results import comparison

from tdedge.errors import UsageError
from tdedge.report import results
from tdedge.report.results import Results


def found(**devices) -> Results:
    return Results.of(document(**devices))


def test_markdown():
    text = found(**{"a|b": device()}).markdown("Run")
    assert text.startswith("# Run\n")
    assert r"### a\|b, onnxruntime, 1 thread: measured" in text
    rows = [line for line in text.splitlines() if line.startswith("| base")]
    assert len(rows) == 4
    assert "# Run" in Results([comparison()], {}).markdown("Run")


def test_files_come_together():
    first, second = document(pi5=device(), jetson=device()), document(pi5=device("emulated"))
    second["comparisons"] = [comparison().to_json()]
    merged = results.merged({"mon": first, "tue": second})
    assert set(merged["devices"]) == {"pi5 (mon)", "jetson", "pi5 (tue)"}
    assert merged["comparisons"][0]["target"] == "onnxruntime (tue)"
    assert results.merged({"tue": second})["comparisons"][0]["target"] == "onnxruntime"


def test_side_by_side():
    first, second = document(pi5=device()), document(pi5=device(valid=False), phone=gone())
    one = results.side_by_side({"mon": first, "tue": second})
    assert one.columns == ("network", "mon", "tue")
    assert [row[0] for row in one.rows] == [
        "pi5, onnxruntime: base",
        "pi5, onnxruntime: small",
        "pi5, onnxruntime (invalid): base",
        "pi5, onnxruntime (invalid): small",
    ]
    assert one.rows[0][2] == one.rows[2][1] == "-"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"schema_version": 7}', "schema_version is 7, expected 1"),
        ('{"schema_version": 1}', "KeyError 'comparisons'"),
        ('{"schema_version": 1, "comparisons": [], "devices": {"a": {}}}', "KeyError 'targets'"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        results.read(path)


def test_writing_is_whole(tmp_path):
    every = found(pi5=device())
    paths = {name: tmp_path / name for name in ("page", "markdown")}
    results.write(every, "Run", **paths, node_data=tmp_path / "nodes")
    assert (tmp_path / "page").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "nodes" / "pi5-onnxruntime-base.json").read_text())["results"]
    with pytest.raises(UsageError, match="pass --force"):
        results.write(every, "Run", page=tmp_path / "page")
