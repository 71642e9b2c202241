"""Screen: what is invalid, repeats a known candidate, or no longer fits the budget is rejected."""

from __future__ import annotations

from langgraph.runtime import Runtime

from agent.context import Context, State
from agent.nodes.budget import room, seeding, seeds_at_most
from runs.events import CandidateRejected, Likened


def screen(state: State, runtime: Runtime[Context]) -> State:
    """Reject what is invalid, repeats a known candidate, or no longer fits the budget."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    gate = context.signatures.screen(history.alive_before(generation), context.obedience())
    left, full = room(context, generation), "the budget of candidates is spent"
    if seeding(context, generation) and (most := seeds_at_most(context)) < left:
        left, full = most, f"half of the candidates are left to {context.goal.designer}"
    for candidate in history.generation(generation):
        if candidate.id in history.rejected:
            continue
        measured = candidate.id in history.divergences
        objection = None if measured else gate.objection(candidate.recipe, candidate.id)
        if objection is None and left <= 0:
            objection = full
        if objection is not None:
            record(CandidateRejected(candidate_id=candidate.id, reason=objection))
            continue
        left -= 1
        gate.admit(candidate.id, candidate.recipe)
        if candidate.id not in history.likened:
            record(Likened(candidate_id=candidate.id, correlations=gate.likeness(candidate.id)))
    return state
