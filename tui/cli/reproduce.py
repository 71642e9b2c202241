"""`secateur reproduce`: measure again what a run measured, and say which numbers are the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runs.plain import plain
from tools.io.files import expanded
from tui.cli import options
from tui.cli.edge import be_interruptible, complain, print_json, settings

if TYPE_CHECKING:
    from agent.reproduce import Reproduced
    from runs.reproduction import Measured, Reproduction

File = Annotated[Path, typer.Argument(metavar="FILE", help="reproduce.yaml, which lies beside the report of a run.")]


def reproduce(
    file: File,
    json: options.Json = False,
    home: options.Home = None,
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Measure again what a run measured, and say which numbers are the same.

    Model and texts must be what they were. Everything is computed anew, with the device and as many threads as then.
    """
    found = settings(home, device=device, threads=threads)
    from agent.reproduce import reproduce as again
    from runs.reproduction import load

    asked = load(expanded(file))
    be_interruptible()
    try:
        done = again(
            asked,
            cache=found.cache,
            device=None if device is None else found.device,
            threads=threads,
            listen=lambda then, now: print(_progress(asked, then, now), file=sys.stderr),
        )
    except KeyboardInterrupt:
        complain("interrupted. Nothing was written: the same command starts anew.")
        raise typer.Exit(130) from None
    if json:
        print_json(_as_json(file, done))
    else:
        print("\n".join(_lines(asked, done)))
    if not done.same:
        raise typer.Exit(1)


def _progress(asked: Reproduction, then: Measured, now: Measured) -> str:
    place = f"{asked.rows.index(then) + 1}/{len(asked.rows)}"
    return f"  {place}  {_shown(then.name)}  perplexity {now.perplexity:.6g}, then {then.perplexity:.6g}"


def _lines(asked: Reproduction, done: Reproduced) -> list[str]:
    return [*_heading(asked), *_differences(done.differs_from), *_table(done), _tolerances(asked), _verdict(done)]


def _heading(asked: Reproduction) -> list[str]:
    on = asked.machine
    threads = "" if on.threads is None else f", {on.threads} thread{'' if on.threads == 1 else 's'}"
    text = f"{asked.test.windows} windows of {asked.test.length} tokens of {asked.test.source}"
    return [
        _shown(f"run {asked.run}: {asked.model.name}, {text}"),
        _shown(f"  then    {asked.model.dtype} on {on.device}{f' ({on.hardware})' if on.hardware else ''}{threads}"),
    ]


def _differences(differs: Mapping[str, tuple[str, str]]) -> list[str]:
    """What is not as it was; where numbers differ, the likely reason."""
    if not differs:
        return ["  now     the same libraries, hardware and threads"]
    return [_shown(f"  differs {name}: {then} then, {now} now") for name, (then, now) in differs.items()]


def _table(done: Reproduced) -> list[str]:
    names = [_shown(number.row) for number in done.numbers]
    width, room = max(map(len, names)), max(len(repr(n)) for of in done.numbers for n in (of.expected, of.found))
    head = f"  {'':<{width}}  {'':<10}  {'then':>{room}}  {'now':>{room}}"
    return [head] + [
        f"  {name:<{width}}  {of.name:<10}  {of.expected!r:>{room}}  {of.found!r:>{room}}  {of.verdict}"
        for name, of in zip(names, done.numbers, strict=True)
    ]


def _tolerances(asked: Reproduction) -> str:
    from agent.reproduce import tolerance

    parts = [f"{name} {'{:g} {}'.format(*tolerance(name, asked.model.dtype))}" for name in asked.rows[0].numbers]
    return f"  tolerance in {_shown(asked.model.dtype)}: {', '.join(parts)}"


def _verdict(done: Reproduced) -> str:
    from agent.reproduce import VERDICTS

    count, near, off = (done.count(verdict) for verdict in VERDICTS)
    are = "is" if count == 1 else "are"
    said = [f"{count} of {len(done.numbers)} numbers {are} the same to the last digit"]
    said += [f"{near} within tolerance"] if near else []
    said += [f"{off} {'differs' if off == 1 else 'differ'}"] if off else []
    return ", ".join(said) + "."


def _as_json(file: Path, done: Reproduced) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    for of in done.numbers:
        said = {"expected": of.expected, "found": of.found, "verdict": of.verdict}
        rows.setdefault(of.row, {})[of.name] = said
    differs = {name: {"then": then, "now": now} for name, (then, now) in done.differs_from.items()}
    return {"file": str(file), "same": done.same, "differs_from": differs, "rows": rows}


def _shown(text: str) -> str:
    """On one line, whatever a file says."""
    return plain(text.replace("\n", " ").replace("\t", " "))
