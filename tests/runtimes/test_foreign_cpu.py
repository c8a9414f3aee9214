"""The share of other processes, from written /proc/stat texts."""

import pytest

from tdedge_runtimes.foreign_cpu import CpuTimes, foreign_share, parse_stat, read_cpu_times

STAT = "cpu  {user} 20 300 {idle} 50 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 1 2\n"


def times(user, idle, own, folder):
    path = folder / "stat"
    path.write_text(STAT.format(user=user, idle=idle))
    read = read_cpu_times(path)
    return CpuTimes(read.busy_ticks, read.total_ticks, own, read.reason)


def test_idle_iowait_and_guest_are_not_work():
    busy, total = parse_stat(STAT.format(user=1000, idle=4000))
    assert busy == 1000 + 20 + 300 + 6 + 7 + 8
    assert total == busy + 4000 + 50


def test_own_work_is_not_foreign(tmp_path):
    before = times(1000, 4000, 0.0, tmp_path)
    after = times(1100, 4100, 1.0, tmp_path)
    assert foreign_share(before, after, ticks_per_second=100)["value"] == 0.0


def test_half_of_one_core_of_two_is_a_quarter(tmp_path):
    """Two seconds on two cores: 400 ticks; 200 of them ours and 100 of others."""
    before = times(1000, 4000, 5.0, tmp_path)
    after = times(1300, 4100, 7.0, tmp_path)
    figure = foreign_share(before, after, ticks_per_second=100)
    assert figure == {"value": 0.25, "unit": "share of all cores", "kind": "measured"}


def test_never_below_zero(tmp_path):
    before = times(1000, 4000, 0.0, tmp_path)
    after = times(1050, 4150, 0.9, tmp_path)
    assert foreign_share(before, after, ticks_per_second=100)["value"] == 0.0


def test_too_short_a_window_is_not_measurable(tmp_path):
    before = times(1000, 4000, 0.0, tmp_path)
    after = times(1004, 4005, 0.0, tmp_path)
    figure = foreign_share(before, after, ticks_per_second=100)
    assert figure["value"] is None
    assert "9 clock ticks" in figure["reason"]


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n", "cpu a b c d e f g h\n"])
def test_unreadable_stat_is_a_reason(tmp_path, text):
    (tmp_path / "stat").write_text(text)
    broken = read_cpu_times(tmp_path / "stat")
    assert broken.reason
    assert foreign_share(broken, broken)["reason"] == broken.reason


def test_missing_stat_is_a_reason(tmp_path):
    missing = read_cpu_times(tmp_path / "absent")
    figure = foreign_share(missing, missing)
    assert figure["value"] is None
    assert "/proc/stat" in figure["reason"]


def test_this_machine():
    reading = read_cpu_times()
    assert reading.reason == ""
    assert 0 < reading.busy_ticks <= reading.total_ticks
    assert reading.own_seconds > 0
