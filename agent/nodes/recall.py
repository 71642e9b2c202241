"""Recall: what worked on similar models."""

from __future__ import annotations

from langgraph.runtime import Runtime

from agent.context import Context, State
from runs.candidate import PastCandidate
from runs.events import Note, Recalled
from tools.io.errors import SecateurError

RECALLED = 3
"""How many past candidates join the first generation."""


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
