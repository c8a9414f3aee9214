"""The gate before each measurement: wait until the device is cool, or as cool as it gets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tdedge_devices.conditions import Conditions

_STEP_SECONDS = 5.0
#: A device that cools by less than this in ``_REST_SECONDS`` has come to rest.
_REST_CELSIUS = 0.5
_REST_SECONDS = 60.0


@dataclass(frozen=True)
class Gate:
    """How a measurement came to begin.

    Attributes:
        state: "cool" (below the limit), "resting" (above it, and cooling no further), "hot" (above it when
            the time was over), or "unknown" (no temperature can be read).
        waited_s: seconds spent waiting.
        limit_celsius: the limit.
        conditions: at the end.
    """

    state: str
    waited_s: float
    limit_celsius: float
    conditions: Conditions

    @property
    def reason(self) -> str:
        """Why what follows does not count; empty where it does."""
        if self.state != "hot":
            return ""
        return (
            f"began at {self.conditions.celsius:.1f} degrees Celsius after {self.waited_s:.0f} s of cooling; "
            f"the limit is {self.limit_celsius:g}"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "state": self.state,
            "waited_s": round(self.waited_s, 1),
            "limit_celsius": self.limit_celsius,
            "conditions": self.conditions.to_json(),
        }


def cool_down(
    read: Callable[[], Conditions],
    *,
    limit_celsius: float,
    longest_s: float,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Gate:
    """Wait until the temperature is below the limit, falls no further, or the time is over."""
    start = clock()
    history: list[tuple[float, float]] = []
    while True:
        waited, now = clock() - start, read()
        if now.celsius is None:
            return Gate("unknown", waited, limit_celsius, now)
        if now.celsius < limit_celsius:
            return Gate("cool", waited, limit_celsius, now)
        history.append((waited, now.celsius))
        earlier = [celsius for at, celsius in history if at <= waited - _REST_SECONDS]
        if earlier and earlier[-1] - now.celsius < _REST_CELSIUS:
            return Gate("resting", waited, limit_celsius, now)
        if waited >= longest_s:
            return Gate("hot", waited, limit_celsius, now)
        pause(min(_STEP_SECONDS, max(0.1, longest_s - waited)))
