"""Raspberry Pi 5: rails paired by name; older boards have none."""

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge_devices.sensors import pmic

WAVE = Wave(mean=2.5, swing=1.2)
FIXED = {  # amperes and volts of an idle board
    "3V7_WL_SW": (0.08587638, 3.70556400), "3V3_SYS": (0.04977390, 3.31254600),
    "1V8_SYS": (0.16688890, 1.79929800), "DDR_VDD2": (0.01659130, 1.10732700),
    "DDR_VDDQ": (0.00000000, 0.60585780), "1V1_SYS": (0.17957880, 1.10549600),
    "0V8_SW": (0.33280230, 0.80255400), "3V3_DAC": (0.00000000, 3.31193300),
    "3V3_ADC": (0.00006105, 3.30643400), "0V8_AON": (0.00622710, 0.79712600),
    "HDMI": (0.01062270, 5.14138000),
}  # fmt: skip
CORE_VOLTS = 0.90659250


def output(t):
    rails = {**FIXED, "VDD_CORE": (WAVE.watts(t) / CORE_VOLTS, CORE_VOLTS)}
    currents = [f" {name:>10}_A current({i})={a:.8f}A" for i, (name, (a, _)) in enumerate(rails.items())]
    volts = [f" {name:>10}_V volt({i + 8})={v:.8f}V" for i, (name, (_, v)) in enumerate(rails.items())]
    return "\n".join(
        [*currents, *volts, "    EXT5V_V volt(24)=5.14516000V", "     BATT_V volt(25)=0.00000000V"]
    )


def board(text=output):
    return Board(programs={"vcgencmd": {"pmic_read_adc": text}})


def test_the_sum_of_twelve_rails_is_a_lower_bound(tmp_path):
    device = board()
    sensor = pmic.find(device.shell(tmp_path), {})
    assert len(sensor.rails) == 12 and "EXT5V" not in sensor.rails
    assert sensor.scope == "12 rails, lower bound"
    samples = played(device, sensor, tmp_path)
    expected = WAVE.joules(11) - WAVE.joules(1) + 10 * sum(a * v for a, v in FIXED.values())
    assert total_j(samples, sensor, 1, 11) == pytest.approx(expected, rel=2e-3)


def test_rails_are_paired_by_name_and_not_by_order(tmp_path):
    currents = "VDD_CORE_A current(7)=1.42880000A\nDDR_A current(3)=2.0A\n"
    text = currents + "DDR_V volt(11)=0.5V\nVDD_CORE_V volt(15)=0.9V\n"
    assert pmic.rails_of(text) == pytest.approx({"VDD_CORE": 1.42880000 * 0.9, "DDR": 1.0})


def test_a_sample_without_one_of_the_rails_is_none(tmp_path):
    sensor = pmic.find(board().shell(tmp_path), {})
    assert sensor.read({"adc": output(0).replace("HDMI_V", "HDMI_X")}) is None
    assert sensor.read({"adc": None}) is None


def test_a_raspberry_pi_4_has_no_sensor(tmp_path):
    found = pmic.find(board(lambda t: 'error=1 error_msg="Command not registered"').shell(tmp_path), {})
    assert "this board has no power sensor" in found.reason


def test_no_raspberry_pi(tmp_path):
    assert "vcgencmd pmic_read_adc: vcgencmd" in pmic.find(Board().shell(tmp_path), {}).reason
