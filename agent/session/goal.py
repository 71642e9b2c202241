"""From what a person gave, on the command line or in Python, to a goal."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationError

from agent.llm.prices import own
from agent.session.options import DEFAULT_CANDIDATES, HOSTED, Wish
from agent.session.settings import Settings, Values
from runs.designers import designers_of
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


def build(settings: Settings, model: str, wish: Wish, *, recipe: Recipe | None = None) -> Goal:
    """The goal that all of this means together; sparsity and pattern outrank those of a recipe.

    Args:
        recipe: one that is at hand, in place of the file that the wish names.

    Raises:
        UsageError: it cannot be meant, alone or together.
    """
    values, device = settings.values, settings.device
    if recipe is None and wish.recipe is not None:
        recipe = Recipe.load(wish.recipe)
    share, form = _sized(wish, recipe)
    asked = None if recipe is None else _adapted(recipe, share, form, settings)
    _heeded(wish, form, share, asked)
    if asked is not None:
        _read_formulas(asked)
    check_device(device)
    workers = _workers(settings)
    return Goal.of(
        **_what(asked, wish.method, share, form, wish.multiple),
        model=_absolute(model),
        method=wish.method,
        recipe=asked,
        designer=_designer(values.designer),
        parallel=_parallel(values),
        prompting=values.prompting,
        calibration=_calibration(settings) if asked is None else asked.calibration,
        test_text=_absolute(wish.text),
        evaluation=_evaluation(values),
        recall=wish.recall,
        compensation_allowed=wish.compensation,
        max_perplexity=wish.max_perplexity,
        max_perplexity_rise=wish.max_rise,
        budget=_budget(values),
        seed=values.seed,
        dtype=values.dtype,
        device=device,
        workers=workers,
        output=None if wish.output is None else str(expanded(wish.output).resolve()),
        compress=wish.compress,
        masks=wish.masks,
        tasks=_tasks(wish, values.task_data),
        judge=wish.judge or "perplexity",
    )


def _heeded(wish: Wish, form: Pattern | None, share: float | None, recipe: Recipe | None) -> None:
    """Refuse a method or a recipe that would do otherwise than what stands beside it.

    Raises:
        UsageError: it updates weights that shall stay as they are, or removes something else than was asked for.
    """
    named = recipe
    if wish.method is not None:
        named = named_method(wish.method, share or 0.5, form)
        if form is not None and named.pattern.kind != form.kind:
            removes = f"{wish.method} removes by {named.pattern.kind}, not by {form.kind}"
            raise UsageError(f"{removes}: leave the pattern out, or take another method")
    if named is not None and not wish.compensation and named.compensation.kind != "none":
        what = wish.method or "the recipe"
        raise UsageError(f"{what} updates the weights that stay: leave out --no-compensation, or take wanda")


def _sized(wish: Wish, recipe: Recipe | None) -> tuple[float | None, Pattern | None]:
    """The share that shall go and the pattern that counts it, where they are wished."""
    share, form = wish.sparsity, None if wish.pattern is None else parse_pattern(wish.pattern)
    if form is None and recipe is not None and (wish.multiple is not None or wish.speedup is not None):
        form = recipe.pattern
    if wish.speedup is not None or wish.request is not None:
        share, form = _timed(wish.speedup, wish.request, share, form)
    if form is not None and wish.method is None and wish.multiple is not None:
        form = form.in_multiples(wish.multiple)
    return share, form


def _evaluation(values: Values) -> Evaluation:
    search = Size(windows=values.search_windows, length=values.search_length)
    test = Size(windows=values.test_windows, length=values.test_length)
    return Evaluation(search=search, selection=search, test=test, finalists=values.finalists)


def _budget(values: Values) -> Budget:
    limited = values.candidates is not None or values.minutes is not None
    return Budget(
        candidates=values.candidates if limited else DEFAULT_CANDIDATES,
        minutes=values.minutes,
        tokens=values.tokens,
        money=values.money,
    )


def task_plan(
    names: str, *, limit: int | None = None, shots: int | None = None, data: str | None = None, chat: bool = False
) -> TaskPlan:
    """The tasks that options describe.

    Raises:
        UsageError: none is named, or one twice.
    """
    where = None if data is None else str(expanded(data))
    return TaskPlan(names=task_names(names), limit=limit, shots=shots, data=where, chat=chat)


def _tasks(wish: Wish, data: str | None) -> TaskPlan | None:
    """The tasks of a run, from files that are still found when it is resumed from another folder."""
    if wish.tasks is None:
        for option, value in (("--limit", wish.limit), ("--shots", wish.shots)):
            if value is not None:
                raise UsageError(f"{option} is for tasks: add --tasks, or leave it out")
        return None
    tasks = task_plan(wish.tasks, limit=wish.limit, shots=wish.shots, data=data)
    if tasks.data is None:
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
        if settings.given(setting) is not None
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
    """The designer's name, refused now where it can be none; folders by their whole paths."""
    from agent.designers.choose import check

    check(name)
    return ",".join(_with_whole_path(member) for member in designers_of(name))


def _with_whole_path(name: str) -> str:
    kind, _, rest = name.partition(":")
    return f"local:{_absolute(rest)}" if kind == "local" else name


def _parallel(values: Values) -> int:
    """Conversations of a design step: several where every member is a provider's, which answers many at once."""
    if values.parallel is not None:
        return values.parallel
    paid = all(":" in member and not own(member) for member in designers_of(values.designer))
    return HOSTED if paid else 1


def _absolute(name: str) -> str:
    """A path that still means the same when the run is resumed from another folder; other names as they are."""
    from tools.model.sample import SAMPLES

    path = expanded(name)
    return name if name in SAMPLES or not path.exists() else str(path.resolve())
