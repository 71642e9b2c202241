"""Bars of eighth blocks, which any font of a terminal has."""

from __future__ import annotations

_PARTS = " ▏▎▍▌▋▊▉"


def bar(share: float, width: int) -> str:
    """`share` of `width` columns, padded to all of them; what is below 0, above 1 or no number ends at the edge."""
    clamped = min(max(share, 0.0), 1.0) if share == share else 0.0
    full, rest = divmod(round(8 * width * clamped), 8)
    return f"{'█' * full}{_PARTS[rest] if rest else ''}".ljust(width)
