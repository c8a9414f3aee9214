"""Pixel: counters with a clock of their own that refresh late."""

import math

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge_devices.sensors import odpm

CPU = Wave(mean=2, swing=1, period=3.0)
MIF = Wave(mean=0.5, swing=0.2)
RADIO = Wave(mean=1, swing=0)
REFRESH_S = 0.160
BOOT_MS = 251_741_617  # its clock, far from ours
ROOT = "/sys/bus/iio/devices/iio:device"


def energy_value(rails):
    def text(t):
        at = math.floor(t / REFRESH_S) * REFRESH_S  # repeats itself until the next refresh
        stamp = BOOT_MS + round(at * 1e3)
        lines = [f"t={stamp}"]
        for channel, (rail, wave) in enumerate(rails.items()):
            lines.append(
                f"CH{channel}(T={stamp - 1000})[{rail}], {30_203_502 + round(wave.joules(at) * 1e6)}"
            )
        return "\n".join(lines) + "\n"

    return text


def board(**more):
    return Board(
        {
            f"{ROOT}0/energy_value": energy_value({"S2M_VDD_CPUCL2": CPU, "S1M_VDD_MIF": MIF}),
            f"{ROOT}0/enabled_rails": "CH0[S2M_VDD_CPUCL2]:CPU(BIG)\nCH1[S1M_VDD_MIF]:MIF\n",
            f"{ROOT}1/energy_value": energy_value({"VSYS_PWR_RFFE": RADIO}),
            **more,
        }
    )


def test_stale_counters_are_placed_on_their_own_clock(tmp_path):
    device = board()
    sensor = odpm.find(device.shell(tmp_path), {})
    assert sensor.rails == ("S2M_VDD_CPUCL2", "S1M_VDD_MIF")
    assert sensor.scope == "2 rails of processor and memory, lower bound"
    samples = played(device, sensor, tmp_path, until_s=14)
    assert set(samples.rails) == {*sensor.rails, "VSYS_PWR_RFFE"}
    expected = sum(wave.joules(12.4) - wave.joules(1.1) for wave in (CPU, MIF))
    assert total_j(samples, sensor, 1.1, 12.4) == pytest.approx(expected, rel=5e-3)


def test_repeated_values_are_no_samples(tmp_path):
    device = board()
    sensor = odpm.find(device.shell(tmp_path), {})
    count = played(device, sensor, tmp_path).rails["S2M_VDD_CPUCL2"].count(0, round(10e9))
    assert count == pytest.approx(10 / REFRESH_S, abs=2)


def test_rails_that_do_not_compute_must_be_chosen(tmp_path):
    device = Board({f"{ROOT}1/energy_value": energy_value({"VSYS_PWR_RFFE": RADIO})})
    shell = device.shell(tmp_path)
    assert "none of the enabled rails (VSYS_PWR_RFFE)" in odpm.find(shell, {}).reason
    assert odpm.find(shell, {"rails": "VSYS_PWR_RFFE"}).rails == ("VSYS_PWR_RFFE",)


def test_a_sample_without_a_rail_is_none(tmp_path):
    device = board()
    sensor = odpm.find(device.shell(tmp_path), {})
    values = device.values(sensor, tmp_path, 0)
    assert sensor.read({**values, "meter 0": None}) is None
    assert sensor.read({**values, "meter 1": None}) is not None


def test_without_root(tmp_path):
    assert "root only" in odpm.find(Board({f"{ROOT}0/energy_value": ""}).shell(tmp_path), {}).reason
