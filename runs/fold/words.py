"""Numbers and times as a person compares them."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def course(best: Sequence[float]) -> str:
    """How the lowest divergence went, from first to last; in words where it did not move."""
    first, last = number(best[0]), number(best[-1])
    if first != last:
        return f"best KL {first} → {last}"
    if len(best) == 1:
        return f"best KL {first}"
    return f"best KL {first}, {'not' if best[0] == best[-1] else 'hardly'} moved since the first"


def short_time(seconds: float) -> str:
    """`1:40` or `1:02:09`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
