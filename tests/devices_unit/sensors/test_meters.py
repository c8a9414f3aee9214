"""Instruments at this machine through their own libraries, as far as they go without the instrument."""

import importlib
import inspect
import os
import pty
import struct
import subprocess
import sys
import threading
import time
import tty

import pytest

from tdedge.errors import DeviceError, MissingError, UsageError
from tdedge_devices import sensors
from tdedge_devices.sensors import joulescope, monsoon, ppk2, yoctopuce
from tdedge_devices.sensors.meter import Loop
from tdedge_devices.sensors.sensor import Absent

LIBRARIES = {
    joulescope: ("pyjoulescope_driver", r"pyjoulescope_driver is not installed.*tdedge\[joulescope\]"),
    monsoon: ("Monsoon", r"Monsoon is not installed.*tdedge\[monsoon\]"),
    yoctopuce: ("yoctopuce", r"yoctopuce is not installed.*tdedge\[yoctopuce\]"),
    ppk2: ("ppk2_api", r"ppk2-api is not installed.*tdedge\[ppk2\]"),
}
VOLTS = {"ppk2_millivolts": "5000"}


@pytest.mark.parametrize("module", LIBRARIES, ids=lambda module: module.NAME)
def test_without_the_library_the_install_line_is_told(module, monkeypatch):
    package, message = LIBRARIES[module]
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingError, match=message):
        module.find(None, VOLTS)


@pytest.mark.parametrize("module", LIBRARIES, ids=lambda module: module.NAME)
def test_without_the_instrument_it_is_absent(module):
    """The real library looks for it."""
    found = module.find(None, VOLTS)
    assert isinstance(found, Absent)
    assert found.name == module.NAME and ("no " in found.reason or "cannot be used" in found.reason)


def test_without_libusb_the_yocto_watt_is_absent(tmp_path):
    """The wheel loads its own shared library once a process, when a hub is first asked for: a new process."""
    missing = tmp_path / "none.so"
    code = (
        "from yoctopuce.yocto_api import YAPI; from tdedge_devices.sensors import yoctopuce;"
        f"YAPI._yApiCLibFile = {str(missing)!r}; print(yoctopuce.find(None, {VOLTS!r}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("Absent(") and "install libusb-1.0-0" in found and missing.name in found


def test_they_are_looked_for_only_when_named():
    assert {name for name, _ in sensors.SENSORS}.isdisjoint(sensors.METERS)
    absent = sensors.find(None, {"sensors": "ppk2, joulescope", **VOLTS})
    assert [each.name for each in absent] == ["ppk2", "joulescope"]
    with pytest.raises(UsageError, match="no sensor 'ppk3'; expected some of ina3221"):
        sensors.find(None, {"sensors": "ppk3"})


@pytest.mark.parametrize("volts", ["", "5", "9000", "5.0"])
def test_the_ppk2_needs_the_voltage(volts):
    with pytest.raises(UsageError, match=r"ppk2_millivolts is .*; expected .* 800 to 5000"):
        ppk2.find(None, {"ppk2_millivolts": volts})


class Kit(threading.Thread):
    """The kit's side of its serial line: the calibration when asked, then a sample every 10 us or so."""

    CALIBRATION = "Calibrated: 0\n" + "".join(
        f"R{i}: {r}\nGS{i}: 1\nGI{i}: 1\nO{i}: 0\nS{i}: 0\nI{i}: 0\nUG{i}: 1\n"
        for i, r in enumerate((1031.64, 101.65, 10.15, 0.94, 0.043))
    )
    RAW = 3_000  # in the range of 0.043 ohm

    def __init__(self):
        super().__init__(daemon=True)
        self.ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.port, self.theirs = os.ttyname(theirs), theirs
        self.commands = []
        self.measuring = threading.Event()
        self.start()

    def run(self):
        word = struct.pack("<I", self.RAW | 4 << 14)
        while True:
            try:
                command = os.read(self.ours, 64)
            except OSError:
                return
            self.commands.append(command)
            if b"\x19" in command:
                os.write(self.ours, (self.CALIBRATION + "END").encode())
            if b"\x06" in command:
                self.measuring.set()
                threading.Thread(target=self.send, args=(word * 64,), daemon=True).start()
            if b"\x07" in command:
                self.measuring.clear()

    def send(self, words):
        while self.measuring.is_set():
            os.write(self.ours, words)
            time.sleep(0.002)


def test_the_ppk2_on_its_serial_line():
    kit = Kit()
    sensor = ppk2.find(None, {**VOLTS, "ppk2": kit.port})
    taken = []
    sensor.meter.start(lambda ns, values: taken.append((ns, sensor.read(values).power_w["supply"])))
    deadline = time.monotonic() + 20
    while len(taken) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    sensor.meter.stop()
    volts_per_count = 1.8 / 163840  # of the kit's converter; a count is four of its 14 bits
    drop = kit.RAW * 4 * volts_per_count / 0.043
    expected_w = drop * (drop + 1) * 5.0  # the library's formula with the gains above
    assert [power for _, power in taken[2:]] == pytest.approx([expected_w] * len(taken[2:]), rel=1e-6)
    times = [ns for ns, _ in taken]
    assert times == sorted(times) and len(taken) >= 10
    while kit.measuring.is_set() and time.monotonic() < deadline:  # until it was told to stop
        time.sleep(0.01)
    sent = b"".join(kit.commands)
    assert b"\x11\x01" in sent and b"\x0c\x01" in sent  # as an ampere meter, with the device powered
    assert sent.endswith(b"\x07")


def test_a_kit_without_calibration_is_refused():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    threading.Thread(target=lambda: os.write(ours, b"nonsense END"), daemon=True).start()
    sensor = ppk2.find(None, {**VOLTS, "ppk2": os.ttyname(theirs)})
    sensor.meter._meter.modifiers = None
    with pytest.raises(DeviceError, match="does not tell its calibration"):
        sensor.meter.start(lambda ns, values: None)


def test_monsoon_averages_the_lists_of_its_engine():
    """Seconds, main, USB and auxiliary mA, main and USB V: as ``SampleEngine.getSamples`` documents them."""
    lists = [[0.1, 0.2], [500.0, 700.0], [], [], [4.0, 4.0], []]
    assert monsoon.mean_power_w(lists) == pytest.approx(2.4)
    assert monsoon.mean_power_w([[]] * 6) is None
    engine = importlib.import_module("Monsoon.sampleEngine")
    assert (engine.channels.MainCurrent, engine.channels.MainVoltage) == (1, 4)


def test_what_is_called_exists_in_the_libraries():
    hvpm = importlib.import_module("Monsoon.HVPM").Monsoon
    engine = importlib.import_module("Monsoon.sampleEngine").SampleEngine
    for owner, name, arguments in [
        (hvpm, "setup_usb", ("serial", object())),
        (engine, "ConsoleOutput", (False,)),
        (engine, "enableChannel", (1,)),
        (engine, "periodicStartSampling", ()),
        (engine, "periodicCollectSamples", (100,)),
        (engine, "periodicStopSampling", ()),
    ]:
        inspect.signature(getattr(owner, name)).bind(None, *arguments)
    power = importlib.import_module("yoctopuce.yocto_power").YPower
    for name, arguments in [("set_reportFrequency", ("25/s",)), ("registerTimedReportCallback", (print,))]:
        inspect.signature(getattr(power, name)).bind(None, *arguments)
    driver = importlib.import_module("pyjoulescope_driver").Driver
    assert all(callable(getattr(driver, name)) for name in ("open", "publish", "subscribe", "finalize"))


def test_a_report_of_the_yocto_watt():
    """Its own measure: a mean power between two dates."""
    api = importlib.import_module("yoctopuce.yocto_api")

    class Sensor:
        def set_reportFrequency(self, text):
            self.frequency = text
            return api.YAPI.SUCCESS

        def registerTimedReportCallback(self, callback):
            self.callback = callback

    sensor, taken = Sensor(), []
    meter = yoctopuce.YoctoWatt(api.YAPI, sensor)
    meter.start(lambda ns, values: taken.append((ns, values)))
    before = time.monotonic_ns()
    sensor.callback(sensor, api.YMeasure(1000.0, 1000.2, 1.0, 2.5, 4.0))
    assert sensor.frequency == "25/s"
    meter.stop()
    assert sensor.callback is None and sensor.frequency == "OFF"
    assert taken[0][1] == {"power_w": 2.5}
    assert taken[0][0] == pytest.approx(before - 100_000_000, abs=50_000_000)


@pytest.mark.parametrize(
    ("path", "topics"),
    [
        ("u/js220/000415", {"/s/i/range/mode": "auto", "/s/stats/scnt": 20_000, "/s/stats/ctrl": 1}),
        (
            "u/js110/002557",
            {"/s/i/range/select": "auto", "/s/stats/scnt": 40_000, "/s/stats/ctrl": "on", "/s/p/ctrl": "on"},
        ),
    ],
)
def test_joulescopes_are_told_to_count_fifty_times_a_second(path, topics):
    assert topics.items() <= dict(joulescope.commands(path)).items()


def test_a_joulescope_that_is_gone_is_one_line():
    driver = importlib.import_module("pyjoulescope_driver").Driver()
    meter = joulescope.Joulescope(driver, "u/js220/000000")
    with pytest.raises(DeviceError, match="the Joulescope u/js220/000000 cannot be opened"):
        meter.start(lambda ns, values: None)
    meter.stop()


def test_an_instrument_that_fails_meanwhile_is_one_line():
    def turn():
        raise ValueError("USB went away")

    loop = Loop(turn)
    time.sleep(0.05)
    with pytest.raises(DeviceError, match="the instrument failed: USB went away"):
        loop.stop()
