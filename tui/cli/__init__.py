"""The command line: `main` is the console script. Results go to stdout, narration and errors to stderr.

Exit codes: 0 done, 1 failed with one clear line, 2 wrong usage, 130 interrupted (and resumable).
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tui.cli import ask, chat, doctor, evaluate, export, memory, options, prune, reproduce, runs, saved, screen, stats
from tui.cli.shell import complain, exit_code, hush

app = typer.Typer(
    name="secateur",
    help="Prune language models: a designer invents recipes, evolves them on measured fitness and proves their cost.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("chat")(chat.chat)
app.command("prune")(prune.prune)
app.command("resume")(prune.resume)
app.command("watch")(screen.watch)
app.command("serve")(screen.serve)
app.add_typer(runs.app, name="runs")
app.command("restore")(saved.restore)
app.command("recover")(saved.recover)
app.command("stats")(stats.stats)
app.command("evaluate")(evaluate.evaluate)
app.command("ask")(ask.ask)
app.command("reproduce")(reproduce.reproduce)
app.command("export")(export.export)
app.add_typer(memory.app, name="memory")
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"secateur {version('secateur')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    home: options.Home = None,
    designer: Annotated[str | None, options.option("designer", "As in prune.")] = None,
    threads: Annotated[int | None, options.option("threads")] = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    if screen.fits():
        screen.full(home, designer=designer, threads=threads)
    else:
        print(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    hush()
    try:
        return app(arguments, prog_name="secateur", standalone_mode=False) or 0
    except typer.TyperException as error:
        complain(f"{error.format_message()} `secateur --help` shows what there is.")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:  # the last line of defence: whatever happened becomes one line and an exit code
        return exit_code(error)
