"""The environment of an Android device, from what its shell prints."""

from contextlib import closing

import jsonschema

from tdedge_devices.adb_environment import parse_environment, read_environment
from tdedge_devices.local import LocalShell
from tdedge_runtimes.client import result_schema

PHONE = """
@@ kernel
Linux 6.1.99-android14-11

@@ machine
aarch64

@@ properties
[ro.build.version.release]: [16]
[ro.product.manufacturer]: [Google]
[ro.product.model]: [Pixel 9]
[ro.soc.manufacturer]: [Google]
[ro.soc.model]: [Tensor G4]
[ro.empty]: []

@@ cpuinfo
processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd80

@@ load
2.50 2.00 1.00 3/900 1234

@@ cores
0-7

@@ governors
sched_pixel
sched_pixel
powersave

@@ clocks
820000
1900000

@@ zones
thermal_zone0:BIG 45123
thermal_zone1:

@@ thermal
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=60.0, mType=0, mName=BIG, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=44.5, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=-99.9, mType=6, mName=POWER_AMPLIFIER, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=cpu}
"""


def valid(environment):
    schema = result_schema()
    jsonschema.validate(environment, {**schema["$defs"]["environment"], "$defs": schema["$defs"]})
    return environment


def test_a_phone():
    environment = valid(parse_environment(PHONE, {"benchmark_model": "sha256:0"}))
    assert environment["system"] == "Android 16"
    assert environment["kernel"] == "6.1.99-android14-11"
    assert environment["machine"] == "aarch64"
    assert environment["board"] == "Google Pixel 9"
    assert environment["cpu_model"] == "Google Tensor G4 (Arm implementer 0x41 part 0xd80)"
    assert environment["cores"] == 8
    assert environment["governor"] == ["powersave", "sched_pixel"]
    assert environment["frequency_mhz"] == [820.0, 1900.0]
    assert environment["load_1min"]["value"] == 2.5
    assert environment["temperature_celsius"] == {"BIG": 44.5}  # now, not cached, and not the absent sensor
    assert environment["affinity"]["value"] is None


def test_the_kernels_zones_where_no_service_tells():
    text = PHONE.partition("@@ thermal")[0] + "@@ thermal\n"
    assert parse_environment(text, {})["temperature_celsius"] == {"thermal_zone0:BIG": 45.123}


def test_a_device_that_tells_nothing():
    names = [
        "kernel",
        "machine",
        "properties",
        "cpuinfo",
        "load",
        "cores",
        "governors",
        "clocks",
        "zones",
        "thermal",
    ]
    environment = valid(parse_environment("".join(f"\n@@ {name}\n" for name in names), {}))
    assert environment["temperature_celsius"]["value"] is None
    assert environment["load_1min"]["reason"]
    assert environment["board"] is None


def test_this_machine_by_its_shell(tmp_path):
    with closing(LocalShell(tmp_path)) as shell:
        environment = valid(read_environment(shell, {}))
    assert environment["system"] == "Linux"
    assert environment["cores"] >= 1
    assert environment["cpu_model"] != "unknown"
