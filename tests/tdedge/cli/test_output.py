import pytest
from rich.table import Table

from tdedge.cli.output import Output
from tdedge.progress import SILENT, track


def table() -> Table:
    made = Table("name")
    made.add_row("[bold]x[/bold] " + "w" * 120)
    return made


def speak(output: Output) -> None:
    with output.progress() as progress:
        list(track([("one", 1)], progress, "Stage", 1))
    output.table(table())
    output.note("a note in [brackets] at :smile:")
    output.document({"value": 1})


def test_people_read_tables_on_stdout(capsys):
    speak(Output())
    out, err = capsys.readouterr()
    assert "[bold]x[/bold] " + "w" * 120 in out
    assert "{" not in out
    assert "a note in [brackets] at :smile:" in err.splitlines()
    assert "Stage: 1 steps in" in err


def test_programs_read_one_document_on_stdout(capsys):
    speak(Output(json=True))
    out, err = capsys.readouterr()
    assert out == '{\n  "value": 1\n}\n'
    assert "[bold]x[/bold]" in err and "a note" in err and "Stage" in err


@pytest.mark.parametrize("json", [False, True])
def test_quiet_leaves_the_document_only(capsys, json):
    speak(Output(json=json, quiet=True))
    out, err = capsys.readouterr()
    assert (out != "", err) == (json, "")


def test_no_progress_leaves_the_rest(capsys):
    speak(Output(no_progress=True))
    out, err = capsys.readouterr()
    assert "[bold]x[/bold]" in out
    assert err == "a note in [brackets] at :smile:\n"
    with Output(no_progress=True).progress() as progress:
        assert progress is SILENT


def test_notes_are_never_wrapped(capsys):
    Output().note("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1
