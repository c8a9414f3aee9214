"""The battery of a phone: signs and units of vendors, and when it tells nothing."""

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge.errors import UsageError
from tdedge_devices.sensors import battery

WAVE = Wave(mean=3, swing=1)
VOLTS = 3.92
ROOT = "/sys/class/power_supply"
DUMP = """Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Max charging current: 0
  Charge counter: {charge}
  status: {status}
  health: 2
  present: true
  level: 84
  scale: 100
  voltage: {millivolts}
  temperature: 326
  technology: Li-ion"""


def board(current=-1e6, volt=1e6, status="Discharging", online=0, wave=WAVE):
    """``current`` units per ampere, negative where a discharge is."""
    return Board(
        {
            f"{ROOT}/battery/type": "Battery\n",
            f"{ROOT}/battery/status": f"{status}\n",
            f"{ROOT}/battery/current_now": lambda t: f"{round(wave.watts(t) / VOLTS * current)}\n",
            f"{ROOT}/battery/voltage_now": f"{round(VOLTS * volt)}\n",
            f"{ROOT}/usb/type": "USB\n",
            f"{ROOT}/usb/online": f"{online}\n",
        }
    )


@pytest.mark.parametrize("current", [-1e6, 1e6, -1e3, 1e3], ids=["-uA", "uA", "-mA", "mA"])
@pytest.mark.parametrize("volt", [1e6, 1e3], ids=["uV", "mV"])
def test_signs_and_units_of_vendors(tmp_path, current, volt):
    device = board(current, volt)
    sensor = battery.find(device.shell(tmp_path), {})
    assert sensor.scope == "battery"
    samples = played(device, sensor, tmp_path)
    assert not samples.refusals
    assert total_j(samples, sensor, 1, 11) == pytest.approx(WAVE.joules(11) - WAVE.joules(1), rel=3e-3)


def test_a_small_current_in_microamperes_needs_the_setting(tmp_path):
    """9 mA in uA looks like 9 A in mA."""
    device = board(wave=Wave(mean=0.009 * VOLTS, swing=0))
    shell = device.shell(tmp_path)
    assert battery.find(shell, {}).read(device.values(battery.find(shell, {}), tmp_path, 0)).power_w[
        "battery"
    ] == pytest.approx(9 * VOLTS, rel=1e-3)
    sensor = battery.find(shell, {"battery_unit": "uA"})
    assert sensor.read(device.values(sensor, tmp_path, 0)).power_w["battery"] == pytest.approx(0.009 * VOLTS)
    with pytest.raises(UsageError, match="battery_unit is 'A'; expected mA or uA"):
        battery.find(shell, {"battery_unit": "A"})


@pytest.mark.parametrize(
    ("status", "online", "reason"),
    [
        ("Charging", 0, "status is Charging, not Discharging"),
        ("Full", 0, "status is Full"),
        ("Not charging", 1, "status is Not charging"),
        ("Discharging", 1, "the supply usb is online; take the cable out"),
    ],
)
def test_whatever_feeds_the_device_hides_what_it_draws(tmp_path, status, online, reason):
    assert reason in battery.find(board(status=status, online=online).shell(tmp_path), {}).reason


def test_what_changes_meanwhile_is_refused(tmp_path):
    device = board()
    sensor = battery.find(device.shell(tmp_path), {})
    values = device.values(sensor, tmp_path, 0)
    assert sensor.read(values).refused == ""
    assert "status is Charging" in sensor.read({**values, "status": "Charging"}).refused
    assert "usb is online" in sensor.read({**values, "online usb": "1"}).refused
    assert "turned round" in sensor.read({**values, "current_now": "500000"}).refused
    assert "beyond 10 A" in sensor.read({**values, "current_now": "-12000000"}).refused
    assert sensor.read({**values, "current_now": None}) is None


def dumping(charge, status=3, usb="false", head=""):
    def text(t):
        volts = 4.0 - 0.01 * t
        return head + DUMP.format(charge=charge(t), status=status, usb=usb, millivolts=round(volts * 1e3))

    return Board(programs={"dumpsys": {"battery": text}})


def test_charge_counter_where_the_files_are_denied(tmp_path):
    """A constant 0.5 A at a falling voltage: the energy is the integral of voltage times charge."""
    device = dumping(lambda t: 3_000_000 - round(0.5 * t / 3.6e-3))
    sensor = battery.find(device.shell(tmp_path), {})
    assert sensor.scope == "battery, by its charge"
    samples = played(device, sensor, tmp_path, until_s=60)
    expected = 0.5 * (4.0 * 50 - 0.01 * (55**2 - 5**2) / 2)
    assert total_j(samples, sensor, 5, 55) == pytest.approx(expected, rel=5e-3)


def test_a_coarse_counter_has_few_samples(tmp_path):
    device = dumping(lambda t: 3_000_000 - 1000 * int(0.5 * t / 3.6e-3 / 1000))
    sensor = battery.find(device.shell(tmp_path), {})
    assert played(device, sensor, tmp_path, until_s=60).rails["battery"].count(0, 60_000_000_000) < 12


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"usb": "true", "status": 2}, "not discharging (USB powered)"),
        ({"status": 4}, "not discharging (status 4)"),
        ({"head": "  (UPDATES STOPPED -- use 'reset' to restart)\n"}, "run: dumpsys battery reset"),
    ],
)
def test_dumpsys_refuses_too(tmp_path, more, reason):
    assert reason in battery.find(dumping(lambda t: 3_000_000, **more).shell(tmp_path), {}).reason


def test_no_battery(tmp_path):
    assert "no current and voltage" in battery.find(Board().shell(tmp_path), {}).reason
