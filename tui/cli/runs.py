"""`secateur runs`: what runs there are, what came out of them, and away with them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tools.io.errors import SecateurError, UsageError
from tui.cli import options
from tui.cli.shell import complain, print_json

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from runs.fold.history import History
    from runs.run import Run

app = typer.Typer(help="List, show, compare, report or remove runs.", rich_markup_mode=None)
RunNames = Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of runs, or enough of their starts.")]


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, home: options.Home = None, json: options.Json = False) -> None:
    if context.invoked_subcommand is None:
        list_(home, json)


@app.command("list")
def list_(home: options.Home = None, json: options.Json = False) -> None:
    """List all runs, newest last."""
    from runs.run import list_runs

    place = options.settings(home).home
    found = list_runs(place)
    if json:
        print_json({"home": str(place), "runs": [_row(run) for run in found]})
    elif not found:
        print(f"no runs in {place}; `secateur prune MODEL --sparsity 0.5` starts one")
    else:
        width = max(len(run.id) for run in found)
        for run in found:
            status, goal = run.glance()
            print(f"{run.id:<{width}}  {_when(run)}  {status:<11}  {goal}")


def _row(run: Run) -> dict[str, str | None]:
    """A run in the JSON list; one that cannot be read has a `problem` and no goal."""
    from runs.run import UNREADABLE

    status, goal = run.glance()
    told = {"goal": None, "problem": goal} if status == UNREADABLE else {"goal": goal}
    return {"run": run.id, "status": status, **told, "created": _when(run)}


class Drawing(StrEnum):
    """How a thought graph is written down."""

    TEXT = "text"
    DOT = "dot"
    MERMAID = "mermaid"


@app.command()
def show(
    run: options.RunName,
    thoughts: Annotated[bool, typer.Option("--thoughts", help="The graph of thoughts instead.")] = False,
    drawing: Annotated[Drawing, typer.Option("--as", help="How --thoughts are written.")] = Drawing.TEXT,
    prompts: Annotated[bool, typer.Option("--prompts", help="All that an LLM was asked and said instead.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show the goal of a run, its state and what came out; or its thoughts; or its prompts."""
    from runs.fold.summary import summary
    from tui.text.comparison import comparison

    found = _open(run, home)
    history = _read(found)
    if thoughts:
        print(_drawn(history, drawing))
        return
    if prompts:
        print(_spoken(history))
        return
    result = summary(history)
    status = str(found.status(history))
    if json:
        print_json({"status": status, "goal": found.goal.model_dump(mode="json")} | result.as_json())
    else:
        print(f"{found.goal}   run {found.id}   {status}")
        print(comparison(result, found))


def _drawn(history: History, drawing: Drawing) -> str:
    from runs.fold.thoughts import thought_graph
    from runs.report.graph import dot, listing, mermaid

    draw = {Drawing.TEXT: listing, Drawing.DOT: dot, Drawing.MERMAID: mermaid}[drawing]
    return draw(thought_graph(history))


def _spoken(history: History) -> str:
    from runs.designers import NEVER_ASKED
    from runs.report.transcript import transcript

    return transcript(history) or f"{NEVER_ASKED} in this run"


@app.command()
def compare(runs: RunNames, home: options.Home = None, json: options.Json = False) -> None:
    """Put the results of several runs side by side."""
    from runs.fold.summary import summary
    from tui.text.comparison import side_by_side

    if len(runs) < 2:
        raise UsageError("compare needs at least two runs; `secateur runs` lists them")
    results = [summary(_read(_open(name, home))) for name in runs]
    if json:
        print_json({"runs": [result.as_json() for result in results]})
    else:
        print(side_by_side(results))


@app.command()
def report(run: options.RunName, home: options.Home = None, json: options.Json = False) -> None:
    """Write the report of a run anew and say where it is."""
    from runs.report import write

    found = _open(run, home)
    write(found)
    if json:
        print_json({"run": found.id, "html": str(found.report_html), "markdown": str(found.report_md)})
    else:
        print(f"{found.report_html}\n{found.report_md}")


@app.command()
@options.takes("run", "home", "json", "threads")
def replay(run: options.RunName, settings: Settings, json: options.Json = False) -> None:
    """Do a run again without its LLM: from the answers in its journal, to the same end."""
    from runs.budget import Budget
    from runs.run import create, open_run
    from tui.cli.prune import carry_to_end

    old = open_run(settings.home, run)
    before = old.history()
    talked = old.goal.designer not in ("builtin", "random", "evolution") and not old.goal.designer.startswith("replay:")
    name = f"replay:{old.journal.path}" if talked else old.goal.designer
    # Whatever ended the search then, a limit or a person: it ends after as many candidates now.
    budget = Budget(candidates=max(1, before.ledger.settled.candidates))
    settings.use_threads()
    new = create(settings.home, old.goal.model_copy(update={"designer": name, "output": None, "budget": budget}))
    # Memory knows more by now, times would be others, and another model or text would not come to the same end.
    for known in (before.survey, before.timed, before.recalled):
        if known is not None:
            new.journal.append(known.model_copy(update={"at": datetime.now(UTC)}))
    carry_to_end(new, json=json)


@app.command()
def remove(
    runs: RunNames,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: options.Home = None,
) -> None:
    """Delete runs with everything in their folders, pruned models included."""
    from runs.run import remove as delete

    found = [_open(name, home) for name in runs]
    names = ", ".join(run.id for run in found)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"removing {names} cannot be undone: say --yes")
        if not typer.confirm(f"Delete {names} with everything in it?", err=True):
            raise SecateurError("nothing was removed")
    for run in found:
        delete(run)
        print(f"removed {run.id}")


def _open(name: str, home: options.Home) -> Run:
    from runs.run import open_run

    return open_run(options.settings(home).home, name)


def _read(run: Run) -> History:
    """What a run has come to; lines that are lost are told of on stderr."""
    history = run.history()
    for problem in history.damage:
        complain(f"run {run.id}: {problem}")
    return history


def _when(run: Run) -> str:
    return datetime.fromtimestamp(run.created).astimezone().isoformat(sep=" ", timespec="minutes")
