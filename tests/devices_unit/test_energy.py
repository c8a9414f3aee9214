"""Energy of an inference from raw samples: the figures, and everything that makes a window worthless."""

import json
import math

import pytest
from support.boards import Wave

from tdedge.errors import UsageError
from tdedge_devices import energy, recording
from tdedge_devices.energy import FIGURES, Rules
from tdedge_devices.recording import Recorder, Window
from tdedge_devices.sensors.sensor import Reading, Sensor, number

START = 500_000_000_000
SENSOR = Sensor(
    "test",
    "module",
    ("VDD_IN",),
    lambda values: (
        None
        if values["w"] is None
        else Reading(
            power_w={"VDD_IN": number(values["w"]), "VDD_SOC": 1.0}, refused=values.get("refused") or ""
        )
    ),
)
COUNTER = Sensor(
    "counter", "package", ("package",), lambda values: Reading(energy_j={"package": float(values["j"])})
)
RULES = Rules(idle_s=30, run_s=10, windows=2)
WAVE = Wave(mean=8, swing=3, period=0.9)


def at(seconds):
    return START + round(seconds * 1e9)


def window(position=0, label="dense", inferences=100, **more):
    """Idle 0 to 30, run 31 to 41, idle 42 to 72; the next one 42 s later."""
    begin = 42 * position
    spans = [(at(begin + a), at(begin + b)) for a, b in ((0, 30), (31, 41), (42, 72))]
    return Window(label, *spans, inferences, 0.1, **more)


def watts(t, idle=lambda t: 2.0, runs=((31, 41),)):
    running = any(a - 0.5 <= t <= b + 0.5 for a, b in runs)
    return idle(t) + (WAVE.watts(t) if running else 0.0)


def samples(until=73, power=watts, step=0.02, **more):
    return [
        (at(i * step), {"w": repr(power(i * step)), **{k: v(i * step) for k, v in more.items()}})
        for i in range(-1, round(until / step))
    ]


def evaluated(raw, windows=None, sensor=SENSOR, rules=RULES, labels=("dense",)):
    return energy.evaluate(sensor, raw, windows or [window()], rules, list(labels))


def reason(result):
    assert {result[name]["value"] for name in FIGURES} == {None}
    return result["gross_j_per_inference"]["reason"]


GROSS = 2 * 10 + WAVE.joules(41) - WAVE.joules(31)


def test_gross_and_net_in_closed_form():
    result = evaluated(samples())["dense"]
    assert result["gross_j_per_inference"] == {
        "value": pytest.approx(GROSS / 100, rel=1e-3),
        "unit": "J",
        "kind": "measured",
    }
    assert result["net_j_per_inference"]["value"] == pytest.approx((GROSS - 20) / 100, rel=1e-3)
    assert result["net_energy_mj"]["value"] == pytest.approx((GROSS - 20) * 10, rel=1e-3)
    assert result["idle_power_w"]["value"] == pytest.approx(2)
    assert result["run_power_w"]["value"] == pytest.approx(GROSS / 10, rel=1e-3)
    assert result["rails_j_per_inference"]["VDD_SOC"] == pytest.approx(0.1)
    assert (result["sensor"], result["scope"], result["rails"]) == ("test", "module", ["VDD_IN"])
    assert result["windows"][0]["samples"] == pytest.approx(501, abs=1)
    json.dumps(result)


@pytest.mark.parametrize(("more", "told"), [(-0.5, False), (0.03, False), (0.2, True)])
def test_net_energy_that_is_lost_in_the_idle_power_is_no_figure(more, told):
    """Idle power rises by 0.05 W; running draws a little more, or less."""

    def power(t):
        return 2.0 + (0.05 if t > 41.9 else 0.0) + (more if 30.5 < t < 41.5 else 0.0)

    result = evaluated(samples(power=power))["dense"]
    assert result["gross_j_per_inference"]["value"] == pytest.approx((2 + more) * 0.1, rel=1e-3)
    assert (
        (result["net_j_per_inference"]["value"] is not None)
        == told
        == ("net_j_per_inference" in result["spread"])
    )
    if not told:
        assert "W more than idling, and idling itself varied by 0.05 W" in result["net_energy_mj"]["reason"]


def test_median_and_spread_over_alternating_windows():
    runs = [(31 + 42 * i, 41 + 42 * i) for i in range(4)]
    extra = {runs[2]: 3.0}  # the second window of "dense" draws more

    def power(t):
        return watts(t, runs=runs) + sum(more for (a, b), more in extra.items() if a - 0.5 <= t <= b + 0.5)

    windows = [window(i, label) for i, label in enumerate(["dense", "tucker", "dense", "tucker"])]
    results = evaluated(samples(200, power), windows, labels=("dense", "tucker"))
    dense = results["dense"]
    spread = dense["spread"]["gross_j_per_inference"]
    assert spread["windows"] == 2 == len(dense["windows"])
    assert spread["high"] - spread["low"] == pytest.approx(0.3, rel=0.05)
    middle = (spread["high"] + spread["low"]) / 2
    assert dense["gross_j_per_inference"]["value"] == pytest.approx(middle)
    assert results["tucker"]["gross_j_per_inference"]["value"] == pytest.approx(GROSS / 100, rel=2e-2)


def test_a_counter():
    raw = [(at(i * 0.02), {"j": repr(2.0 * i * 0.02 + WAVE.joules(i * 0.02))}) for i in range(-1, 3700)]
    result = evaluated(raw, sensor=COUNTER)["dense"]
    assert result["gross_j_per_inference"]["value"] == pytest.approx(GROSS / 100, rel=1e-4)
    net = (GROSS - 10 * (WAVE.mean + 2.0)) / 100
    assert result["windows"][0]["net_j"] / 100 == pytest.approx(net, abs=0.01)
    assert "differences of a counter" in result["method"]


def test_a_counter_that_fell_is_refused():
    raw = [(at(i * 0.02), {"j": repr(2.0 * i * 0.02 - (50 if i > 1700 else 0))}) for i in range(-1, 3700)]
    assert "the counter of package fell" in reason(evaluated(raw, sensor=COUNTER)["dense"])


def test_charging_is_refused():
    raw = samples(refused=lambda t: "the battery's status is Charging" if 50 < t < 51 else "")
    assert reason(evaluated(raw)["dense"]) == "the battery's status is Charging"


def test_charging_outside_the_window_is_none_of_its_business():
    raw = samples(until=90, refused=lambda t: "Charging" if t > 80 else "")
    assert evaluated(raw)["dense"]["gross_j_per_inference"]["value"]


def test_throttling_is_refused():
    result = evaluated(samples(), [window(refused=("throttled (vcgencmd get_throttled 0x4)",))])["dense"]
    assert "throttled" in reason(result)
    assert result["windows"][0]["refused"]


@pytest.mark.parametrize(("drift", "refused"), [(0.04, False), (0.06, True)])
def test_idle_drift(drift, refused):
    raw = samples(power=lambda t: watts(t, idle=lambda t: 2.0 * (1 + drift if t > 41.9 else 1)))
    result = evaluated(raw)["dense"]
    if refused:
        assert "idle power drifted from 2 to 2.12 W, by 5.8%; at most 5%" in reason(result)
    else:
        assert result["gross_j_per_inference"]["value"]


def test_too_few_samples():
    assert "101 samples in a run; at least 200" in reason(evaluated(samples(step=0.1))["dense"])


def test_too_few_inferences_and_too_short():
    result = evaluated(samples(), [window(inferences=9)])["dense"]
    assert "9 inferences in a run; at least 10" in reason(result)
    longer = evaluated(samples(), rules=Rules(run_s=11))["dense"]
    assert "a run of 10 s; at least 11 s" in reason(longer)


def test_a_sampler_that_paused():
    raw = [sample for sample in samples() if not at(35) < sample[0] < at(35.8)]
    assert "the sampler paused for 0.8 s; at most 0.5 s" in reason(evaluated(raw)["dense"])
    assert evaluated(raw, rules=Rules(gap_s=1.0))["dense"]["gross_j_per_inference"]["value"]


def test_samples_that_end_early_or_are_missing():
    assert "do not cover the window" in reason(evaluated(samples(until=60))["dense"])
    silent = [(ns, {"w": None}) for ns, _ in samples()]
    assert "no sample of VDD_IN" in reason(evaluated(silent)["dense"])


def test_one_good_window_is_enough_and_the_other_is_told():
    runs = [(31, 41), (73, 83)]
    raw = samples(120, lambda t: watts(t, runs=runs))
    result = evaluated(raw, [window(0), window(1, refused=("throttled",))])["dense"]
    assert result["spread"]["net_j_per_inference"]["windows"] == 1
    assert [entry["refused"] for entry in result["windows"]] == [[], ["throttled"]]


def test_samples_in_any_order():
    raw = samples()
    assert evaluated(raw[::-1]) == evaluated(raw)


def test_a_label_without_windows():
    assert "no window of 'other'; there are some of dense" in reason(
        evaluated(samples(), labels=("other",))["other"]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"energy_run_s": "ten"}, "energy_run_s is 'ten'"),
        ({"energy_drift": "-1"}, "energy_drift is '-1'"),
        ({"energy_drift": "nan"}, "energy_drift is 'nan'"),
        ({"energy_windows": "0"}, "must be more than 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(UsageError, match=message):
        Rules.of(settings)


def test_settings_are_taken():
    rules = Rules.of({"energy_idle_s": "2.5", "energy_windows": "5", "python": "x"})
    assert (rules.idle_s, rules.windows, rules.run_s) == (2.5, 5, 10)


def test_a_recording_gives_the_same_joules(tmp_path):
    """Written, read back, and computed again from what the device said."""
    folder = "/sys/class/hwmon/hwmon3"
    answers = [
        (["glob", "/sys/class/hwmon/hwmon*/name"], [f"{folder}/name"]),
        (["read", f"{folder}/name"], "ina238\n"),
        (["read", f"{folder}/power1_input"], "5000000\n"),
    ]
    with (tmp_path / recording.FILE).open("w") as stream:
        recorder = Recorder(stream)
        recorder.head("ina238", {"energy_samples": "150", "key": "/home/x/.ssh/id"}, answers)
        for ns, values in samples():
            recorder.sample(ns, {"ina238": str(math.floor(float(values["w"]) * 1e6))})
        recorder.window(window())
    assert "/home/x" not in (tmp_path / recording.FILE).read_text()
    kept = recording.load(tmp_path)
    assert kept.settings == {"energy_samples": "150"} and len(kept.windows) == 1
    assert kept.windows[0] == window()
    result = energy.evaluate_recording(kept, ["dense"])["dense"]
    assert result["gross_j_per_inference"]["value"] == pytest.approx(GROSS / 100, rel=1e-3)
    assert result["scope"] == "what flows through the ina238"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with a line that names the sensor"),
        ("{", "line 1: not a line of a recording"),
        ('{"recording": 9, "sensor": "rapl", "settings": {}}', "version 9; this release reads 1"),
        ('{"recording": 1, "sensor": "rapl", "settings": {}}\n{"x": 1}', "line 2: .* none of the known keys"),
        ('{"recording": 1, "sensor": "rapl", "settings": {}}\n{"ns": "a", "values": {}}', "line 2"),
    ],
)
def test_broken_recordings(tmp_path, text, message):
    (tmp_path / recording.FILE).write_text(text)
    with pytest.raises(UsageError, match=message):
        recording.load(tmp_path)


def test_no_recording(tmp_path):
    with pytest.raises(UsageError, match="no recording at"):
        recording.load(tmp_path)
