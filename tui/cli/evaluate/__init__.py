"""`secateur evaluate`: measure a model without changing it, alone or beside another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.session.options import Wish
from tools.io.errors import UsageError
from tui.cli.options import MACHINE, Json, Model, takes
from tui.cli.shell import print_json

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.recipe.measurement import Measurement


@takes(
    *("model", "against", "text", "test_windows", "test_length", "latency", "batch", "prompt", "new", "repeats"),
    *("tasks", "limit", "shots", "task_data", "chat", "price", "output", "generate", "json", *MACHINE),
)
def evaluate(
    model: Model,
    wish: Wish,
    settings: Settings,
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODEL", help="Measure this model in the same way, and compare.")
    ] = None,
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
    json: Json = False,
) -> None:
    """Measure perplexity on a text, tasks of lm-eval, or speed, or show what is written after prompts; of one model or
    of two."""
    _refuse(
        {"--latency": latency or None, "--tasks": wish.tasks, "--generate": generate},
        {
            "perplexity": {
                "--text": wish.text if wish.text != "builtin" else None,
                "--windows": settings.given("test_windows"),
                "--length": settings.given("test_length"),
            },
            "speed": {"--batch": batch, "--prompt": prompt, "--repeats": repeats},
            "speed or continuations": {"--new": new},
            "tasks": {
                "--limit": wish.limit,
                "--shots": wish.shots,
                "--task-data": settings.given("task_data"),
                "--chat": chat or None,
                "--price": price or None,
                "--output": output,
            },
        },
    )
    models = [model] if against is None else [model, against]
    if generate is not None:
        from tui.cli.evaluate.generate import generate as write

        write(models, generate, new, settings, json=json)
    elif latency:
        from tui.cli.evaluate.speed import planned, time

        time(models, planned(batch, prompt=prompt, new=new, repeats=repeats), settings, json=json)
    elif wish.tasks is not None:
        from agent.session.goal import task_plan
        from tui.cli.evaluate.tasks import answer

        plan = task_plan(wish.tasks, limit=wish.limit, shots=wish.shots, data=settings.values.task_data, chat=chat)
        answer(models, plan, settings, output, only_price=price, json=json)
    else:
        _measure(models, wish.text, settings, json=json)


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


def _measure(models: Sequence[str], text: str, settings: Settings, *, json: bool) -> None:
    """Measure the perplexity of one model, or of two on the same tokens."""
    from agent.session.measures import perplexities
    from tui.text import perplexity as shown

    measured = perplexities(models, text, settings)
    facts = [_facts(model, of) for model, of in zip(models, measured, strict=True)]
    if json:
        print_json(facts[0] if len(facts) == 1 else _compared(*facts))
    elif len(models) == 1:
        print(shown.line(models[0], measured[0]))
    else:
        print(shown.table(models, measured))


def _compared(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    return ours | {"against": theirs, "ratio": ours["perplexity"] / theirs["perplexity"]}


def _facts(model: str, measured: Measurement) -> dict[str, Any]:
    return {
        "model": model,
        "perplexity": measured.value,
        "tokens": measured.tokens,
        "protocol": measured.protocol.model_dump(mode="json"),
        "seconds": round(measured.seconds, 3),
    }
