import pytest
from support.devices import curve, device, energy

from tdedge.report import device_plots
from tdedge.report.grids import comparison_of


def test_plots_without_data_are_none():
    entry = device()["targets"]["onnxruntime"]
    for model in entry["result"]["models"].values():
        model["latency"]["samples_ms"] = []
    assert device_plots.distributions(comparison_of("onnxruntime", entry)) is None
    assert device_plots.sustained({"a": {"complete": False, "reason": "no", "points": []}}) is None
    assert device_plots.energies({}) is None


def test_one_outlier_does_not_hide_the_rest():
    entry = device()["targets"]["onnxruntime"]
    assert "slowest" not in device_plots.distributions(comparison_of("onnxruntime", entry))
    entry["result"]["models"]["base"]["latency"]["samples_ms"][0][0] = 900.0
    assert "slowest: 900.0 ms" in device_plots.distributions(comparison_of("onnxruntime", entry))


def test_times_in_which_the_device_was_slowed_down_are_shaded_once():
    text = device_plots.sustained({"base": curve(40.0), "small": curve(10.0)})
    assert text.count("opacity: 0.15") == 2  # one each, of two stretches that follow each other
    assert "temperature" in text
    assert "min" in text


def test_seconds_where_the_run_is_short_and_no_temperature_where_none_is_told():
    short = curve(10.0)
    short["points"] = short["points"][:30]
    for one in short["stretches"]:
        one["celsius"] = None
    text = device_plots.sustained({"small": short})
    assert "time without a pause, s" in text
    assert "temperature" not in text


@pytest.mark.parametrize(("joules", "bars"), [(0.2, ["gross 200 mJ", "net 100 mJ"]), (None, None)])
def test_energies(joules, bars):
    text = device_plots.energies({"base": energy(joules)})
    assert (text is None) == (bars is None)
    assert all(bar in text for bar in bars or ())


def test_names_are_no_formulas():
    name = r"a$\frac$"
    entry = device(names=(name, "b"))["targets"]["onnxruntime"]
    assert name in device_plots.distributions(comparison_of("onnxruntime", entry))
