import io
import re

import pytest
from rich.console import Console

from tdedge.progress import SILENT, track
from tdedge.report.progress import BarProgress, LineProgress, drawn


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=terminal, width=100, color_system=None), stream


class Recorder:
    def __init__(self):
        self.calls = []

    def start(self, label, total):
        self.calls.append((label, total))

    def step(self, detail):
        self.calls.append(detail)

    def finish(self):
        self.calls.append("finished")


def test_track_reports_a_step_when_the_item_is_done():
    recorder = Recorder()
    seen = []
    for item in track([("one", 1), ("two", 2)], recorder, "Stage", 2):
        seen.append((item, list(recorder.calls)))
    assert seen == [(1, [("Stage", 2)]), (2, [("Stage", 2), "one"])]
    assert recorder.calls == [("Stage", 2), "one", "two", "finished"]


def test_track_finishes_a_stage_that_failed():
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        for item in track([("one", 0)], recorder, "Stage", 1):
            1 / item
    # the generator is closed when it is dropped
    assert recorder.calls == [("Stage", 1), "finished"]


def test_kind_of_progress_fits_the_stream():
    terminal, _ = console(True)
    log, _ = console(False)
    assert isinstance(drawn(terminal, quiet=False), BarProgress)
    assert isinstance(drawn(log, quiet=False), LineProgress)
    assert drawn(terminal, quiet=True) is SILENT
    assert drawn(log, quiet=True) is SILENT


def test_log_has_one_line_per_stage():
    log, stream = console(False)
    progress = LineProgress(log)
    for outer in track([("a", 1), ("b", 2)], progress, "Outer", 2):
        list(track([(str(i), i) for i in range(outer)], progress, "Inner", None))
    lines = [re.sub(r"\d+\.\d s", "T", line) for line in stream.getvalue().splitlines()]
    assert lines == ["Inner: 1 steps in T", "Inner: 2 steps in T", "Outer: 2 steps in T"]


def test_log_of_a_long_stage_says_how_much_time_is_left():
    log, stream = console(False)
    seconds = iter([0.0, 10.0, 20.0, 30.0, 40.0, 40.0])
    progress = LineProgress(log, clock=lambda: next(seconds))
    list(track([(str(i), i) for i in range(4)], progress, "Time forms", 4))
    assert stream.getvalue().splitlines() == [
        "Time forms: 2 of 4, about 20 s left",
        "Time forms: 4 steps in 40.0 s",
    ]


def test_bar_shows_names_as_they_are_and_goes_away():
    terminal, stream = console(True)
    with BarProgress(terminal) as progress:
        for _ in track([("conv[/b]", 1), ("[red]x", 2)], progress, "Decompose", 2):
            progress._bars.refresh()
        progress.start("Open end", None)
        progress.step("[red]x")
        progress._bars.refresh()
        progress.finish()
        assert not progress._bars.tasks
    assert "Decompose" in stream.getvalue()
    assert "conv[/b]" in stream.getvalue()
    assert "[red]x" in stream.getvalue()


@pytest.mark.parametrize("kind", [LineProgress, BarProgress])
def test_steps_outside_a_stage_do_no_harm(kind):
    quiet, stream = console(False)
    progress = kind(quiet)
    progress.step("x")
    progress.finish()
    assert stream.getvalue() == ""
