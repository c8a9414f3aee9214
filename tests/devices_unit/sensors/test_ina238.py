"""INA238 and relatives: microwatts of a chip found by name."""

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge_devices.sensors import ina238

WAVE = Wave(mean=9, swing=3)


def hwmon(number, name, wave=None):
    folder = f"/sys/class/hwmon/hwmon{number}"
    files = {f"{folder}/name": f"{name}\n"}
    if wave:
        files[f"{folder}/power1_input"] = lambda t: f"{round(wave.watts(t) * 1e6)}\n"
    return files


@pytest.mark.parametrize("name", ["ina238", "ina226"])
def test_a_chip_among_others(tmp_path, name):
    device = Board(hwmon(0, "cpu_thermal") | hwmon(1, "nvme", WAVE) | hwmon(5, name, WAVE))
    sensor = ina238.find(device.shell(tmp_path), {})
    assert (sensor.rails, sensor.scope) == ((name,), f"what flows through the {name}")
    samples = played(device, sensor, tmp_path)
    assert total_j(samples, sensor, 1, 11) == pytest.approx(WAVE.joules(11) - WAVE.joules(1), rel=2e-3)


def test_of_several_one_must_be_named(tmp_path):
    shell = Board(hwmon(1, "ina238", WAVE) | hwmon(2, "ina238", WAVE)).shell(tmp_path)
    assert "several chips (ina238, hwmon2)" in ina238.find(shell, {}).reason
    assert ina238.find(shell, {"rails": "hwmon2"}).rails == ("hwmon2",)


def test_none(tmp_path):
    assert "no chip of ina238" in ina238.find(Board(hwmon(0, "ina238")).shell(tmp_path), {}).reason
