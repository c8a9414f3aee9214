"""How figures are written for people."""

from __future__ import annotations


def count(value: float) -> str:
    """A count: 13,598 up to seven digits, then 2,632.9 M or 15.8 G."""
    if value < 1e6:
        return f"{value:,.0f}"
    return f"{value / 1e6:,.1f} M" if value < 1e11 else f"{value / 1e9:,.1f} G"


def mebibytes(value: float | None) -> str:
    """Bytes in MiB; a dash where there is no value."""
    return "-" if value is None else f"{value / 2**20:,.1f} MiB"


def ratio(value: float | None) -> str:
    """A ratio such as 5.99x; a dash where there is no value."""
    return "-" if value is None else f"{value:.2f}x"


def milliseconds(value: float | None) -> str:
    """A time such as 41.3 ms; a dash where there is no value."""
    if value is None:
        return "-"
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 100 else f"{value:.1f} ms"


def error(value: float | None) -> str:
    """A relative error such as 3.1e-07; a dash where there is none."""
    return "-" if value is None else f"{value:.1e}"


def decibel(value: float | None) -> str:
    """A signal-to-noise ratio such as 132.4 dB; a dash where there is none (no noise at all)."""
    return "-" if value is None else f"{value:.1f} dB"


def joules(value: float | None) -> str:
    """An energy such as 3.2 mJ; a dash where there is no value."""
    if value is None:
        return "-"
    for unit, size in (("J", 1.0), ("mJ", 1e-3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µJ"


def watts(value: float | None) -> str:
    """A power such as 4.21 W; a dash where there is no value."""
    return "-" if value is None else f"{value:.3g} W"


def seconds(value: float) -> str:
    """A time such as 30 min or 45 s."""
    return f"{value / 60:.3g} min" if value >= 120 else f"{value:.3g} s"
