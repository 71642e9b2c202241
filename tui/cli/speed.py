"""`secateur evaluate --latency`: what its options mean, and the table a person reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tools.io.errors import UsageError

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.measure.speed import Latency, Speed, Spread, Times, Timing

COLUMN, CELL = 24, 26
"""Widths of the names of rows, and of what stands in them per model."""


def planned(batch: str | None, **given: int | None) -> Timing:
    """The plan that options describe; None means the default.

    Raises:
        UsageError: the batch sizes are no whole numbers above 0.
    """
    from tools.measure.speed import Timing

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


def timed(model: str, against: str | None, plan: Timing, found: Settings) -> Latency:
    """Open one model or two and measure their speed in turn, telling on stderr where it is."""
    from tools.measure.latency import measure_latency

    models = [found.opened(name) for name in (model, against) if name is not None]

    def begin(batch: int) -> None:
        print(f"batch {batch}: {plan.repeats + 1} rounds of {plan.prompt}+{plan.new} tokens", file=sys.stderr)

    return measure_latency(models, plan, begin)


def ratios(latency: Latency) -> list[dict[str, Any]]:
    """Per batch size, how many times as fast the first model is as the second: a spread over the rounds."""
    model, against = latency.models
    return [
        {"batch": ours.batch} | {name: _ratio(ours, theirs, name) for name in _TIMES}
        for ours, theirs in zip(model.times, against.times, strict=True)
    ]


def _ratio(ours: Times, theirs: Times, name: str) -> dict[str, Any]:
    spread: Spread = getattr(ours, name).under(getattr(theirs, name))
    return spread.model_dump(mode="json")


_TIMES = {"prefill": "prefill", "blocks": "  its blocks alone", "decode": "decode, per token"}
"""What is timed -> how the table calls it."""


def table(latency: Latency) -> str:
    """An aligned table: per batch size the times and what follows from them, then sizes, then how it was measured."""
    roles = ("model", "against")[: len(latency.models)]
    names = [f"{role:<8} {speed.model}" for role, speed in zip(roles, latency.models, strict=True)]
    last = ["speed-up"] if len(roles) == 2 else []
    lines = [*names, "", _line("", [*roles, *last])]
    for index, batch in enumerate(latency.protocol.batches):
        times = [speed.times[index] for speed in latency.models]
        lines += [f"batch {batch}", *_times(times), ""]
    lines += ["size", *_sizes_of(latency.models)]
    return "\n".join(line.rstrip() for line in [*lines, "", *_protocol(latency)])


def _times(times: list[Times]) -> Iterable[str]:
    for name, title in _TIMES.items():
        spreads: list[Spread] = [getattr(found, name) for found in times]
        speedup = [_times_as_fast(spreads[0].under(spreads[1]))] if len(spreads) == 2 else []
        yield _line(title, [*map(_seconds, spreads), *speedup])
    for stage in ("prefill", "decode"):
        yield _line(f"{stage}, tokens/s", [f"{getattr(t, f'{stage}_tokens_per_second'):,.1f}" for t in times])
    yield _compared("peak memory", [found.peak_bytes for found in times], _mib)


def _sizes_of(models: tuple[Speed, ...]) -> Iterable[str]:
    yield _compared("parameters", [speed.parameters for speed in models], lambda n: f"{n:,}")
    yield _compared("blocks", [speed.blocks for speed in models], str)
    yield _compared("on disk", [speed.disk_bytes for speed in models], _mib)


def _compared(title: str, sizes: list[int], show: Callable[[int], str]) -> str:
    share = [f"{100 * sizes[0] / sizes[1]:.1f} %"] if len(sizes) == 2 else []
    return _line(title, [*map(show, sizes), *share])


def _line(title: str, cells: Iterable[str]) -> str:
    return f"{f'  {title}':<{COLUMN}}" + "".join(f"  {cell:<{CELL}}" for cell in cells)


def _seconds(spread: Spread) -> str:
    scale, unit = (1, "s") if spread.median >= 1 else (1e3, "ms")
    median, lower, upper = (f"{scale * value:.4g}" for value in (spread.median, spread.lower, spread.upper))
    return f"{median} {unit} [{lower}, {upper}]"


def _times_as_fast(ratio: Spread) -> str:
    return f"{ratio.median:.2f} x [{ratio.lower:.2f}, {ratio.upper:.2f}]"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _protocol(latency: Latency) -> list[str]:
    said = latency.protocol
    versions = ", ".join(f"{name} {version}" for name, version in said.libraries.items())
    also = "; a speed-up is taken within each round" if len(latency.models) == 2 else ""
    return [
        f"median [quartiles] of {said.repeats} rounds, {said.order}{also}",
        f"{said.prompt} tokens of prompt, {said.new} decoded; {said.dtype} on {said.device} ({said.hardware}), "
        f"{said.threads} threads; {versions}",
        f"peak memory: {said.memory}",
    ]
