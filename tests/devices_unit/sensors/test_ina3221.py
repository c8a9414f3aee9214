"""Jetson, JetPack 5 and 6: millivolts and milliamperes by label."""

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge.errors import UsageError
from tdedge_devices.sensors import ina3221

WAVE = Wave()
PART = Wave(mean=1.5, swing=0.5)
VOLTS = 5.04


def channel(folder, k, label, wave, volts=VOLTS):
    return {
        f"{folder}/in{k}_label": f"{label}\n",
        f"{folder}/in{k}_input": f"{round(volts * 1e3)}\n",
        f"{folder}/curr{k}_input": lambda t: f"{round(wave.watts(t) / volts * 1e3)}\n",
    }


def chip(address, hwmon, rails):
    folder = f"/sys/bus/i2c/drivers/ina3221/{address}/hwmon/{hwmon}"
    files = {f"{folder}/name": "ina3221\n", f"{folder}/in7_label": "sum of shunt voltages\n"}
    files |= {f"{folder}/in7_input": "12\n", f"{folder}/curr7_input": "99999\n"}
    for k, (label, wave) in enumerate(rails.items(), 1):
        files |= channel(folder, k, label, wave)
    return files


@pytest.mark.parametrize("hwmon", ["hwmon1", "hwmon4"])
def test_the_module_is_found_by_its_label(tmp_path, hwmon):
    device = Board(chip("1-0040", hwmon, {"VDD_SOC": PART, "VDD_IN": WAVE, "VDD_CPU_GPU_CV": PART}))
    sensor = ina3221.find(device.shell(tmp_path), {})
    assert (sensor.rails, sensor.scope) == (("VDD_IN",), "module")
    samples = played(device, sensor, tmp_path)
    assert set(samples.rails) == {"VDD_IN", "VDD_SOC", "VDD_CPU_GPU_CV"}
    assert total_j(samples, sensor, 0.5, 11) == pytest.approx(WAVE.joules(11) - WAVE.joules(0.5), rel=2e-3)


def test_disjoint_rails_of_two_chips_are_added(tmp_path):
    device = Board(
        chip("1-0040", "hwmon2", {"VDD_GPU_SOC": WAVE, "VDD_CPU_CV": PART, "VIN_SYS_5V0": PART})
        | chip("1-0041", "hwmon3", {"VDDQ_VDD2_1V8AO": PART})
    )
    sensor = ina3221.find(device.shell(tmp_path), {})
    assert sensor.scope == "4 rails, lower bound"
    samples = played(device, sensor, tmp_path)
    expected = WAVE.joules(10) - WAVE.joules(2) + 3 * (PART.joules(10) - PART.joules(2))
    assert total_j(samples, sensor, 2, 10) == pytest.approx(expected, rel=3e-3)


def test_a_channel_that_is_switched_off_is_no_rail(tmp_path):
    files = chip("1-0040", "hwmon1", {"VDD_IN": WAVE, "NC": PART})
    files["/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr2_input"] = ""
    sensor = ina3221.find(Board(files).shell(tmp_path), {})
    assert [name for name in sensor.files if name.endswith("mA")] == ["VDD_IN mA"]


def test_a_sample_with_a_missing_part_is_none(tmp_path):
    device = Board(chip("1-0040", "hwmon1", {"VDD_IN": WAVE}))
    sensor = ina3221.find(device.shell(tmp_path), {})
    values = device.values(sensor, tmp_path, 1.0)
    assert sensor.read(values).power_w["VDD_IN"] == pytest.approx(WAVE.watts(1.0), rel=1e-3)
    assert sensor.read({**values, "VDD_IN mA": None}) is None
    assert sensor.read({**values, "VDD_IN mV": "\n"}) is None


def test_rails_can_be_chosen(tmp_path):
    shell = Board(chip("1-0040", "hwmon1", {"VDD_IN": WAVE, "VDD_SOC": PART})).shell(tmp_path)
    assert ina3221.find(shell, {"rails": "VDD_SOC"}).rails == ("VDD_SOC",)
    with pytest.raises(UsageError, match="no rail 'VDD_GPU'; the sensor has VDD_IN, VDD_SOC"):
        ina3221.find(shell, {"rails": "VDD_GPU"})


def test_no_chip(tmp_path):
    assert "no channel with voltage and current" in ina3221.find(Board().shell(tmp_path), {}).reason
