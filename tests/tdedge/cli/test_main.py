import pytest

from tdedge import __version__
from tdedge.cli import main
from tdedge.cli.output import Output
from tdedge.errors import DeviceError, GateError, MissingError, UnsupportedError, UsageError
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, RuntimeMissing


def test_version(tdedge):
    done = tdedge("--version")
    assert (done.code, done.out, done.err) == (0, f"tdedge {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["export", "--help"]])
def test_help(tdedge, arguments):
    done = tdedge(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "Usage: tdedge" in done.out


def test_no_command_shows_the_help_and_is_a_mistake(folder, capsys):
    assert main.run([]) == 2
    out, err = capsys.readouterr()
    assert "export" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export"], "Missing argument 'SOURCE'. (see: tdedge export --help)"),
        (["inspect", "net.onnx", "--energy", "much"], "--energy"),
        (["--config"], "--config"),
    ],
)
def test_mistakes_of_the_command_line(tdedge, arguments, words):
    done = tdedge(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.last
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GateError("no\n  good"), 1),
        (UnsupportedError("no good"), 1),
        (UsageError("no good"), 2),
        (MissingError("no good"), 3),
        (DeviceError("no good"), 4),
        (RuntimeFailed("no good"), 1),
        (RuntimeInputError("no\ngood"), 2),
        (RuntimeMissing("no good"), 3),
    ],
)
def test_errors_are_one_line_and_their_code(tdedge, monkeypatch, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr(Output, "document", fail)
    done = tdedge("doctor", "-q")
    assert (done.code, done.out, done.err) == (code, "", "tdedge: no good\n")


def test_full_disk_is_one_line(tdedge, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "out/model.onnx")

    monkeypatch.setattr(Output, "document", fail)
    done = tdedge("doctor", "-q")
    assert (done.code, done.err) == (2, "tdedge: out/model.onnx: No space left on device\n")


def test_interrupt(tdedge, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Output, "document", fail)
    done = tdedge("doctor", "-q")
    assert done.code == 130
    assert "interrupted" in done.last


def test_mistakes_of_ours_are_not_hidden(folder, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Output, "document", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        main.run(["doctor", "-q"])


def test_main_exits_with_the_code(folder):
    with pytest.raises(SystemExit) as stop:
        main.main(["export", "gone.onnx"])
    assert stop.value.code == 2
