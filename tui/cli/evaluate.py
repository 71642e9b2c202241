"""`secateur evaluate`: measure a model without changing it, alone or beside another."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.io.errors import SecateurError, UsageError
from tui.cli import options
from tui.cli.edge import be_interruptible, complain, print_json, settings

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.measure.tasks import TaskPlan
    from tools.recipe.measurement import Measurement
    from tools.text.windows import Windows


def evaluate(
    model: options.Model,
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODEL", help="Measure this model in the same way, and compare.")
    ] = None,
    text: options.Text = "builtin",
    windows: options.Windows = None,
    length: options.Length = None,
    latency: Annotated[bool, typer.Option("--latency", help="Measure speed and size in place of perplexity.")] = False,
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="N,N", help="Sequences at a time, each on its own (1,4).")
    ] = None,
    prompt: Annotated[
        int | None, typer.Option("--prompt", metavar="L", min=1, help="Tokens of each prompt (512).")
    ] = None,
    new: Annotated[
        int | None, typer.Option("--new", metavar="L", min=1, help="Tokens to decode after each prompt (64).")
    ] = None,
    repeats: Annotated[int | None, typer.Option("--repeats", metavar="N", min=1, help="Rounds that count (3).")] = None,
    tasks: options.Tasks = None,
    limit: options.Limit = None,
    shots: options.Shots = None,
    task_data: options.TaskData = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put prompts into the model's chat template.")] = False,
    price: Annotated[bool, typer.Option("--price", help="Only say how many minutes the tasks would take.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write the tasks' table and plot as files, too.")
    ] = None,
    generate: Annotated[
        Path | None,
        typer.Option(
            "--generate", metavar="FILE", help="Continue its prompts greedily in place of measuring; .txt or .jsonl."
        ),
    ] = None,
    json: options.Json = False,
    home: options.Home = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = None,
) -> None:
    """Measure perplexity on a text, tasks of lm-eval, or speed, or show what is written after prompts; of one model or
    of two."""
    modes = {"--latency": latency or None, "--tasks": tasks, "--generate": generate}
    _refuse(
        modes,
        {
            "perplexity": {"--text": text if text != "builtin" else None, "--windows": windows, "--length": length},
            "speed": {"--batch": batch, "--prompt": prompt, "--repeats": repeats},
            "speed or continuations": {"--new": new},
            "tasks": {
                "--limit": limit,
                "--shots": shots,
                "--task-data": task_data,
                "--chat": chat or None,
                "--price": price or None,
                "--output": output,
            },
        },
    )
    found = settings(
        home,
        task_data=None if task_data is None else str(task_data),
        test_windows=windows,
        test_length=length,
        dtype=dtype,
        device=device,
        threads=threads,
    )
    if generate is not None:
        from tui.cli import generate as generations

        written = generations.written(model, against, generate, new, found)
        print_json(generations.facts(written)) if json else print(generations.shown(written))
    elif latency:
        from tui.cli import speed

        plan = speed.planned(batch, prompt=prompt, new=new, repeats=repeats)
        timed = speed.timed(model, against, plan, found)
        compared = {"speedup": speed.ratios(timed)} if against is not None else {}
        print_json(timed.model_dump(mode="json") | compared) if json else print(speed.table(timed))
    elif tasks is not None:
        from agent.session.goal import task_plan

        asked = task_plan(tasks, limit=limit, shots=shots, data=found.values.task_data, chat=chat)
        assert asked is not None
        _answer([model] if against is None else [model, against], asked, found, output, only_price=price, json=json)
    elif against is not None:
        measured = measure_both(model, against, text, found)
        print_json(_ratio(model, against, *measured)) if json else print(_beside(model, against, *measured))
    else:
        alone = measure(model, text, found)
        print_json(_facts(model, alone)) if json else print(_said(model, alone))


_ASKED_BY = {
    "perplexity": (),
    "speed": ("--latency",),
    "speed or continuations": ("--latency", "--generate"),
    "tasks": ("--tasks",),
}
"""What options are for -> what asks for it."""


def _refuse(modes: Mapping[str, object], given: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse two measurements at once, and options of what is not measured."""
    asked = [name for name, value in modes.items() if value is not None]
    if len(asked) > 1:
        raise UsageError(f"{asked[0]} and {asked[1]} are asked for: give one of them at a time")
    for kind, strangers in given.items():
        fits = bool(set(asked) & set(_ASKED_BY[kind])) if _ASKED_BY[kind] else not asked
        for name, value in strangers.items():
            if value is not None and not fits:
                add = f"add {' or '.join(_ASKED_BY[kind])}, or leave it out" if _ASKED_BY[kind] else ""
                raise UsageError(
                    f"{name} is for {kind}: {add}"
                    if add
                    else f"{name} is for {kind}, which {asked[0]} does not measure: leave one of the two out"
                )


def _answer(
    models: Sequence[str], plan: TaskPlan, found: Settings, output: Path | None, *, only_price: bool, json: bool
) -> None:
    """Have one model or two answer tasks, or say what that would cost."""
    from runs.report.tasks import TaskTable, as_json
    from tui.cli import tasks

    be_interruptible()
    place = None if output is None else tasks.output_place(output)
    if only_price:
        prices = tasks.priced(models, plan, found)
        facts: dict[str, Any] = {name: price.model_dump(mode="json") for name, price in prices}
        print_json({"price": facts}) if json else print(tasks.price_lines(prices))
        return
    try:
        answered = tasks.answered(models, plan, found)
    except KeyboardInterrupt:
        complain("interrupted: what is answered is kept, and the same command goes on from there")
        raise typer.Exit(130) from None
    (model, ours), *others = answered
    names = tasks.short_names(models)
    lines = [(name, scores) for name, (_, scores) in zip(names, answered, strict=True)]
    shown = TaskTable.of(lines, names[1] if others else None, names[0])
    beside = shown.lines[0].beside
    facts = as_json(model, ours, None if beside is None else (*others[0], beside))
    if place is not None:
        tasks.write(place, shown, facts)
    print_json(facts) if json else print(tasks.table(shown))


def _facts(model: str, measured: Measurement) -> dict[str, Any]:
    return {
        "model": model,
        "perplexity": measured.value,
        "tokens": measured.tokens,
        "protocol": measured.protocol.model_dump(mode="json"),
        "seconds": round(measured.seconds, 3),
    }


def _ratio(model: str, against: str, ours: Measurement, theirs: Measurement) -> dict[str, Any]:
    return _facts(model, ours) | {"against": _facts(against, theirs), "ratio": ours.value / theirs.value}


def _said(model: str, measured: Measurement) -> str:
    return f"{model}: perplexity {measured.value:.4g} on {_how(measured)}"


def _beside(model: str, against: str, ours: Measurement, theirs: Measurement) -> str:
    width = max(len(model), len(against))
    return "\n".join(
        [
            f"  {'':<{width}}  perplexity     ratio",
            f"  {model:<{width}}  {ours.value:>10.4g}  {ours.value / theirs.value:>8.4g}",
            f"  {against:<{width}}  {theirs.value:>10.4g}",
            f"  {_how(ours)}",
            *([f"  {against}: {theirs.protocol.read}"] if theirs.protocol.read != ours.protocol.read else []),
        ]
    )


def _how(measured: Measurement) -> str:
    protocol = measured.protocol
    return f"{protocol.text} ({protocol.read}, {protocol.dtype} on {protocol.device}, {measured.seconds:.1f} s)"


def measure(model: str, text: str, found: Settings) -> Measurement:
    """Perplexity of a model as it is."""
    return _perplexity(model, _test_windows(model, text, found), found)


def measure_both(model: str, against: str, text: str, found: Settings) -> tuple[Measurement, Measurement]:
    """Perplexity of two models on the same tokens, one after the other, so that one is held at a time.

    Raises:
        SecateurError: their tokenizers cut the text differently; a perplexity is one of tokens.
    """
    ours, theirs = (_test_windows(name, text, found) for name in (model, against))
    if ours.sha256 != theirs.sha256:
        raise SecateurError(
            f"{model} and {against} have different tokenizers: perplexities of different tokens do not compare; "
            "evaluate each alone, or compare their --latency"
        )
    return _perplexity(model, ours, found), _perplexity(against, theirs, found)


def _test_windows(model: str, text: str, found: Settings) -> Windows:
    """What is measured on, cut before any weights are read; what is unusual about it is told at once."""
    from tools.model.checkpoint import open_reader
    from tools.text.windows import windows

    values = found.values
    cut = windows(
        text, open_reader(model, found.cache), part="test", count=values.test_windows, length=values.test_length
    )
    for note in cut.notes:
        print(f"note: {model}: the windows of {cut.text} are {note}", file=sys.stderr)
    return cut


def _perplexity(model: str, text: Windows, found: Settings) -> Measurement:
    from tools.measure.perplexity import perplexity

    return perplexity(found.opened(model), text)
