"""Energy of an inference: idle-run-idle windows, sampled on the device, on its own monotonic clock.

A window is an idle time, inference without a pause, and an idle time; the idle time after one window is the
one before the next, and the windows of several models alternate (A B A B). Gross energy is what the sensor
saw between the begin of the first and the end of the last inference; net energy is that less the mean idle
power times that time. What cannot be trusted is no figure but a reason: charging, throttling, too few
samples, a sampler that paused, idle power that drifted.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tdedge.artifact import atomic_file
from tdedge.errors import UsageError
from tdedge_devices import recording, sensors, throttling
from tdedge_devices.conditions import Conditions, Watcher
from tdedge_devices.device import Device, relabelled
from tdedge_devices.recording import Recorder, Recording, Window
from tdedge_devices.sampling import Sample, Sampling
from tdedge_devices.sensors.meter import metered
from tdedge_devices.sensors.sensor import Sensor, Settings
from tdedge_devices.series import Samples, collect
from tdedge_runtimes.figures import measured, not_measurable

#: Keys of the figures of one model, and their units.
FIGURES = {
    "gross_j_per_inference": "J",
    "net_j_per_inference": "J",
    "gross_energy_mj": "mJ",
    "net_energy_mj": "mJ",
    "idle_power_w": "W",
    "run_power_w": "W",
}
_LOAD_MARGIN_S = 600.0
_METHOD = "idle-run-idle windows; {how} on the device's monotonic clock; median of the windows"


@dataclass(frozen=True)
class Rules:
    """What a window must hold; each can be set as ``energy_NAME``.

    Attributes:
        idle_s: length of an idle time.
        run_s: least length of a run.
        settle_s: time after a run that belongs to nothing.
        windows: windows of every model.
        samples: least samples in a run; of a counter, those at which it moved.
        inferences: least inferences in a run.
        drift: largest difference of the two idle powers, as a share of their mean.
        gap_s: longest pause of the sampler in a run; by default a twentieth of the run, or ten intervals.
        longest_run_s: longest run to reach the samples.
        interval_ms: time between samples; the sensor's own by default.
    """

    idle_s: float = 30.0
    run_s: float = 10.0
    settle_s: float = 1.0
    windows: float = 3
    samples: float = 200
    inferences: float = 10
    drift: float = 0.05
    gap_s: float = 0.0
    longest_run_s: float = 120.0
    interval_ms: float = 0.0

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules of a device's settings.

        Raises:
            UsageError: a value is no number, or out of its range.
        """
        given = {}
        for name in (entry.name for entry in fields(cls)):
            if (text := settings.get(f"energy_{name}")) is None:
                continue
            try:
                given[name] = float(text)
            except ValueError:
                given[name] = -1.0
            if not 0 <= given[name] < 1e6:
                raise UsageError(f"setting energy_{name} is {text!r}; expected a number of at least 0")
        rules = cls(**given)
        if rules.run_s <= 0 or rules.idle_s <= 0 or rules.windows < 1:
            raise UsageError("energy_run_s, energy_idle_s and energy_windows must be more than 0")
        return rules


def measure(
    device: Device,
    jobs_by_label: Mapping[str, Mapping[str, Any]],
    settings: Settings | None = None,
    *,
    folder: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, dict[str, Any]]:
    """The energy of one inference of every model.

    Args:
        device: where; the energy of a recording (``replay:``) is computed from it again.
        jobs_by_label: model to a "load" job of the worker; how long it runs is decided here.
        settings: of the device: which sensors, and ``energy_NAME`` as in ``Rules``.
        folder: keeps the raw samples, for ``replay:FOLDER``.
        say: is told what goes on, line by line.

    Returns:
        Model to its figures (``FIGURES``), with ``spread``, ``windows``, ``sensor``, ``scope``, ``rails`` and
        ``method``; figures without a value have the reason.

    Raises:
        DeviceError: the device or its sampler was lost.
        UsageError: a setting is wrong.
        MissingError: the library of an instrument is not installed.
    """
    settings = dict(settings or {})
    labels = list(jobs_by_label)
    rules = Rules.of(settings)
    if isinstance(kept := getattr(device, "recording", None), Recording):
        results = evaluate_recording(kept, labels)
    elif device.shell is None:
        results = _refused(labels, f"{device.url} runs no commands, so it has no sensor that can be read")
    elif "load" not in device.job_kinds:
        results = _refused(labels, f"{device.url} cannot run inference without a pause")
    elif not getattr(device, "has_monotonic_clock", True):
        results = _refused(labels, f"{device.url} has another clock than the one its sensors are sampled by")
    else:
        listening = recording.ListeningShell(device.shell)
        found = sensors.find(listening, settings)
        if isinstance(found, Sensor):
            with _kept(folder) as recorder:
                recorder.head(found.name, settings, listening.answers)
                samples, windows = _record(device, jobs_by_label, found, rules, recorder, say)
            results = evaluate(found, samples, windows, rules, labels)
        else:
            looked = "; ".join(f"{absent.name}: {absent.reason}" for absent in found)
            results = _refused(labels, f"no sensor. Looked for {looked}")
    relabelled_results: dict[str, dict[str, Any]] = relabelled(results, device.figure_kind)
    return relabelled_results


def evaluate_recording(kept: Recording, labels: list[str]) -> dict[str, dict[str, Any]]:
    """The figures of a recording."""
    if kept.sensor in sensors.METERS:
        found: Sensor | list[sensors.Absent] = metered(kept.sensor, sensors.METERS[kept.sensor], None)
    else:
        shell = recording.RecordedShell(kept)
        found = sensors.find(shell, {**kept.settings, "sensors": kept.sensor})
    if not isinstance(found, Sensor):
        return _refused(labels, f"the recording of {kept.sensor} is not whole: {found[0].reason}")
    return evaluate(found, kept.samples, kept.windows, Rules.of(kept.settings), labels)


def evaluate(
    sensor: Sensor, samples: list[Sample], windows: list[Window], rules: Rules, labels: list[str]
) -> dict[str, dict[str, Any]]:
    """The figures of all models from raw samples and windows."""
    collected = _collected(sensor, samples)
    results = {}
    for label in labels:
        entries = [_window(collected, sensor, each, rules) for each in windows if each.label == label]
        good = [entry for entry in entries if not entry["refused"]]
        if good:
            results[label] = _figures(sensor, collected, good, entries)
        else:
            known = ", ".join(dict.fromkeys(each.label for each in windows)) or "none"
            reasons = dict.fromkeys(reason for entry in entries for reason in entry["refused"])
            why = "; ".join(reasons) or f"there is no window of {label!r}; there are some of {known}"
            seen = {"sensor": sensor.name, "scope": sensor.scope, "rails": list(sensor.rails)}
            results[label] = {**_refused([label], why)[label], **seen, "windows": entries}
    return results


def _record(
    device: Device,
    jobs: Mapping[str, Mapping[str, Any]],
    sensor: Sensor,
    rules: Rules,
    recorder: Recorder,
    say: Callable[[str], object],
) -> tuple[list[Sample], list[Window]]:
    """Do all windows; what is refused later is recorded too."""
    watcher = Watcher(device.shell)
    windows: list[Window] = []
    order = [label for _ in range(int(rules.windows)) for label in jobs]
    sampling = Sampling(device, sensor, recorder, rules.interval_ms or sensor.interval_ms)
    with sampling:
        say(f"energy: {sensor.name} ({sensor.scope}); idle for {rules.idle_s:g} s")
        state = watcher.read()
        sampling.wait(rules.settle_s)
        before = sampling.wait(rules.idle_s)
        run_s = _run_seconds(sensor, sampling.samples, before, rules)
        for position, label in enumerate(order, 1):
            say(f"energy: window {position} of {len(order)}, {label} for {run_s:.0f} s")
            job = {"min_inferences": max(1, int(rules.inferences)), **jobs[label], "kind": "load"}
            result = device.do({**job, "seconds": run_s}, timeout_s=3 * run_s + _LOAD_MARGIN_S)
            load = result["load"]
            earlier, state = state, watcher.read()
            sampling.wait(max(0.0, (load["end_ns"] - sampling.now_ns) * 1e-9) + rules.settle_s)
            after = sampling.wait(rules.idle_s)
            windows.append(_done(label, before, load, after, earlier, state))
            recorder.window(windows[-1])
            before = after
    return sampling.samples, windows


def _done(
    label: str,
    before: tuple[int, int],
    load: Mapping[str, Any],
    after: tuple[int, int],
    earlier: Conditions,
    state: Conditions,
) -> Window:
    return Window(
        label,
        before,
        (load["begin_ns"], load["end_ns"]),
        after,
        load["inferences"],
        load["latency"].get("median_ms"),
        tuple(throttling.reasons(earlier, state)),
    )


def _run_seconds(sensor: Sensor, samples: list[Sample], idle: tuple[int, int], rules: Rules) -> float:
    """How long a run must be to hold the samples, from how often there was one while idle."""
    if sensor.meter is not None:
        return rules.run_s
    collected = _collected(sensor, samples)
    seconds = (idle[1] - idle[0]) * 1e-9
    counts = [collected.rails[rail].count(*idle) for rail in sensor.rails if rail in collected.rails]
    if not counts or not min(counts):
        return rules.run_s
    needed = 1.15 * rules.samples / (min(counts) / seconds)
    return max(rules.run_s, min(needed, rules.longest_run_s))


def _collected(sensor: Sensor, samples: list[Sample]) -> Samples:
    read = ((ns, sensor.read(values)) for ns, values in sorted(samples, key=lambda sample: sample[0]))
    return collect(((ns, reading) for ns, reading in read if reading is not None), sensor.wrap_j)


def _window(samples: Samples, sensor: Sensor, window: Window, rules: Rules) -> dict[str, Any]:
    """Energy of one window, with the reasons why it does not count."""
    entry: dict[str, Any] = {
        "begin_ns": window.run_ns[0],
        "end_ns": window.run_ns[1],
        "seconds": (window.run_ns[1] - window.run_ns[0]) * 1e-9,
        "inferences": window.inferences,
        "samples": 0,
        "refused": list(window.refused),
    }
    refused: list[str] = entry["refused"]
    whole = (window.idle_before_ns[0], window.idle_after_ns[1])
    series = {name: samples.rails[name] for name in sensor.rails if name in samples.rails}
    if missing := [name for name in sensor.rails if name not in series]:
        refused.append(f"no sample of {', '.join(missing)}")
        return entry
    if not all(each.covers(*whole) for each in series.values()):
        refused.append("the samples do not cover the window")
        return entry
    for at, reason in samples.refusals:
        if whole[0] <= at <= whole[1] and reason not in refused:
            refused.append(reason)
    for name in sensor.rails:
        if any(whole[0] <= at <= whole[1] for at in samples.broken.get(name, ())):
            refused.append(f"the counter of {name} fell")
    idle = [
        sum(each.mean_w(*span) for each in series.values())
        for span in (window.idle_before_ns, window.idle_after_ns)
    ]
    gross = sum(each.energy_j(*window.run_ns) for each in series.values())
    entry["samples"] = min(each.count(*window.run_ns) for each in series.values())
    entry["gap_s"] = max(each.largest_gap_s(*window.run_ns) for each in series.values())
    entry["idle_before_w"], entry["idle_after_w"] = idle
    entry["gross_j"] = gross
    entry["net_j"] = gross - (idle[0] + idle[1]) / 2 * entry["seconds"]
    entry["rails_j"] = {name: each.energy_j(*window.run_ns) for name, each in samples.rails.items()}
    refused.extend(_too_little(entry, rules, counts=all(each.counter for each in series.values())))
    mean = abs(idle[0] + idle[1]) / 2
    if mean and abs(idle[1] - idle[0]) / mean > rules.drift:
        shares = f"{abs(idle[1] - idle[0]) / mean:.1%}; at most {rules.drift:.0%}"
        refused.append(f"idle power drifted from {idle[0]:.4g} to {idle[1]:.4g} W, by {shares}")
    return entry


def _too_little(entry: Mapping[str, Any], rules: Rules, *, counts: bool) -> Iterator[str]:
    if entry["samples"] < rules.samples:
        yield f"{entry['samples']} samples in a run; at least {rules.samples:g} are needed"
    if entry["inferences"] < rules.inferences:
        yield f"{entry['inferences']} inferences in a run; at least {rules.inferences:g} are needed"
    if entry["seconds"] < rules.run_s:
        yield f"a run of {entry['seconds']:.3g} s; at least {rules.run_s:g} s are needed"
    usual = 10 * entry["seconds"] / max(1, entry["samples"])
    longest = rules.gap_s or max(entry["seconds"] / 20, usual)
    if not counts and entry["gap_s"] > longest:
        yield f"the sampler paused for {entry['gap_s']:.3g} s; at most {longest:.3g} s"


def _figures(
    sensor: Sensor, samples: Samples, good: list[dict[str, Any]], entries: list[dict[str, Any]]
) -> dict[str, Any]:
    gross = [entry["gross_j"] / entry["inferences"] for entry in good]
    net = [entry["net_j"] / entry["inferences"] for entry in good]
    idle = [(entry["idle_before_w"] + entry["idle_after_w"]) / 2 for entry in good]
    run = [entry["gross_j"] / entry["seconds"] for entry in good]
    values = {"gross_j_per_inference": _median(gross), "gross_energy_mj": _median(gross) * 1e3}
    values |= {"idle_power_w": _median(idle), "run_power_w": _median(run)}
    spread = {"gross_j_per_inference": _spread(gross)}
    varied = max(abs(entry["idle_after_w"] - entry["idle_before_w"]) for entry in good)
    more = _median([power - rest for power, rest in zip(run, idle, strict=True)])
    if more > varied:
        values |= {"net_j_per_inference": _median(net), "net_energy_mj": _median(net) * 1e3}
        spread["net_j_per_inference"] = _spread(net)
    lost = f"running drew {more:.3g} W more than idling, and idling itself varied by {varied:.3g} W"
    counter = all(samples.rails[name].counter for name in sensor.rails)
    return {
        **{
            name: measured(values[name], unit) if name in values else not_measurable(unit, lost)
            for name, unit in FIGURES.items()
        },
        "spread": spread,
        "sensor": sensor.name,
        "scope": sensor.scope,
        "rails": list(sensor.rails),
        "rails_j_per_inference": {
            rail: _median([entry["rails_j"][rail] / entry["inferences"] for entry in good])
            for rail in samples.rails
        },
        "method": _METHOD.format(how="differences of a counter" if counter else "trapezoids under the power"),
        "windows": entries,
    }


def _spread(values: list[float]) -> dict[str, Any]:
    return {"low": min(values), "high": max(values), "windows": len(values)}


def _median(values: list[float]) -> float:
    return float(np.median(values))


def _refused(labels: list[str], reason: str) -> dict[str, dict[str, Any]]:
    return {
        label: {**{name: not_measurable(unit, reason) for name, unit in FIGURES.items()}, "windows": []}
        for label in labels
    }


@contextlib.contextmanager
def _kept(folder: Path | None) -> Iterator[Recorder]:
    """A recorder into a folder; the recording appears whole or not at all."""
    if folder is None:
        yield Recorder(io.StringIO())
        return
    with atomic_file(folder / recording.FILE, force=True) as path, path.open("w", encoding="utf-8") as stream:
        yield Recorder(stream)
