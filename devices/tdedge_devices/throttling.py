"""Whether a device was slowed down while it measured: from what it said before and after."""

from __future__ import annotations

from tdedge_devices.conditions import Conditions

#: Names of the lower bits of ``vcgencmd get_throttled``; 16 higher: the same since boot.
BITS = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_BOOT = 16


def reasons(before: Conditions, after: Conditions) -> list[str]:
    """Why what was measured between two readings does not count; nothing where it does."""
    return [
        *_bit_reasons(before, after),
        *(
            f"{name} slows the device down (state {max(value, before.states.get(name, 0))})"
            for name, value in after.states.items()
            if value > 0 or before.states.get(name, 0) > 0
        ),
        *(
            f"{name} rose by {value - before.counters[name]}"
            for name, value in after.counters.items()
            if value > before.counters.get(name, value)
        ),
        *_ceiling_reasons(before, after),
    ]


def is_slowed(now: Conditions) -> list[str]:
    """Why the device is slowed down at this moment; nothing where it is not."""
    return reasons(now, now)


def _bit_reasons(before: Conditions, after: Conditions) -> list[str]:
    if after.bits is None:
        return []
    earlier = before.bits or 0
    found = []
    for bit, name in BITS.items():
        if (after.bits | earlier) >> bit & 1:
            found.append(f"{name} (vcgencmd get_throttled {after.bits:#x})")
        elif (after.bits & ~earlier) >> (bit + _SINCE_BOOT) & 1:
            found.append(f"{name} in between (vcgencmd get_throttled {earlier:#x}, then {after.bits:#x})")
    return found


def _ceiling_reasons(before: Conditions, after: Conditions) -> list[str]:
    pairs = zip(before.ceiling_mhz, after.ceiling_mhz, strict=False)
    lowered = [(was, now) for was, now in pairs if now < was]
    return [f"the highest clock fell from {was:.0f} to {now:.0f} MHz" for was, now in lowered[:1]]
