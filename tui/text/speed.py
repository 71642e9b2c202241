"""Speed and size of a model, or of two, as an aligned table."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tools.measure.speed import Latency, Speed, Spread, Times

_COLUMN, _CELL = 24, 26
"""Widths of the names of rows, and of what stands in them per model."""


TIMES = {"prefill": "prefill", "blocks": "  its blocks alone", "decode": "decode, per token"}
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
    for name, title in TIMES.items():
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
    return f"{f'  {title}':<{_COLUMN}}" + "".join(f"  {cell:<{_CELL}}" for cell in cells)


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
