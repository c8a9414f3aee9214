"""RAPL: the counters of packages and memories, what they hold, and where they begin again."""

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge_devices.sensors import rapl
from tdedge_devices.sensors.sensor import Absent

WAVE = Wave(mean=20, swing=8)
DRAM = Wave(mean=3, swing=1, period=1.1)
RANGE_UJ = 65_532_610_987  # of many desktop processors


def zone(path, name, wave, start_uj, range_uj=RANGE_UJ):
    root = f"/sys/class/powercap/{path}"
    return {
        f"{root}/name": f"{name}\n",
        f"{root}/energy_uj": lambda t: f"{(start_uj + round(wave.joules(t) * 1e6)) % range_uj}\n",
        f"{root}/max_energy_range_uj": f"{range_uj}\n",
    }


def board(start_uj=1_000_000, **zones):
    return Board(
        {
            **zone("intel-rapl:0", "package-0", WAVE, start_uj),
            **zone("intel-rapl:0:0", "core", WAVE, 5),
            **zone("intel-rapl:0:1", "uncore", WAVE, 5),
            **zone("intel-rapl:0:2", "dram", DRAM, 7),
            **zone("intel-rapl:1", "psys", WAVE, 5),
        }
    )


def test_package_and_memory_are_added_and_nothing_twice(tmp_path):
    device = board()
    sensor = rapl.find(device.shell(tmp_path), {})
    assert sensor.rails == ("dram-0", "package-0")
    assert sensor.scope == "package and memory"
    samples = played(device, sensor, tmp_path)
    expected = WAVE.joules(11.3) - WAVE.joules(1.2) + DRAM.joules(11.3) - DRAM.joules(1.2)
    assert total_j(samples, sensor, 1.2, 11.3) == pytest.approx(expected, rel=1e-3)


def test_a_counter_that_begins_again(tmp_path):
    device = board(start_uj=RANGE_UJ - 100_000_000)  # 100 J before its end, some 5 s
    sensor = rapl.find(device.shell(tmp_path), {"rails": "package-0"})
    samples = played(device, sensor, tmp_path)
    assert not samples.broken
    expected = WAVE.joules(11) - WAVE.joules(1)
    assert total_j(samples, sensor, 1, 11) == pytest.approx(expected, rel=1e-3)


def test_two_packages(tmp_path):
    device = Board(
        {**zone("intel-rapl:0", "package-0", WAVE, 3), **zone("intel-rapl:1", "package-1", DRAM, 4)}
    )
    sensor = rapl.find(device.shell(tmp_path), {})
    assert (sensor.rails, sensor.scope) == (("package-0", "package-1"), "package")


def test_a_reset_is_no_wrap(tmp_path):
    """After a fall that is no wrap, the moment is told and the counter goes on from there."""
    device = board()
    path = "/sys/class/powercap/intel-rapl:0/energy_uj"
    running = device.files[path]
    device.files[path] = lambda t: running(t) if t < 6 else running(t - 6)
    sensor = rapl.find(device.shell(tmp_path), {})
    samples = played(device, sensor, tmp_path)
    assert list(samples.broken) == ["package-0"]
    assert samples.broken["package-0"][0] == pytest.approx(6e9, abs=0.03e9)


def test_unreadable_counters_say_who_may(tmp_path):
    device = board()
    device.files["/sys/class/powercap/intel-rapl:0/energy_uj"] = ""
    found = rapl.find(device.shell(tmp_path), {})
    assert isinstance(found, Absent) and "root may" in found.reason


def test_a_machine_without_rapl(tmp_path):
    assert "no processor package" in rapl.find(Board().shell(tmp_path), {}).reason
