import pytest

from tdedge_devices.conditions import Conditions
from tdedge_devices.cooling import Gate
from tdedge_devices.rounds import measure_round, merge
from tdedge_runtimes.measure import MeasureOptions
from tdedge_runtimes.statistics import ratio_of_medians, summarise_ms

OPTIONS = MeasureOptions(resamples=200)
COOL = Gate("cool", 0.0, 45.0, Conditions(celsius=40.0))


def figure(value, unit="ms", kind="measured"):
    return {"value": value, "unit": unit, "kind": kind}


def job(dense, small, *, load=5.0, quiet=True, foreign=0.01, kind="measured"):
    models = {
        label: {
            "load": figure(load, kind=kind),
            "first_inference": figure(load / 2, kind=kind),
            "latency": {
                "kind": kind,
                "method": "blocks",
                **summarise_ms(blocks, resamples=200),
                "samples_ms": blocks,
            },
        }
        for label, blocks in {"dense": dense, "small": small}.items()
    }
    return {
        "schema_version": 1,
        "environment": {"cpu_model": "x"},
        "models": models,
        "ratios": {"small": {"kind": kind, "reference": "dense", "speedup": {"value": 2.0}}},
        "orders": [["dense", "small"], ["small", "dense"]],
        "foreign_cpu": figure(foreign, "share of all cores"),
        "quiet": quiet,
        "window": figure(1.5, "s"),
    }


def test_a_round_counts_only_where_nothing_slowed_it_down():
    states = iter([Conditions(bits=0), Conditions(bits=0x40000)])
    one = measure_round(lambda: {"any": 1}, COOL, lambda: next(states))
    assert not one["valid"]
    assert one["reasons"] == ["throttled in between (vcgencmd get_throttled 0x0, then 0x40000)"]
    assert one["result"] == {"any": 1}
    hot = Gate("hot", 300.0, 45.0, Conditions(celsius=61.0))
    assert "began at 61.0" in measure_round(dict, hot, Conditions)["reasons"][0]
    good = measure_round(dict, COOL, Conditions)
    assert (good["valid"], good["reasons"], good["gate"]["state"]) == (True, [], "cool")


def test_samples_of_all_rounds_are_one():
    dense = [[8.0, 8.2], [8.1, 8.4]], [[9.0, 9.1], [8.8, 8.9]]
    small = [[4.0, 4.1], [4.2, 4.3]], [[4.6, 4.5], [4.4, 4.7]]
    rounds = [
        {"result": job(dense[0], small[0], load=5.0)},
        {"result": job(dense[1], small[1], load=7.0, quiet=False, foreign=0.3)},
    ]
    found = merge(rounds, OPTIONS)
    all_dense, all_small = [*dense[0], *dense[1]], [*small[0], *small[1]]
    assert found["models"]["dense"]["latency"]["samples_ms"] == all_dense
    assert found["models"]["dense"]["latency"]["median_ms"] == summarise_ms(all_dense)["median_ms"]
    wanted = ratio_of_medians(all_dense, all_small, resamples=200)
    assert found["ratios"]["small"]["speedup"] == wanted.to_json()
    assert found["models"]["small"]["load"] == figure(6.0)
    assert found["foreign_cpu"]["value"] == 0.3
    assert (found["quiet"], found["window"]["value"], len(found["orders"])) == (False, 3.0, 4)


def test_other_numbers_of_samples_keep_the_device_own_ratio():
    found = merge([{"result": job([[8.0], [8.1], [8.2]], [[4.0, 4.1], [4.2, 4.3]])}], OPTIONS)
    assert found["ratios"]["small"]["speedup"] == {"value": 2.0}


def test_means_of_several_calls_stay_known_as_such():
    first, second = job([[8.0], [8.1]], [[4.0], [4.1]]), job([[8.0], [8.1]], [[4.0], [4.1]])
    first["models"]["small"]["latency"]["calls_per_sample"] = 3
    second["models"]["small"]["latency"]["calls_per_sample"] = 5
    merged = merge([{"result": first}, {"result": second}], OPTIONS)["models"]
    assert merged["small"]["latency"]["calls_per_sample"] == 5
    assert "calls_per_sample" not in merged["dense"]["latency"]


def test_the_kind_of_the_figures_stays():
    found = merge([{"result": job([[8.0], [8.1]], [[4.0], [4.1]], kind="emulated")}] * 2, OPTIONS)
    assert found["models"]["small"]["latency"]["kind"] == "emulated"
    assert found["models"]["small"]["load"]["kind"] == "emulated"
    assert found["ratios"]["small"]["kind"] == "emulated"
    assert found["models"]["small"]["latency"]["method"] == "2 rounds: blocks"


def test_what_no_round_knows_stays_unknown():
    result = job([[8.0], [8.1]], [[4.0], [4.1]])
    result["models"]["dense"]["load"] = {"value": None, "unit": "ms", "reason": "why"}
    assert merge([{"result": result}], OPTIONS)["models"]["dense"]["load"]["reason"] == "why"
    assert merge([{"result": result}], OPTIONS)["models"]["small"]["load"]["value"] == pytest.approx(5.0)
