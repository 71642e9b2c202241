"""`secateur` alone, `secateur watch` and `secateur serve`: the full-screen app."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.io.errors import UsageError
from tui.cli import options

if TYPE_CHECKING:
    from runs.run import Run


def fits() -> bool:
    """Whether there is a screen: a terminal, or a browser that textual-serve shows the app to through pipes."""
    return bool(os.environ.get("TEXTUAL_DRIVER")) or (sys.stdin.isatty() and sys.stdout.isatty())


def full(home: Path | None, **given: Any) -> None:
    """Open the app."""
    settings = options.settings(home, **given)
    from tui.app.app import SecateurApp

    SecateurApp(settings).run()


def watch(
    run: options.RunName,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the full screen.")] = False,
    home: options.Home = None,
) -> None:
    """Follow a run that another process is doing, or look at one that is over.

    Nothing that is typed reaches the run. Where there is no terminal, lines are printed.
    """
    settings = options.settings(home)
    from runs.run import open_run

    chosen = open_run(settings.home, run)
    if plain or not fits():
        _print(chosen)
        return
    from tui.app.app import SecateurApp

    SecateurApp(settings, watch=chosen).run()


def _print(run: Run) -> None:
    from runs.fold.summary import summary
    from tui.text.comparison import comparison
    from tui.text.plain import Plain

    with Plain() as printer:
        for event in run.follow():
            printer(event)
    print(comparison(summary(run.history()), run))


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; others than localhost can steer runs.")] = (
        "localhost"
    ),
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8111,
    home: options.Home = None,
) -> None:
    """Show the app in a browser.

    Whoever reaches the address can start runs and read files of yours through models: keep it local.
    """
    settings = options.settings(home)
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise UsageError("secateur serve needs the package textual-serve: pip install textual-serve") from error
    command = [sys.executable, "-m", "secateur", "--home", str(settings.home)]
    Server(shlex.join(command), host=host, port=port, title="secateur").serve()
