"""`secateur reproduce`: measure again what a run measured, and say which numbers are the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.io.files import expanded
from tui.cli.options import Json, takes
from tui.cli.shell import be_interruptible, complain, print_json

if TYPE_CHECKING:
    from agent.reproduce import Reproduced
    from agent.session.settings import Settings

File = Annotated[Path, typer.Argument(metavar="FILE", help="reproduce.yaml, which lies beside the report of a run.")]


@takes("file", "json", "home", "device", "threads")
def reproduce(file: File, settings: Settings, json: Json = False) -> None:
    """Measure again what a run measured, and say which numbers are the same.

    Model and texts must be what they were. Everything is computed anew, with the device and as many threads as then.
    """
    from agent.reproduce import reproduce as again
    from runs.reproduction import load
    from tui.text.reproduction import progress, table

    asked = load(expanded(file))
    be_interruptible()
    try:
        done = again(
            asked,
            cache=settings.cache,
            device=None if settings.given("device") is None else settings.device,
            threads=settings.given("threads"),
            listen=lambda then, now: print(progress(asked, then, now), file=sys.stderr),
        )
    except KeyboardInterrupt:
        complain("interrupted. Nothing was written: the same command starts anew.")
        raise typer.Exit(130) from None
    if json:
        print_json(_as_json(file, done))
    else:
        print(table(asked, done))
    if not done.same:
        raise typer.Exit(1)


def _as_json(file: Path, done: Reproduced) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    for of in done.numbers:
        said = {"expected": of.expected, "found": of.found, "verdict": of.verdict}
        rows.setdefault(of.row, {})[of.name] = said
    differs = {name: {"then": then, "now": now} for name, (then, now) in done.differs_from.items()}
    return {"file": str(file), "same": done.same, "differs_from": differs, "rows": rows}
