"""Design: the designer proposes the candidates of a generation."""

from __future__ import annotations

from random import Random

from langgraph.runtime import Runtime

from agent.breeding.genes import Child
from agent.context import Context, State
from agent.kinds import parent_of
from agent.llm.leaving import Stopped
from agent.nodes.budget import room, seeding
from agent.situation import Situation, pool_of
from runs.candidate import Candidate
from runs.events import CandidateProposed

GENERATION = 6
"""Candidates per generation after the seeds."""


def situation(context: Context, generation: int) -> Situation:
    """What the designer decides on in this generation."""
    history = context.recorder.history
    obedience = context.obedience(history.heard_by(generation))
    goal = obedience.asked(context.goal)
    last = history.selected.get(generation - 1)
    found = [history.candidates[name] for name in last.population] if last else []
    members = [c.model_copy(update={"recipe": obedience.amended(c.recipe)}) for c in found]
    return Situation(
        goal=goal,
        generation=generation,
        history=history,
        bench=context.bench,
        signatures=context.signatures,
        obedience=obedience,
        population=[parent_of(candidate, context.bench, goal.pattern) for candidate in members],
        recalled=history.recalled.entries if history.recalled else (),
        pool=obedience.pool(pool_of(goal), goal),
        rng=Random(f"{goal.seed}/{generation}"),
    )


def design(state: State, runtime: Runtime[Context]) -> State:
    """The designer proposes this generation's candidates; ids follow from their order, so a rerun gives the same."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    record.stage("search")
    record.hear()
    children = [] if record.ends else _children(context, generation)
    first = 1 + len(history.before(generation))
    for number, child in enumerate(children, first):
        if f"c-{number}" not in history.candidates:
            record(CandidateProposed(candidate=_candidate(child, number, generation)))
    return state


def _children(context: Context, generation: int) -> list[Child]:
    """What the designer proposes; nothing where the person says stop meanwhile."""
    record, history = context.recorder, context.recorder.history
    here = situation(context, generation)
    screen = context.signatures.screen(history.before(generation), here.obedience)
    count = min(GENERATION, room(context, generation))
    if seeding(context, generation):
        found = [here.obedience.child(child) for child in context.designer.seeds(here)]
    else:
        try:
            found = context.designer.propose(here, lambda c: screen.objection(c.recipe) is None, count)
        except Stopped:
            found = []
    record.hear()
    return [] if record.ends else found


def _candidate(child: Child, number: int, generation: int) -> Candidate:
    return Candidate(
        id=f"c-{number}",
        recipe=child.recipe,
        parents=child.parents,
        operator=child.operator,
        why=child.why,
        thoughts=child.thoughts,
        generation=generation,
        designer=child.designer if generation else "",
        template=child.template,
    )
