"""Tables of instruments: declared columns and units, and how their times fit."""

import os
import threading
import time
from datetime import UTC, datetime

import pytest
from support.boards import Wave

from tdedge.errors import DeviceError, UsageError
from tdedge_devices.sensors import csv_file
from tdedge_devices.sensors.csv_file import CsvFile
from tdedge_devices.sensors.meter import metered
from tdedge_devices.series import collect

WAVE = Wave()
POWER = {"csv_time": "Time:s", "csv_power": "Power:mW", "csv_wait_s": "0"}


def settings(path, **more):
    return {"csv": str(path), **POWER, **more}


def energy_of(meter, begin_ns, end_ns):
    sensor = metered("csv", csv_file.SCOPE, meter)
    readings = [
        (ns, sensor.read({name: repr(value) for name, value in values.items()}))
        for ns, values in meter.samples()
    ]
    return collect(readings, {}).rails["supply"].energy_j(begin_ns, end_ns)


def table(tmp_path, header, rows, name="meter.csv", separator=","):
    path = tmp_path / name
    path.write_text("\n".join([header, *(separator.join(map(str, row)) for row in rows)]) + "\n")
    return path


TIMES = [i * 0.01 for i in range(-1, 1202)]
EXPECTED = WAVE.joules(12) - WAVE.joules(0)


@pytest.mark.parametrize(
    ("columns", "header", "row"),
    [
        ({"csv_power": "P [W]:W"}, "t,P [W]", lambda t: (WAVE.watts(t),)),
        ({"csv_power": "p:uW"}, "t,p", lambda t: (round(WAVE.watts(t) * 1e6),)),
        ({"csv_energy": "E:mJ"}, "t,E", lambda t: (WAVE.joules(t) * 1e3,)),
        ({"csv_energy": "E:Wh"}, "t,E", lambda t: (WAVE.joules(t) / 3600,)),
        (
            {"csv_current": "I:mA", "csv_voltage": "U:V"},
            "t,other,I,U",
            lambda t: ("x", WAVE.watts(t) / 5 * 1e3, 5),
        ),
    ],
)
@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 1e3), ("ns", 1e9)])
def test_columns_and_units(tmp_path, columns, header, row, unit, scale):
    path = table(tmp_path, header, [(f"{t * scale + 100 * scale:.9f}", *row(t)) for t in TIMES])
    declared = {"csv": str(path), "csv_time": f"t:{unit}", "csv_clock": "monotonic", **columns}
    found = energy_of(CsvFile(declared), 100 * 10**9, 112 * 10**9)
    assert found == pytest.approx(EXPECTED, rel=1e-3)


@pytest.mark.parametrize("clock", ["epoch", "iso8601", "start"])
def test_dates_are_placed_on_the_monotonic_clock(tmp_path, clock):
    """The table's first moment is this machine's present."""
    now, begin_ns = time.time(), time.monotonic_ns()
    texts = {
        "epoch": (lambda t: f"{now + t:.6f}", {}),
        "iso8601": (
            lambda t: datetime.fromtimestamp(now + t, UTC).isoformat(),
            {"csv_time": "Time:iso8601"},
        ),
        "start": (lambda t: f"{t + 1:.6f}", {"csv_clock": f"{now - 1:.6f}"}),
    }
    text, more = texts[clock]
    path = table(tmp_path, "Time,Power", [(text(t), WAVE.watts(t) * 1e3) for t in TIMES])
    meter = CsvFile(settings(path, **more))
    meter.start(lambda ns, values: None)
    assert energy_of(meter, begin_ns, begin_ns + 12 * 10**9) == pytest.approx(EXPECTED, rel=1e-3)


def test_what_is_no_sample_is_left_out(tmp_path):
    rows = "# made by an instrument\n\nTime;Power\n(s);(mW)\n1.0;2000\n2.0;4000\n3.0;60"
    path = tmp_path / "meter.csv"
    path.write_text("\ufeff" + rows + "\n4.0;\n")
    samples = list(CsvFile(settings(path, csv_clock="monotonic")).samples())
    assert samples == [
        (10**9, {"power_w": 2.0}),
        (2 * 10**9, {"power_w": 4.0}),
        (3 * 10**9, {"power_w": 0.06}),
    ]


def test_it_waits_until_the_table_has_reached_the_end(tmp_path):
    path = table(tmp_path, "Time,Power", [(f"{time.monotonic():.6f}", 1000)])
    meter, taken = CsvFile(settings(path, csv_clock="monotonic", csv_wait_s="20")), []
    meter.start(lambda ns, values: taken.append(ns))

    def late():
        time.sleep(0.5)
        with path.open("a") as stream:
            stream.write(f"{time.monotonic() + 1:.6f},1000\n")

    writer = threading.Thread(target=late)
    writer.start()
    meter.stop()
    writer.join()
    assert len(taken) == 2


def test_a_date_that_jumped_is_refused(tmp_path):
    path = table(tmp_path, "Time,Power", [(1, 1)])
    meter = CsvFile(settings(path))
    meter.start(lambda ns, values: None)
    meter._epoch_ns -= 3600 * 10**9
    with pytest.raises(DeviceError, match=r"date jumped by 3.6e\+03 s"):
        meter.stop()


def test_a_file_that_never_comes_gives_no_sample(tmp_path):
    meter, taken = CsvFile(settings(tmp_path / "absent.csv")), []
    meter.start(lambda ns, values: taken.append(ns))
    meter.stop()
    assert taken == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"csv_power": "Power"}, "csv_power is 'Power'; expected NAME:UNIT"),
        ({"csv_power": "Power:J"}, "with a unit of W, mW, uW"),
        ({"csv_energy": "E:J"}, "either csv_power, csv_energy, or"),
        ({"csv_clock": "now"}, "csv_clock is 'now'"),
        ({"csv_wait_s": "soon"}, "csv_wait_s is 'soon'"),
    ],
)
def test_wrong_declarations(tmp_path, more, message):
    with pytest.raises(UsageError, match=message):
        CsvFile(settings(tmp_path / "x.csv", **more))


def test_a_column_that_is_not_there(tmp_path):
    path = table(tmp_path, "Time,Watts", [(1, 1)])
    with pytest.raises(UsageError, match="no column 'Power'; it has Time, Watts"):
        CsvFile(settings(path)).start(print)


def test_without_a_file(tmp_path):
    assert "name one by the setting csv" in csv_file.find(None, {}).reason
    assert os.listdir(tmp_path) == []
