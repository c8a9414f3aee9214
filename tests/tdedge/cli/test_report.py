import json

import pytest
from support.devices import device, document, gone


@pytest.fixture
def files(folder):
    for name, content in {
        "mon": document(pi5=device()),
        "tue": document(pi5=device("emulated"), p=gone()),
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_one_result(tdedge, files):
    done = tdedge("report", "mon.json", "-o", "page.html", "--markdown", "run.md", "--node-data", "nodes")
    assert done.code == 0, done.err
    assert "pi5, onnxruntime, 1 thread: measured" in done.out
    assert "side by side" not in done.out
    assert "<svg" in (files / "page.html").read_text()
    assert "4.00x" in (files / "run.md").read_text()
    assert [path.name for path in (files / "nodes").iterdir()] == ["pi5-onnxruntime-base.json"]


def test_several_results_come_together(tdedge, files):
    done = tdedge("report", "mon.json", "tue.json", "--json", "--title", "Two days", "-o", "page.html")
    assert done.code == 0, done.err
    assert set(done.document["devices"]) == {"pi5 (mon)", "pi5 (tue)", "p"}
    assert "Median latency side by side" in done.err
    assert "<h1>Two days</h1>" in (files / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.json"], "cannot read gone.json"),
        (["mon.json", "mon.json"], "the same result is given twice"),
        (["note.txt"], "note.txt is not JSON"),
        (["other.json"], "other.json is no result of tdedge bench"),
        (["mon.json", "-o", "tue.json"], "tue.json exists; pass --force"),
        ([], "Missing argument 'RESULT.json...'"),
    ],
)
def test_mistakes_are_one_line(tdedge, files, arguments, words):
    (files / "note.txt").write_text("hello")
    (files / "other.json").write_text("{}")
    done = tdedge("report", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.last
    assert done.err.count("\n") == 1
