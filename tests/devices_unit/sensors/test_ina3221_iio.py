"""Jetson, JetPack 4: milliwatts by name."""

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge_devices.sensors import ina3221_iio

WAVE = Wave(mean=4)
PART = Wave(mean=1, swing=0.3)


def chip(address, device, rails):
    folder = f"/sys/bus/i2c/drivers/ina3221x/{address}/{device}"
    files = {}
    for k, (label, wave) in enumerate(rails.items()):
        files[f"{folder}/rail_name_{k}"] = f"{label}\n"
        files[f"{folder}/in_voltage{k}_input"] = "5100\n"
        files[f"{folder}/in_current{k}_input"] = "1\n"
        files[f"{folder}/in_power{k}_input"] = lambda t, wave=wave: f"{round(wave.watts(t) * 1e3)}\n"
    return files


def test_nano(tmp_path):
    device = Board(chip("6-0040", "iio:device0", {"POM_5V_IN": WAVE, "POM_5V_GPU": PART, "POM_5V_CPU": PART}))
    sensor = ina3221_iio.find(device.shell(tmp_path), {})
    assert (sensor.rails, sensor.scope) == (("POM_5V_IN",), "module")
    samples = played(device, sensor, tmp_path)
    assert total_j(samples, sensor, 1, 11) == pytest.approx(WAVE.joules(11) - WAVE.joules(1), rel=2e-3)


def test_agx_xavier_has_disjoint_rails_on_two_chips(tmp_path):
    device = Board(
        chip("1-0040", "iio:device0", {"GPU": PART, "CPU": WAVE, "SOC": PART})
        | chip("1-0041", "iio:device1", {"CV": PART, "VDDRQ": PART, "SYS5V": PART})
    )
    sensor = ina3221_iio.find(device.shell(tmp_path), {})
    assert sensor.scope == "6 rails, lower bound"
    samples = played(device, sensor, tmp_path)
    expected = WAVE.joules(9) + 5 * PART.joules(9)
    assert total_j(samples, sensor, 0, 9) == pytest.approx(expected, rel=3e-3)


def test_channels_that_are_not_connected(tmp_path):
    device = Board(chip("6-0040", "iio:device0", {"POM_5V_IN": WAVE, "NC": PART}))
    assert list(ina3221_iio.find(device.shell(tmp_path), {}).files) == ["POM_5V_IN"]


def test_the_nano_with_two_gigabytes(tmp_path):
    assert "no channel with a power" in ina3221_iio.find(Board().shell(tmp_path), {}).reason
