import re

import pytest
from support.devices import device, document, gone, operator, profile

from tdedge.report.device_page import about, heat
from tdedge.report.page import results_page
from tdedge.report.results import Results

HOSTILE = "<script>alert(1)</script>\"'&"


def page(**devices) -> str:
    return results_page("Run", Results.of(document(**devices)))


@pytest.mark.parametrize("names", [("base", "small"), (HOSTILE, HOSTILE + "2")])
def test_nothing_is_loaded_and_nothing_runs(names):
    text = page(**{"pi5": device(names=names), names[0]: gone()})
    assert "<script" not in text.lower()
    assert not re.search(r"<(link|iframe|object|embed|img|base|form)\b", text)
    assert all(address.startswith("#") for address in re.findall(r'(?:href|src)="([^"]*)"', text))
    assert all(address.startswith("#") for address in re.findall(r"url\(['\"]?([^)'\"]*)", text))


def test_a_device_has_its_tables_and_plots():
    text = page(pi5=device())
    assert text.count("<svg") == 3  # distributions, sustained, energy
    for words in ("Raspberry Pi 5", "4.00x", "does not count: under-voltage", "+40.0 %", "12 rails", "conv1"):
        assert words in text
    assert 'class="kind measured"' in text
    assert 'class="kind invalid"' not in text


def test_kinds_and_what_does_not_count_are_shown():
    text = page(vm=device("emulated", valid=False), phone=gone())
    assert 'class="kind emulated"' in text
    assert "not seconds of a device" in text
    assert 'class="kind invalid"' in text
    assert "adb://R58M cannot be reached" in text
    assert "computed from a recording" in page(a=device("replayed"))


def test_plots_take_the_colours_of_the_page():
    text = page(pi5=device())
    assert "#000000" not in text
    assert "currentColor" in text
    assert "prefers-color-scheme: dark" in text


def test_a_long_profile_is_cut_to_its_slowest():
    one = heat("small", profile(*(operator(i, f"op{i}", float(i % 50)) for i in range(100))))
    assert len(one["ops"]) == 100
    assert len(one["shown"]) == 40
    assert [op["name"] for op in one["shown"]] == sorted(
        (op["name"] for op in one["shown"]), key=lambda name: int(name[2:])
    )
    assert one["rest"].startswith("60 shorter operators take ")
    assert {op["heat"] for op in one["ops"]} >= {"1.000", "0.000"}


def test_about():
    assert about(gone()) == "adb://R58M"
    assert "governor ondemand" in about(device())
    assert "openvino" not in about(device())


def test_a_device_that_was_not_reached_measured_nothing():
    text = page(phone=gone())
    assert 'class="kind not-reached"' in text
    assert 'class="kind measured"' not in text


def test_several_devices_have_a_table_of_all():
    assert "All devices" in page(a=device(), b=device())
    assert "All devices" not in page(a=device())
