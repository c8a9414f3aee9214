"""Plays a recorded device live: ``python players.py FOLDER KIND``, on CLOCK_MONOTONIC, until it is ended.

Its files are replaced whole, so that nobody reads half a number. ``KINDS`` also tells tests what is played.
"""

import contextlib
import os
import stat
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from support.boards import Board, Wave

WAVE = Wave(mean=6, swing=1, period=0.25)
RAPL = "/sys/class/powercap/intel-rapl:0"
RANGE_UJ = 40_000_000  # begins again every seven seconds or so
INA = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon5"
BATTERY = "/sys/class/power_supply/battery"

#: Prints what it is told, as a device's program would: exact at the moment it is asked.
PROGRAM = """#!{python} -S
import math, sys, time
def watts():
    return {mean} + {swing} * math.sin(2 * math.pi * time.monotonic() / {period})
{body}
"""
BODIES = {
    "vcgencmd": """
if sys.argv[1:] == ["get_throttled"]:
    print("throttled=" + open(sys.argv[0] + ".bits").read())
    sys.exit()
if sys.argv[1:] != ["pmic_read_adc"]:
    sys.exit("error=1")
print(f"  VDD_CORE_A current(7)={watts() / 0.9:.8f}A\\n  VDD_CORE_V volt(15)=0.90000000V")
print("   EXT5V_V volt(24)=5.14516000V")
""",
    "tegrastats": """
while True:
    print(f"RAM 3347/7467MB CPU [21%@1190,off] tj@52.5C VDD_IN {{watts() * 1e3:.0f}}mW/8050mW", flush=True)
    time.sleep(int(sys.argv[2]) / 1e3)
""",
}

KINDS = {
    "rapl": Board(
        {
            f"{RAPL}/name": "package-0\n",
            f"{RAPL}/energy_uj": lambda t: f"{round(WAVE.joules(t) * 1e6) % RANGE_UJ}\n",
            f"{RAPL}/max_energy_range_uj": f"{RANGE_UJ}\n",
        }
    ),
    "ina3221": Board(
        {
            f"{INA}/in1_label": "VDD_IN\n",
            f"{INA}/in1_input": "5000\n",
            f"{INA}/curr1_input": lambda t: f"{WAVE.watts(t) / 5 * 1e3:.0f}\n",
        }
    ),
    "battery": Board(
        {
            f"{BATTERY}/type": "Battery\n",
            f"{BATTERY}/status": "Discharging\n",
            f"{BATTERY}/current_now": lambda t: f"{-WAVE.watts(t) / 4 * 1e6:.0f}\n",
            f"{BATTERY}/voltage_now": "4000000\n",
        }
    ),
}


def install(folder, kind):
    """The device as it stands now."""
    if kind in KINDS:
        KINDS[kind].write(folder, time.monotonic())
    if kind in BODIES:
        text = (
            PROGRAM.format(
                python=sys.executable, mean=WAVE.mean, swing=WAVE.swing, period=WAVE.period, body=BODIES[kind]
            )
            .replace("{{", "{")
            .replace("}}", "}")
        )
        script = folder / "bin" / kind
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text)
        script.with_suffix(".bits").write_text("0x0")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)


def play(folder, kind):
    if kind == "csv":
        return play_csv(folder)
    moving = {path: text for path, text in KINDS[kind].files.items() if callable(text)}
    new = folder / "new"
    while True:
        for path, text in moving.items():
            new.write_text(text(time.monotonic()))
            new.replace(folder / "tree" / path.lstrip("/"))
        time.sleep(0.002)


def play_csv(folder):
    """A power meter's table with dates."""
    with (folder / "meter.csv").open("w") as stream:
        stream.write("Time,Power\n")
        while True:
            date, power = datetime.now(UTC), WAVE.watts(time.monotonic())
            stream.write(f"{date.isoformat()},{power * 1e3:.3f}\n")
            stream.flush()
            time.sleep(0.005)


if __name__ == "__main__":
    # On a busy machine a late player would play another power than it says.
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        with contextlib.suppress(OSError):
            os.nice(-20)
    play(Path(sys.argv[1]), sys.argv[2])
