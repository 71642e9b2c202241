"""`secateur evaluate --latency`: what its options mean, and what comes out of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tools.io.errors import UsageError
from tools.measure.latency import measure_latency
from tools.measure.speed import Latency, Spread, Times, Timing
from tui.cli.shell import print_json
from tui.text.speed import TIMES, table

if TYPE_CHECKING:
    from agent.session.settings import Settings


def planned(batch: str | None, **given: int | None) -> Timing:
    """The plan that options describe; None means the default.

    Raises:
        UsageError: the batch sizes are no whole numbers above 0.
    """
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return Timing(**asked) if batch is None else Timing(**asked, batches=_sizes(batch))


def _sizes(batch: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in batch.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise UsageError(f'--batch: "{batch}" is no list of sizes: write whole numbers from 1 on, for example 1,4')
    return sizes


def time(models: Sequence[str], plan: Timing, settings: Settings, *, json: bool) -> None:
    """Open one model or two and measure their speed in turn, telling on stderr where it is; print what came out."""

    def begin(batch: int) -> None:
        print(f"batch {batch}: {plan.repeats + 1} rounds of {plan.prompt}+{plan.new} tokens", file=sys.stderr)

    timed = measure_latency([settings.opened(name) for name in models], plan, begin)
    compared = {"speedup": _ratios(timed)} if len(models) == 2 else {}
    print_json(timed.model_dump(mode="json") | compared) if json else print(table(timed))


def _ratios(latency: Latency) -> list[dict[str, Any]]:
    """Per batch size, how many times as fast the first model is as the second: a spread over the rounds."""
    model, against = latency.models
    return [
        {"batch": ours.batch} | {name: _ratio(ours, theirs, name) for name in TIMES}
        for ours, theirs in zip(model.times, against.times, strict=True)
    ]


def _ratio(ours: Times, theirs: Times, name: str) -> dict[str, Any]:
    spread: Spread = getattr(ours, name).under(getattr(theirs, name))
    return spread.model_dump(mode="json")
