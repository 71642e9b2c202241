"""Numbers and times as a person compares them."""

from __future__ import annotations

import math

from tools.recipe.measurement import Measurement


def number(value: float) -> str:
    """Three digits that matter, never in scientific notation: 0.412, 22.8, 297, 12,345."""
    if not math.isfinite(value):
        return "∞" if value > 0 else str(value)
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{decimals}f}"


def percent(share: float | None) -> str:
    """`45.4 %`; a dash where it is not known."""
    return "-" if share is None else f"{100 * share:.1f} %"


def shown(measurement: Measurement) -> str:
    """A measured value with the digits a person compares, for example `KL 0.412` or `50.9`."""
    value = number(measurement.value)
    return f"KL {value}" if measurement.kind == "divergence" else value


def short_time(seconds: float) -> str:
    """`1:40` or `1:02:09`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
