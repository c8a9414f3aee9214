"""From samples to energy: trapezoids under a power, differences of a counter; per rail, on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tdedge_devices.sensors.sensor import Reading

Times = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One rail over time.

    Attributes:
        times_ns: strictly rising.
        values: watts, or joules that only rise.
        counter: whether they are joules.
    """

    times_ns: Times
    values: Numbers
    counter: bool

    def energy_j(self, begin_ns: int, end_ns: int) -> float:
        """Energy between two moments within the samples; values at the two ends are interpolated."""
        edges = np.interp([0, end_ns - begin_ns], self.times_ns - begin_ns, self.values)
        if self.counter:
            return float(edges[1] - edges[0])
        inside = (self.times_ns > begin_ns) & (self.times_ns < end_ns)
        seconds = np.concatenate([[0], self.times_ns[inside] - begin_ns, [end_ns - begin_ns]]) * 1e-9
        return float(np.trapezoid(np.concatenate([edges[:1], self.values[inside], edges[1:]]), seconds))

    def mean_w(self, begin_ns: int, end_ns: int) -> float:
        """Mean power between two moments."""
        return self.energy_j(begin_ns, end_ns) / ((end_ns - begin_ns) * 1e-9)

    def covers(self, begin_ns: int, end_ns: int) -> bool:
        """Whether there are samples before and after."""
        return len(self.times_ns) > 1 and self.times_ns[0] <= begin_ns and end_ns <= self.times_ns[-1]

    def count(self, begin_ns: int, end_ns: int) -> int:
        """Samples between two moments; of a counter only those at which it moved."""
        inside = (self.times_ns >= begin_ns) & (self.times_ns <= end_ns)
        if not self.counter:
            return int(inside.sum())
        return int((np.diff(self.values, prepend=-np.inf)[inside] > 0).sum())

    def largest_gap_s(self, begin_ns: int, end_ns: int) -> float:
        """Longest time without a sample between two moments."""
        inside = self.times_ns[(self.times_ns > begin_ns) & (self.times_ns < end_ns)]
        return float(np.diff(np.concatenate([[begin_ns], inside, [end_ns]])).max()) * 1e-9


@dataclass(frozen=True)
class Samples:
    """All rails of a sensor over time.

    Attributes:
        rails: name to series.
        refusals: (when, why) of moments nothing may be concluded from.
        broken: rail to the moments at which its counter fell though it does not wrap there.
    """

    rails: dict[str, Series]
    refusals: list[tuple[int, str]]
    broken: dict[str, list[int]]


def collect(readings: Iterable[tuple[int, Reading]], wrap_j: Mapping[str, float]) -> Samples:
    """The series of all rails.

    Args:
        readings: when (ns) and what, in the order of time.
        wrap_j: rail to the energy at which its counter begins again.
    """
    times: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    own: dict[str, list[int]] = {}
    counters: set[str] = set()
    refusals = []
    spent_j: dict[str, float] = {}
    last_c: dict[str, tuple[float, float]] = {}
    for ns, reading in readings:
        if reading.refused:
            refusals.append((ns, reading.refused))
        charged = {}
        for rail, charge in reading.charge_c.items():
            before, volts = last_c.get(rail, (charge, reading.voltage_v))
            spent_j[rail] = spent_j.get(rail, 0.0) + (charge - before) * (volts + reading.voltage_v) / 2
            last_c[rail] = (charge, reading.voltage_v)
            charged[rail] = spent_j[rail]
        counters |= reading.energy_j.keys() | charged.keys()
        for rail, value in {**reading.power_w, **reading.energy_j, **charged}.items():
            times.setdefault(rail, []).append(ns)
            values.setdefault(rail, []).append(value)
            if rail in reading.at_ns:
                own.setdefault(rail, []).append(reading.at_ns[rail])
    rails, broken = {}, {}
    for rail, found in values.items():
        moments = np.array(times[rail], np.int64)
        numbers = np.array(found, np.float64)
        if len(own.get(rail, ())) == len(found):
            moments = _on_our_clock(np.array(own[rail], np.int64), moments)
        if rail in counters:
            numbers, falls = unwrapped(numbers, wrap_j.get(rail))
            broken[rail] = [int(moments[i]) for i in falls]
        later = np.diff(moments, prepend=moments[0] - 1) > 0
        rails[rail] = Series(moments[later], numbers[later], rail in counters)
    return Samples(rails, refusals, {rail: falls for rail, falls in broken.items() if falls})


def unwrapped(counter: Numbers, wrap: float | None) -> tuple[Numbers, list[int]]:
    """A counter that goes on where it began again at zero, and where it fell though it does not wrap.

    A fall of more than half of ``wrap`` is a beginning again; any other is none (a counter that was reset).
    """
    steps = np.diff(counter, prepend=counter[:1])
    falls = steps < 0
    if wrap is not None:
        again = steps < -wrap / 2
        steps = np.where(again, steps + wrap, steps)
        falls &= ~again
    steps = np.where(falls, 0.0, steps)
    return counter[0] + np.cumsum(steps), [int(i) for i in np.flatnonzero(falls)]


def _on_our_clock(own_ns: Times, sampled_ns: Times) -> Times:
    """A sensor's own times on the sampler's clock: what came through fastest fixes the offset of the two."""
    return np.maximum.accumulate(own_ns + (sampled_ns - own_ns).min())
