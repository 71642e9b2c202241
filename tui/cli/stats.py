"""`secateur stats`: look at the layers of a model without changing it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tui.cli import options
from tui.cli.edge import print_json, settings

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.statistics.layers import LayerRow
    from tools.text.windows import Windows

_COLUMNS = ("skew", "kurtosis", "outliers", "redundancy", "score_mean", "input_norm", "input_max")


def stats(
    model: options.Model,
    calibration: options.Calibration = None,
    windows: options.Windows = None,
    length: options.Length = None,
    json: options.Json = False,
    home: options.Home = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Show statistics of every prunable linear."""
    found = settings(
        home,
        calibration=calibration,
        windows=windows,
        length=length,
        dtype=dtype,
        device=device,
        threads=threads,
    )
    start = time.perf_counter()
    text, fingerprint, rows = survey(model, found)
    if json:
        print_json(
            {
                "model": model,
                "fingerprint": fingerprint,
                "parameters": sum(row.parameters for row in rows),
                "calibration": {"text": text.text, "sha256": text.sha256, "tokens": text.tokens},
                "seconds": round(time.perf_counter() - start, 3),
                "linears": [row.model_dump(mode="json") for row in rows],
            }
        )
        return
    print(f"{model}: {len(rows)} prunable linears, statistics over {text.tokens:,} tokens of {text.text}")
    print("\n".join(_lines(rows)))


def _lines(rows: list[LayerRow]) -> list[str]:
    """An aligned table, one line per linear."""
    width = max((len(row.name) for row in rows), default=4)
    head = f"{'linear':<{width}}  {'shape':>14}" + "".join(f"  {name:>10}" for name in _COLUMNS)
    return [head] + [
        f"{row.name:<{width}}  {'{} x {}'.format(*row.shape):>14}"
        + "".join(f"  {getattr(row, name):>10.4g}" for name in _COLUMNS)
        for row in rows
    ]


def survey(model: str, found: Settings) -> tuple[Windows, str, list[LayerRow]]:
    """Calibration text, the model's fingerprint, and a row for every prunable linear."""
    from tools.model.architecture import weight
    from tools.statistics.collect import collect
    from tools.statistics.layers import LayerStatistics
    from tools.text.windows import windows

    values = found.values
    opening = found.opened(model)
    text = windows(
        values.calibration,
        opening,
        part="calibration",
        count=values.windows,
        length=values.length,
        seed=values.seed,
    )
    dense = {p.name: weight(opening.network, p) for p in opening.architecture.projections}
    rows = LayerStatistics(opening, dense, collect(opening, text, cache=found.cache)).rows()
    return text, opening.fingerprint, rows
