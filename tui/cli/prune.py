"""`secateur prune` and `secateur resume`: do a run to its end, shown as it goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.io.errors import UsageError
from tui.cli import options
from tui.cli.edge import be_interruptible, complain, print_json, settings

if TYPE_CHECKING:
    from runs.run import Run


def prune(
    model: options.Model,
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", metavar="S", help="Share of weights to remove, for example 0.5.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            metavar="P",
            help="unstructured (default; /matrix, /block), 2:4, width, depth, width+depth (each also /free), experts.",
        ),
    ] = None,
    multiple: Annotated[
        int | None, typer.Option("--multiple", metavar="N", help="Keep neurons in multiples of N (width; default 64).")
    ] = None,
    speedup: Annotated[
        float | None,
        typer.Option("--speedup", metavar="X", help="How many times faster, in place of --sparsity (width, depth)."),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option("--request", metavar="B,IN,OUT", help="With --speedup: batch, tokens in and out (1,512,128)."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME", help="Apply a named method instead of searching.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="Apply a recipe instead of searching.")
    ] = None,
    designer: Annotated[
        str | None,
        typer.Option(
            "--designer", metavar="D", help="Who invents the recipes: builtin (no LLM), openai:NAME, local:PATH, self."
        ),
    ] = None,
    prompting: Annotated[
        str | None,
        typer.Option("--prompting", metavar="P", help="Prompts from the thought graph (gcot) or history."),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option("--candidates", metavar="N", help="Candidates to measure at most.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", help="Minutes to work at most.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", metavar="N", help="Tokens of an LLM at most.")] = None,
    money: Annotated[float | None, typer.Option("--money", metavar="USD", help="US dollars of an LLM at most.")] = None,
    calibration: options.Calibration = None,
    windows: options.Windows = None,
    length: options.Length = None,
    text: options.Text = "builtin",
    recall: Annotated[
        bool,
        typer.Option("--recall/--no-recall", help="Whether memory is asked what worked in earlier runs."),
    ] = True,
    compensation: Annotated[
        bool, typer.Option("--compensation/--no-compensation", help="Whether the weights that stay may be updated.")
    ] = True,
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Where the pruned model goes.")] = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Pack the weights on disk; `secateur restore` unpacks them.")
    ] = False,
    masks: Annotated[
        bool, typer.Option("--masks", help="Save which weights are kept, to fine-tune without losing zeros.")
    ] = False,
    tasks: options.Tasks = None,
    limit: options.Limit = None,
    shots: options.Shots = None,
    task_data: options.TaskData = None,
    judge: Annotated[
        str | None,
        typer.Option("--judge", metavar="J", help="What chooses between finalists: perplexity (default) or tasks."),
    ] = None,
    executor: options.Executor = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    accelerator: options.Accelerator = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="S", help="Seed of everything random.")] = None,
    json: options.Json = False,
    home: options.Home = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Prune a model by search, method or recipe.

    The result is saved, loaded again in a fresh process and compared before it is called done.
    """
    if tasks is None and task_data is not None:
        raise UsageError("--task-data is for tasks: add --tasks, or leave it out")
    found = settings(
        home,
        calibration=calibration,
        windows=windows,
        length=length,
        designer=designer,
        prompting=prompting,
        candidates=candidates,
        minutes=minutes,
        tokens=tokens,
        money=money,
        executor=executor,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        accelerator=accelerator,
        seed=seed,
        dtype=dtype,
        device=device,
        threads=threads,
        task_data=None if task_data is None else str(task_data),
    )
    from agent.session.goal import build, task_plan
    from agent.session.start import start
    from tools.recipe import Recipe

    goal = build(
        found,
        model=model,
        sparsity=None if sparsity is None else _number(sparsity),
        pattern=pattern,
        multiple=multiple,
        speedup=speedup,
        request=request,
        method=method,
        recipe=None if recipe is None else Recipe.load(recipe),
        text=text,
        recall=recall,
        compensation=compensation,
        output=output,
        compress=compress,
        masks=masks,
        tasks=task_plan(tasks, limit=limit, shots=shots, data=found.values.task_data),
        judge=judge,
    )
    found.use_threads()
    carry_to_end(start(found, goal), json=json)


def resume(
    run: options.RunName,
    json: options.Json = False,
    home: options.Home = None,
    threads: options.Threads = None,
) -> None:
    """Go on with a run that was interrupted.

    Nothing that was measured is measured again.
    """
    found = settings(home, threads=threads)
    from runs.run import open_run

    found.use_threads()
    carry_to_end(open_run(found.home, run), json=json)


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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'sparsity "{text}" is not a number: give a share between 0 and 1, for example 0.5') from None
