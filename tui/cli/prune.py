"""`secateur prune` and `secateur resume`: do a run to its end, shown as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from agent.session.options import Wish
from tools.io.errors import UsageError
from tui.cli.options import MACHINE, Json, Model, RunName, takes
from tui.cli.shell import be_interruptible, complain, print_json

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from runs.run import Run

_OPTIONS = (
    *("sparsity", "pattern", "multiple", "speedup", "request", "method", "recipe"),
    *("designer", "parallel", "prompting", "candidates", "minutes", "tokens", "money"),
    *("calibration", "windows", "length", "text"),
    *("recall", "compensation", "output", "compress", "masks", "tasks", "limit", "shots", "task_data", "judge"),
    *("executor", "workers", "gpus_per_worker", "accelerator", "seed"),
)


@takes("model", *_OPTIONS, "json", *MACHINE)
def prune(model: Model, wish: Wish, settings: Settings, json: Json = False) -> None:
    """Prune a model by search, method or recipe.

    The result is saved, loaded again in a fresh process and compared before it is called done.
    """
    if wish.tasks is None and settings.given("task_data") is not None:
        raise UsageError("--task-data is for tasks: add --tasks, or leave it out")
    from agent.session.goal import build
    from agent.session.start import start

    goal = build(settings, model, wish)
    settings.use_threads()
    carry_to_end(start(settings, goal), json=json)


@takes("run", "json", "home", "threads")
def resume(run: RunName, settings: Settings, json: Json = False) -> None:
    """Go on with a run that was interrupted.

    Nothing that was measured is measured again.
    """
    from runs.run import open_run

    settings.use_threads()
    carry_to_end(open_run(settings.home, run), json=json)


def carry_to_end(run: Run, *, json: bool) -> None:
    """Work on a run, show it, and print what came out."""
    from agent.session.start import carry_out
    from tui.text.comparison import comparison
    from tui.text.plain import Plain

    be_interruptible()
    try:
        with Plain() as printer:
            printer.recall(run.journal.read())
            result = carry_out(run, printer)
    except KeyboardInterrupt:
        complain(f"interrupted. `secateur resume {run.id}` goes on where it stopped.")
        raise typer.Exit(130) from None
    if json:
        print_json(result.as_json())
    else:
        print(comparison(result, run))
