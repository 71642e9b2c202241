"""Select: elitist survival, and whether the search goes on; and where a run is that is resumed."""

from __future__ import annotations

from langgraph.runtime import Runtime

from agent.breeding.archive import population
from agent.context import Context, State
from agent.nodes.budget import enough
from runs.events import Selected

POPULATION = 6


def select(state: State, runtime: Runtime[Context]) -> State:
    """Elitist survival: the best of every niche first, and on to the next generation."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    record.hear()
    why = state["enough"] or enough(context, generation)
    if generation not in history.selected:
        ranked = history.ranked(generation)
        alive = tuple(c.id for c in population(ranked, POPULATION, history.near))
        obedience = context.obedience()
        best = next((c.id for c in ranked if obedience.objection(c.recipe) is None), ranked[0].id if ranked else None)
        record(Selected(generation=generation, population=alive, best=best))
    return {"generation": generation + (0 if why else 1), "enough": why}


def place(context: Context) -> State:
    """Where the run is by its journal alone: at the first generation that has not ended, or at the end of the search.

    Where the journal lost a line, all generations are gone through again, which says again only what is not there.
    """
    history = context.recorder.history
    ended = 0
    while not history.incomplete and ended in history.selected:
        ended += 1
    why = enough(context, ended - 1) if ended and not history.extended else ""
    return {"generation": ended - (1 if why else 0), "enough": why}
