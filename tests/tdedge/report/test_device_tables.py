import io

from rich.console import Console
from support.devices import CONDITIONS, ENVIRONMENT

from tdedge.report.device_tables import doctor_table

FOUND = {
    "name": "pi5",
    "url": "ssh://pi@192.0.2.7",
    "reachable": True,
    "error": None,
    "notes": ["slowed down now: throttled"],
    "figure_kind": "measured",
    "job_kinds": ["latency", "run"],
    "environment": ENVIRONMENT,
    "conditions": CONDITIONS,
    "free_bytes": 2**30,
    "sensors": [
        {"name": "pmic", "found": True, "scope": "12 rails, lower bound", "rails": []},
        {"name": "rapl", "found": False, "reason": "no processor package"},
    ],
}


def drawn(found) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(doctor_table(found))
    return console.export_text()


def test_everything_that_was_found():
    text = drawn(FOUND)
    for words in (
        "pi5 (ssh://pi@192.0.2.7)",
        "Raspberry Pi 5",
        "Arm Cortex-A76, 4 cores",
        "onnxruntime 1.31.1",
        "48.0 degrees Celsius",
        "ondemand",
        "2400 MHz",
        "1,024.0 MiB",
        "12 rails, lower bound",
        "no: no processor package",
        "slowed down now: throttled",
    ):
        assert words in text
    assert "openvino" not in text


def test_a_device_that_is_gone():
    gone = {"name": "a", "url": "adb://A", "reachable": False, "error": "no such device", "notes": []}
    text = drawn(gone)
    assert "no such device" in text
    assert "temperature" not in text


def test_what_is_not_told():
    silent = {**CONDITIONS, "celsius": None, "governors": [], "frequency_mhz": []}
    assert drawn({**FOUND, "conditions": silent}).count("not told") == 3
