"""From a goal to what is known before anything is tried: brief, survey, recall."""

from __future__ import annotations

import time

from langgraph.runtime import Runtime

from agent import tasks as answering
from agent.context import Context, State
from agent.nodes.search import place
from runs.events import Note, PastCandidate, Recalled, SurveyDone, Timed
from tools.deliver.save import check_place
from tools.io.errors import SecateurError
from tools.model.blocks import check_blocks
from tools.prune.reach import reach_of
from tools.recipe import Experts, Structured
from tools.recipe.methods import references

RECALLED = 3
"""How many past candidates join the first generation."""


def brief(state: State, runtime: Runtime[Context]) -> State:
    """Start where the journal says that the run is; the goal was validated when it was made."""
    return place(runtime.context)


def survey(state: State, runtime: Runtime[Context]) -> State:
    """Open the model and take its statistics."""
    context = runtime.context
    record, goal = context.recorder, context.goal
    resumed = record.history.survey is not None
    start = time.perf_counter()
    record.stage("model", goal.model)
    model = context.model
    check_place(model, record.run.model_folder)
    reach = reach_of(model, goal.pattern)
    if (warning := reach.warning(goal.pattern, goal.sparsity)) and not resumed:
        record(Note(text=warning))
    if not resumed and context.goes_block_by_block:
        check_blocks(model, context.part("calibration").ids)
    known = {*record.history.notes}
    for line in context.about_text:
        if line not in known:
            record(Note(text=line))
    record.stage("statistics", f"{goal.calibration.windows * goal.calibration.length:,} tokens")
    bench = context.bench
    if context.asked is not None:
        bench.check(context.asked[1])
    elif isinstance(goal.pattern, Experts):  # no experts, or too few: every candidate would be refused
        bench.check(context.reference(references(goal.pattern)[0]))
    if goal.searches and isinstance(goal.pattern, Structured):
        _measure(context, goal.pattern)
    if not resumed:
        answering.check(context)
        for name, why in bench.silent.items():
            record(Note(text=f"{name} is left out of every ranking: {why}"))
        architecture = model.architecture
        units = bench.layers.over_depth()
        units["size"] = [float(sum(p.size for p in architecture.of_block(b))) for b in range(architecture.n_blocks)]
        record(
            SurveyDone(
                parameters=sum(p.numel() for p in model.network.parameters()),
                blocks=architecture.n_blocks,
                seconds=time.perf_counter() - start,
                units={name: tuple(values) for name, values in units.items()},
                reach=reach,
                **context.identity,
            )
        )
    prices = bench.prices(goal.pattern if context.asked is None else context.asked[1].pattern)
    if prices is not None and record.history.timed is None:
        record(Timed.model_validate(prices.model_dump()))
    return state


def _measure(context: Context, pattern: Structured) -> None:
    """What candidates are made from; done at the first of them, nobody would see it, and a failure look like theirs."""
    record, bench = context.recorder, context.bench
    if pattern.request is not None:
        record.stage("times", str(pattern.request))
        bench.prices(pattern)
    if pattern.depth and context.goal.designer == "builtin":
        record.stage("losses", "without each block")
        bench.losses("block", record.progress("losses"))


def recall(state: State, runtime: Runtime[Context]) -> State:
    """Ask memory what worked on similar models. Asked once: a resumed run must not recall itself."""
    from memory.fingerprint import model_vector
    from memory.index import Memory

    context = runtime.context
    record, goal = context.recorder, context.goal
    if record.history.recalled is not None:
        return state
    assert record.history.survey is not None
    record.stage("memory")
    if not goal.recall:
        record(Recalled(entries=()))
        return state
    try:
        vector = model_vector(record.history.survey.units)
        found = Memory(context.home).recall(vector, goal.pattern, goal.sparsity, RECALLED)
    except SecateurError as error:
        record(Note(text=f"memory could not be asked: {error}"))
        found = []
    entries = [
        PastCandidate(
            id=item.memory.id,
            model=item.memory.model,
            recipe=item.memory.recipe,
            similarity=item.similarity,
            relative=item.memory.relative,
        )
        for item in found
    ]
    record(Recalled(entries=tuple(entries)))
    return state
