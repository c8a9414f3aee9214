"""Conditions read from a tree of files and scripts in the form the systems have."""

import subprocess

import pytest
from support.tree_shell import TreeShell

from tdedge_devices.conditions import Conditions, Watcher
from tdedge_devices.shell import Done

SYS = {
    "class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "class/thermal/thermal_zone0/temp": "48850\n",
    "class/thermal/thermal_zone1/type": "battery\n",
    "class/thermal/thermal_zone1/temp": "61000\n",
    "class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
    "class/thermal/cooling_device0/cur_state": "2\n",
    "class/thermal/cooling_device1/type": "pwm-fan\n",
    "class/thermal/cooling_device1/cur_state": "4\n",
    "class/hwmon/hwmon3/oc2_event_cnt": "7\n",
    "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "5\n",
    "devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
    "devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
    "devices/system/cpu/cpufreq/policy0/scaling_max_freq": "2400000\n",
}


class ScriptShell(TreeShell):
    """Commands of this machine, files below a folder that stands for the root."""

    def run(self, command, *, stdin=b"", timeout_s=60.0) -> Done:
        done = subprocess.run(
            command, input=stdin, capture_output=True, env={"PATH": f"{self.root / 'bin'}:/usr/bin:/bin"}
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def shell(tmp_path):
    def make(files=None, tools=None):
        for name, text in (files or {}).items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "bin").mkdir(exist_ok=True)
        for name, script in (tools or {}).items():
            path = tmp_path / "bin" / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        return ScriptShell(tmp_path)

    return make


def test_a_tree_of_files(shell):
    assert Watcher(shell(SYS)).read() == Conditions(
        celsius=48.85,
        zones_celsius={"thermal_zone0:cpu-thermal": 48.85},
        governors=["ondemand"],
        frequency_mhz=[1500],
        ceiling_mhz=[2400],
        states={"cooling_device0:cpufreq-cpu0": 2},
        counters={"thermal_throttle/core_throttle_count": 5, "hwmon3/oc2_event_cnt": 7},
    )


def test_a_raspberry_pi(shell):
    script = 'case "$1" in get_throttled) echo throttled=0x50005;; measure_temp) echo "temp=48.8\'C";; esac'
    now = Watcher(shell(tools={"vcgencmd": script})).read()
    assert (now.bits, now.celsius, now.zones_celsius) == (0x50005, 48.8, {"vcgencmd": 48.8})


def test_a_phone(shell):
    script = (
        'case "$1" in battery) echo "  temperature: 312";; thermalservice) echo "Thermal Status: 2";; esac'
    )
    now = Watcher(shell(tools={"dumpsys": script})).read()
    assert (now.states, now.celsius) == ({"thermalservice": 2}, 31.2)


def test_a_system_that_tells_nothing(shell):
    assert Watcher(shell({"class/thermal/thermal_zone0/type": "cpu\n"})).read() == Conditions()
    assert Watcher(None).read() == Conditions()
