import json

import pytest

from tdedge.errors import UsageError
from tdedge_devices.run_log import RunLog

PLAN = {"models (a)": "1", "options": {"threads": 1}}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, *pieces, plan=PLAN):
    with RunLog(path) as log:
        done = log.begin("pi5", plan)
        for piece in pieces:
            done.keep(piece, {"of": piece})


def test_what_is_done_is_known_after_resume(tmp_path):
    path = tmp_path / "run.jsonl"
    write(path, "a", "b")
    with RunLog(path, resume=True) as log:
        done = log.begin("pi5", PLAN)
        assert done.get("a") == {"of": "a"}
        assert done.get("c") is None
        done.keep("c", 3)
        assert done.notes == ["resumed with 2 pieces done before"]
        assert log.begin("phone", PLAN).get("a") is None
    assert [line.get("piece") for line in lines(path) if "piece" in line] == ["a", "b", "c"]


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    path = tmp_path / "run.jsonl"
    write(path, "a", "b")
    path.write_bytes(path.read_bytes()[:-20])
    with RunLog(path, resume=True) as log:
        done = log.begin("pi5", PLAN)
        assert done.get("a") == {"of": "a"}
        assert done.get("b") is None
        done.keep("b", 2)
    assert [line.get("piece") for line in lines(path) if "piece" in line] == ["a", "b"]


def test_another_plan_is_not_mixed_in(tmp_path):
    path = tmp_path / "run.jsonl"
    write(path, "a")
    with (
        RunLog(path, resume=True) as log,
        pytest.raises(UsageError, match=r"other models \(a\) for device pi5"),
    ):
        log.begin("pi5", {**PLAN, "models (a)": "2"})


def test_a_log_that_is_there_is_not_lost_by_accident(tmp_path):
    path = tmp_path / "run.jsonl"
    write(path, "a")
    with pytest.raises(UsageError, match="pass --resume to go on with it, or --force"):
        RunLog(path)
    with RunLog(path, force=True) as log:
        assert log.begin("pi5", PLAN).get("a") is None


@pytest.mark.parametrize("text", ["hello\n", "[1]\n", '{"device": "a"}\n', "{}\n"])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match="line 1 is no line of a log"):
        RunLog(path, resume=True)
    assert path.read_text() == text


def test_resume_without_a_log_begins_one(tmp_path):
    with RunLog(tmp_path / "new" / "run.jsonl", resume=True) as log:
        log.begin("pi5", PLAN).keep("a", 1)
    assert len(lines(tmp_path / "new" / "run.jsonl")) == 2


def test_a_clock_that_jumps_is_told_and_changes_nothing(tmp_path):
    path = tmp_path / "run.jsonl"
    times = iter([1_800_000_000.0, 1_800_000_000.5, 1_799_990_000.0, 1_799_990_001.0])
    with RunLog(path, now=lambda: next(times)) as log:
        done = log.begin("pi5", PLAN)
        for piece in "abc":
            done.keep(piece, piece)
        (note,) = done.notes
    assert note.startswith("this machine's clock jumped by -1000")
    with RunLog(path, resume=True) as log:
        done = log.begin("pi5", PLAN)
        assert [done.get(piece) for piece in "abc"] == ["a", "b", "c"]
        assert any("the clock of the log goes back from 2027-01-15T08:00:00" in note for note in done.notes)
        assert any("later than this machine's clock" in note for note in done.notes)


def test_without_a_file_it_remembers():
    with RunLog() as log:
        done = log.begin("pi5", PLAN)
        done.keep("a", 1)
        assert done.get("a") == 1
