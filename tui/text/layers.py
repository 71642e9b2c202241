"""Statistics of layers as an aligned table."""

from __future__ import annotations

from collections.abc import Sequence

from tools.statistics.layers import LayerRow

_COLUMNS = ("skew", "kurtosis", "outliers", "redundancy", "score_mean", "input_norm", "input_max")


def table(rows: Sequence[LayerRow]) -> str:
    """One line per linear."""
    width = max((len(row.name) for row in rows), default=4)
    head = f"{'linear':<{width}}  {'shape':>14}" + "".join(f"  {name:>10}" for name in _COLUMNS)
    lines = [
        f"{row.name:<{width}}  {'{} x {}'.format(*row.shape):>14}"
        + "".join(f"  {getattr(row, name):>10.4g}" for name in _COLUMNS)
        for row in rows
    ]
    return "\n".join([head, *lines])
