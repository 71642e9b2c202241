"""From what a person gave, on the command line or in Python, to a goal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.session.settings import DEFAULT_CANDIDATES, Settings
from runs.goal import Budget, Evaluation, Goal, Size, Workers
from runs.workers.open import check as check_workers
from tools.expression import ALLOCATION, parse
from tools.io.errors import UsageError
from tools.io.files import expanded
from tools.io.frozen import first_problem
from tools.measure.tasks.local import local_file, read_samples
from tools.measure.tasks.plan import TaskPlan, task_names
from tools.model.checkpoint import check_device
from tools.recipe import (
    Calibration,
    Pattern,
    Recipe,
    Request,
    Structured,
    Unstructured,
    check_sparsity,
    parse_pattern,
)
from tools.recipe.methods import method as named_method


def build(
    settings: Settings,
    *,
    model: str,
    sparsity: float | None = None,
    pattern: str | None = None,
    multiple: int | None = None,
    speedup: float | None = None,
    request: str | None = None,
    method: str | None = None,
    recipe: Recipe | None = None,
    text: str = "builtin",
    recall: bool = True,
    compensation: bool = True,
    output: Path | None = None,
    compress: bool = False,
    masks: bool = False,
    max_perplexity: float | None = None,
    max_rise: float | None = None,
    tasks: TaskPlan | None = None,
    judge: str | None = None,
) -> Goal:
    """The goal that all of this means together; sparsity and pattern outrank those of a recipe.

    Raises:
        UsageError: it cannot be meant, alone or together.
    """
    values = settings.values
    form = None if pattern is None else parse_pattern(pattern)
    if form is None and recipe is not None and (multiple is not None or speedup is not None):
        form = recipe.pattern
    if speedup is not None or request is not None:
        sparsity, form = _timed(speedup, request, sparsity, form)
    if form is not None and method is None and multiple is not None:
        form = form.in_multiples(multiple)
    asked = None if recipe is None else _adapted(recipe, sparsity, form, settings)
    if asked is not None:
        _read_formulas(asked)
    device = settings.device
    check_device(device)
    workers = _workers(settings)
    limited = values.candidates is not None or values.minutes is not None
    search = Size(windows=values.search_windows, length=values.search_length)
    test = Size(windows=values.test_windows, length=values.test_length)
    return Goal.of(
        **_what(asked, method, sparsity, form, multiple),
        model=_absolute(model),
        method=method,
        recipe=asked,
        designer=_designer(values.designer),
        prompting=values.prompting,
        calibration=_calibration(settings) if asked is None else asked.calibration,
        test_text=_absolute(text),
        evaluation=Evaluation(search=search, selection=search, test=test, finalists=values.finalists),
        recall=recall,
        compensation_allowed=compensation,
        max_perplexity=max_perplexity,
        max_perplexity_rise=max_rise,
        budget=Budget(
            candidates=values.candidates if limited else DEFAULT_CANDIDATES,
            minutes=values.minutes,
            tokens=values.tokens,
            money=values.money,
        ),
        seed=values.seed,
        dtype=values.dtype,
        device=device,
        workers=workers,
        output=None if output is None else str(expanded(output).resolve()),
        compress=compress,
        masks=masks,
        tasks=_placed(tasks),
        judge=judge or "perplexity",
    )


def task_plan(
    names: str | None, *, limit: int | None, shots: int | None, data: str | None, chat: bool = False
) -> TaskPlan | None:
    """The tasks that options describe.

    Raises:
        UsageError: none is named, one twice, or what only tasks need is given without them.
    """
    if names is None:
        for option, value in (("--limit", limit), ("--shots", shots)):
            if value is not None:
                raise UsageError(f"{option} is for tasks: add --tasks, or leave it out")
        return None
    where = None if data is None else str(expanded(data))
    return TaskPlan(names=task_names(names), limit=limit, shots=shots, data=where, chat=chat)


def _placed(tasks: TaskPlan | None) -> TaskPlan | None:
    """The tasks, from files that are still found when the run is resumed from another folder."""
    if tasks is None or tasks.data is None:
        return tasks
    for name in tasks.names:
        read_samples(local_file(tasks.data, name))
    return tasks.model_copy(update={"data": _absolute(tasks.data)})


def _workers(settings: Settings) -> Workers:
    values = settings.values
    workers = Workers(
        executor=values.executor,
        count=values.workers,
        gpus=values.gpus_per_worker,
        accelerator=values.accelerator,
    )
    check_workers(workers)
    return workers


def _calibration(settings: Settings) -> Calibration:
    values = settings.values
    return Calibration(
        source=_absolute(values.calibration), windows=values.windows, length=values.length, seed=values.seed
    )


def _timed(
    speedup: float | None, request: str | None, sparsity: float | None, form: Pattern | None
) -> tuple[float, Pattern]:
    """Share of the time that has to fall, and the pattern that counts it."""
    if speedup is None:
        raise UsageError("--request says what has to get faster: give --speedup with it, for example --speedup 1.4")
    if sparsity is not None:
        raise UsageError("--speedup and --sparsity both say how much falls: give one of them")
    if not (math.isfinite(speedup) and speedup > 1):
        raise UsageError(f"--speedup {speedup:g}: give how many times faster, more than 1, for example 1.4")
    form = form or Structured(kind="width+depth")
    asked = form.timed if request is None and form.timed is not None else _request(request)
    return 1 - 1 / speedup, form.counting(asked)


def _request(text: str | None) -> Request:
    try:
        numbers = [int(part) for part in (text or "1,512,128").split(",")]
        batch, prompt, new = numbers
        return Request(batch=batch, prompt=prompt, new=new)
    except ValueError:  # a ValidationError is one too
        raise UsageError(f'--request "{text}": give batch, tokens in and tokens out, for example 1,512,128') from None


def _what(
    recipe: Recipe | None, method: str | None, sparsity: float | None, form: Pattern | None, multiple: int | None
) -> dict[str, Any]:
    """Sparsity and pattern that a goal asks for; an N:M pattern says both."""
    if recipe is not None:
        return {"sparsity": recipe.sparsity, "pattern": recipe.pattern}
    if sparsity is not None:
        share = check_sparsity(sparsity)
    elif form is not None and form.prescribed is not None:
        share = form.prescribed
    else:
        raise UsageError("--sparsity is missing: give the share of weights to remove, for example --sparsity 0.5")
    return {"sparsity": share, "pattern": _own_pattern(method, share, form, multiple)}


def _own_pattern(method: str | None, sparsity: float, form: Pattern | None, multiple: int | None) -> Pattern:
    """What a method compares with what where nobody says otherwise; a method for structures keeps to its own."""
    own = (form or Unstructured()) if method is None else named_method(method, sparsity, form).pattern
    return own if multiple is None else own.in_multiples(multiple)


def _adapted(recipe: Recipe, sparsity: float | None, form: Pattern | None, settings: Settings) -> Recipe:
    """The recipe with what was said beside it."""
    data = recipe.model_dump()
    if form is not None:
        data["pattern"] = form.model_dump()
        data["sparsity"] = recipe.sparsity if form.prescribed is None else form.prescribed
    if sparsity is not None:
        data["sparsity"] = check_sparsity(sparsity)
    spoken = {
        field: getattr(_calibration(settings), field)
        for field, setting in (("source", "calibration"), ("windows", "windows"), ("length", "length"))
        if settings.sources[setting] == "command line"
    }
    data["calibration"] |= {"source": _absolute(recipe.calibration.source)} | spoken
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"the recipe does not fit: {first_problem(error)}") from error


def _read_formulas(recipe: Recipe) -> None:
    """Complain about a formula now, not after the model was opened and measured."""
    parse(recipe.metric, recipe.language)
    if recipe.allocation.expression is not None and not recipe.allocation.uniform:
        parse(recipe.allocation.expression, ALLOCATION)


def _designer(name: str) -> str:
    """The designer's name, refused now where it can be none; a folder by its whole path."""
    from agent.designers.choose import check

    check(name)
    kind, _, rest = name.partition(":")
    return f"local:{_absolute(rest)}" if kind == "local" else name


def _absolute(name: str) -> str:
    """A path that still means the same when the run is resumed from another folder; other names as they are."""
    from tools.model.sample import SAMPLES

    path = expanded(name)
    return name if name in SAMPLES or not path.exists() else str(path.resolve())
