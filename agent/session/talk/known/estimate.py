"""The plan of a search, as it is told before it starts: what it does, how far it can reach, and what it will take,
minutes, memory and money, each with what it rests on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from agent.llm.prices import price_of
from agent.session.settings import Settings
from agent.session.talk.known.past import readable
from agent.session.talk.session import Session
from runs.fold.history import History
from runs.fold.summary import summary
from runs.goal import Goal
from runs.run import Run, Status
from tools.io.errors import SecateurError
from tools.io.frozen import Frozen
from tools.io.hardware import hardware_of
from tools.io.shelf import Shelf, key_of

SIDE, PROBE = 1024, 0.5
"""Rows of the matrices that are multiplied to learn how fast this machine is, and seconds for it."""
ROUGHLY = 3.0
"""A search takes about so many times as long as its forward passes would at the speed of a matrix product."""


class Rate(Frozen):
    """How fast this machine multiplies matrices."""

    operations: float
    """Floating-point operations in a second."""


class Needs(Frozen):
    """What the shapes of a model tell of a run on it."""

    parameters: int
    memory: int
    """Bytes that are held at the least."""


def estimate(goal: Goal, home: Path) -> str:
    """`It takes about 9 minutes (judged by run calm-heron-7), at least 3.1 GB of memory, no money.`"""
    needs = shapes(goal, home / "cache")
    minutes = _minutes(goal, finished(home), needs, home / "cache")
    memory = (
        "its memory is told once it is open" if needs is None else f"at least {needs.memory / 1e9:.2g} GB of memory"
    )
    return f"It takes {minutes}, {memory}, {_money(goal, home)}."


def finished(home: Path) -> list[tuple[Run, History]]:
    """Runs that came to their end, the newest first."""
    found = [(run, run.history()) for run in reversed(readable(home))]
    return [(run, history) for run, history in found if run.status(history) is Status.FINISHED]


def shapes(goal: Goal, cache: Path) -> Needs | None:
    """From the configuration of a model that lies here; None where it would have to be fetched or converted first."""
    import torch

    from tools.model.checkpoint import local_folder, outline
    from tools.model.room import bench_parts

    try:
        if (folder := local_folder(goal.model, cache)) is None:
            return None
        model = outline(goal.model, folder)
    except SecateurError:  # whoever opens it will say why
        return None
    wanted = goal.dtype or ("float32" if goal.device == "cpu" else None)
    network = model.network if wanted is None else model.network.to(getattr(torch, wanted))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    gram = goal.searches and goal.compensation_allowed and bool(goal.pattern.compensations)
    parts = bench_parts(model.architecture, network, gram=gram, window=goal.evaluation.search.length)
    return Needs(parameters=parameters, memory=parameters * network.dtype.itemsize + sum(parts.values()))


def _minutes(goal: Goal, before: Sequence[tuple[Run, History]], needs: Needs | None, cache: Path) -> str:
    """By an earlier run of the model, else of any model, else by a matrix product; never longer than is allowed."""
    if not goal.searches:
        return _applied(goal, before, needs, cache)
    if goal.budget.candidates is None:
        return f"{goal.budget.minutes:g} minutes, as you say, and then the final forms"
    like = _searches(before)
    alike = [(run, history) for run, history in like if _alike(run.goal, goal)]
    if alike:
        run, history = alike[0]
        each = history.ledger.settled.minutes / len(history.ledger.charged)
        return f"{_about(each * goal.budget.candidates, goal)} (judged by run {run.id} of the same model)"
    return _by_work(goal, goal.budget.candidates, like, needs, cache)


def _searches(before: Sequence[tuple[Run, History]]) -> list[tuple[Run, History]]:
    return [(run, history) for run, history in before if run.goal.searches and history.ledger.charged]


def _applied(goal: Goal, before: Sequence[tuple[Run, History]], needs: Needs | None, cache: Path) -> str:
    """A method or a recipe without a search: by an earlier run that applied one to the model, else by its work."""
    for run, history in before:
        if run.goal.method and not run.goal.searches and _alike(run.goal, goal):
            return f"{_about(history.ledger.settled.minutes, goal)} (judged by run {run.id} of the same model)"
    return _by_work(goal, 0, _searches(before), needs, cache)


def _by_work(goal: Goal, candidates: int, like: Sequence[tuple[Run, History]], needs: Needs | None, cache: Path) -> str:
    """By the operations that it takes, beside those of an earlier run or at the speed of a matrix product."""
    if needs is None:
        return "a time that nothing here tells: the model is not here yet, and no run of it"
    operations = work_of(goal, needs.parameters, candidates)
    for run, history in like:
        if history.survey is not None and run.goal.device == goal.device:
            then = work_of(run.goal, history.survey.parameters, len(history.ledger.charged))
            minutes = history.ledger.settled.minutes * operations / then
            return f"{_about(minutes, goal)} (judged by run {run.id} of {run.goal.model}, by weights and tokens)"
    seconds = ROUGHLY * operations / rate(goal.device, cache).operations
    return f"{_about(seconds / 60, goal)} (roughly: judged by a matrix product on this machine, no run is known)"


def _alike(one: Goal, other: Goal) -> bool:
    """Whether a candidate of one takes as long as one of the other."""
    return one.model == other.model and one.pattern.fells == other.pattern.fells and one.device == other.device


def _about(minutes: float, goal: Goal) -> str:
    most = goal.budget.minutes
    if most is not None and most < minutes:
        return f"{most:g} minutes, as you say; all candidates would take about {max(1, round(minutes))}"
    return f"about {max(1, round(minutes))} minute{'s' if round(minutes) > 1 else ''}"


def work_of(goal: Goal, parameters: int, candidates: int) -> float:
    """Floating-point operations of the forward passes of a search: two for every parameter and token."""
    evaluation = goal.evaluation
    calibration = goal.calibration.windows * goal.calibration.length
    final = (evaluation.finalists + 1) * (2 * calibration + evaluation.selection.tokens)
    table = (len(goal.pattern.references) + 2) * (calibration + evaluation.test.tokens)
    return 2.0 * parameters * (candidates * evaluation.search.tokens + 2 * calibration + final + table)


def rate(device: str, cache: Path) -> Rate:
    """How fast this machine is, measured once and kept."""
    import torch

    key = key_of([hardware_of(device), device, torch.get_num_threads()])
    return Shelf.under(cache, "speed").model(key, Rate, lambda: _measured(device))


def _measured(device: str) -> Rate:
    import torch

    one = torch.rand(SIDE, SIDE, device=device)
    float((one @ one)[0, 0])  # the first one prepares
    start, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < PROBE or not count:
        float((one @ one)[0, 0])
        count += 1
    return Rate(operations=2.0 * SIDE**3 * count / taken)


def _money(goal: Goal, home: Path) -> str:
    paid = [name for name in goal.designers if ":" in name and not name.startswith(("local:", "replay:"))]
    prices = {name: price_of(name, home) for name in paid}
    if not paid:
        return "no money"
    if unknown := [name for name, price in prices.items() if price is None]:
        return f"money that is not counted, as the price of {' and '.join(unknown)} is not known"
    most = "" if goal.budget.money is None else f", at most ${goal.budget.money:.2f}"
    told = [f"{name} (${of.read:g} a million read, ${of.write:g} written)" for name, of in prices.items() if of]
    return f"money for the tokens of {' and '.join(told)}{most}"


def held(goal: Goal, before: Sequence[tuple[Run, History]]) -> str:
    """Where the perplexity that is asked for failed before, the highest rate that held; empty where nothing tells."""
    results = [
        (run, bound)
        for run, history in before
        if run.goal.model == goal.model
        and run.goal.pattern == goal.pattern
        and (bound := _within(goal, history)) is not None
    ]
    failed = [run for run, fine in results if not fine and run.goal.sparsity <= goal.sparsity]
    if not failed:
        return ""
    lowest = min(failed, key=lambda run: run.goal.sparsity)
    told = f"In run {lowest.id} {100 * lowest.goal.sparsity:.3g} % did not keep the perplexity that you ask for"
    kept = [run for run, fine in results if fine and run.goal.sparsity < goal.sparsity]
    if not kept:
        return f"{told}, and no lower rate was tried."
    best = max(kept, key=lambda run: run.goal.sparsity)
    return f"{told}; the highest rate that did is {100 * best.goal.sparsity:.3g} % (run {best.id})."


def _within(goal: Goal, history: History) -> bool | None:
    """Whether the result of a run keeps the bounds of a goal; None where it has no perplexity on the same text."""
    ours, dense = history.finals.get(history.winner or ""), history.finals.get("dense")
    if ours is None or dense is None or history.goal is None or history.goal.test_text != goal.test_text:
        return None
    found = ours.measurement.value
    under = goal.max_perplexity is None or found < goal.max_perplexity
    return under and (
        goal.max_perplexity_rise is None or found / dense.measurement.value - 1 <= goal.max_perplexity_rise
    )


def planned(goal: Goal, settings: Settings) -> str:
    """The plan and what it costs, as far as earlier runs tell."""
    lines = [
        f"Plan: {goal}, {_way(goal)}.",
        estimate(goal, settings.home),
        _reach(goal, settings.cache),
        "The model itself is not touched; the result goes into a folder of its own.",
    ]
    if goal.max_perplexity or goal.max_perplexity_rise:
        lines.append("Whether the perplexity that you ask for holds is measured at the end, on text nothing else saw.")
        lines += [told] if (told := held(goal, finished(settings.home))) else []
    return "\n".join(lines)


def _way(goal: Goal) -> str:
    """How what falls is found: by a search, or as it is said."""
    if not goal.searches:
        return f"by {goal.method}, which is applied without a search" if goal.method else "by the recipe that was given"
    budget = goal.budget
    parts = [f"{budget.candidates} candidates"] if budget.candidates else []
    parts += [f"{budget.minutes:g} minutes"] if budget.minutes else []
    return f"designer {goal.designer}, at most {' or '.join(parts)}"


def _reach(goal: Goal, cache: Path) -> str:
    from tools.prune.reach import foreseen

    reach = foreseen(goal.model, cache, goal.pattern)
    if reach is None:
        return "How much of the model that can reach is told once it is opened."
    return reach.warning(goal.pattern, goal.sparsity) or f"It reaches {reach.told(goal.sparsity)}."


def _beyond(zero: float, goal: Goal) -> str:
    """That more may be zero in the end than is asked for: nothing brings zeros back that are there."""
    if goal.speedup is None and zero >= goal.sparsity:
        return (
            f"{100 * goal.sparsity:.3g} % is less than is zero already: zeros stay, so the result has at least "
            f"{100 * zero:.1f} %."
        )
    return (
        f"More than {100 * goal.sparsity:.3g} % may be zero in the end: where a block or a group has more zeros "
        "already than its share, they stay. The proof at the end tells how many there are."
    )


def from_here(session: Session, goal: Goal) -> str:
    """What it means that the model is the result of the run that is talked about; empty where it is another."""
    run = session.run
    if run is None or goal.model != str(run.model_folder):
        return ""
    found = summary(run.history())
    if found.recipe is None or found.winner is None:
        return ""
    gone = f"{100 * found.winner.sparsity:.1f} %"
    if found.recipe.pattern.zeros:
        return (
            f"It starts from the result of {run.id}: {gone} of its weights are zero already and count in the share. A "
            "zero scores lowest and falls first; only a compensation of weights brings a few back and drops others for "
            "them. What is compared with is that result, not the model before it.\n"
            f"{_beyond(found.winner.sparsity, goal)}"
        )
    return (
        f"It starts from the result of {run.id}, from which {gone} was cut: the share is of what is left, and what is "
        "compared with is that result, not the model before it."
    )
