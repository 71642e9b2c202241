"""The loop after reasoning: design, screen, measure, select."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from random import Random

from langgraph.runtime import Runtime

from agent.breeding.archive import population
from agent.breeding.genes import Child
from agent.context import Context, State
from agent.designers import Situation, parent_of, pool_of
from agent.screening import Screen
from runs.budget import BudgetSpent
from runs.candidate import Candidate
from runs.events import (
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Likened,
    ReferenceMeasured,
    Selected,
)
from runs.goal import Part
from runs.workers import Failed, Outcome
from tools.recipe import NM, Experts
from tools.recipe.methods import references

GENERATION = 6
"""Candidates per generation after the seeds."""
POPULATION = 6
PROMOTED = 1 / 3
"""Share of a generation that is measured again on more tokens."""


def rungs(part: Part) -> tuple[int, ...]:
    """Tokens of the cascade's measurements: a quarter of the search text, then all of it."""
    few = max(1, part.windows // 4)
    return tuple(sorted({few * part.length, part.tokens}))


def situation(context: Context, generation: int) -> Situation:
    """What the designer decides on in this generation."""
    goal, history = context.goal, context.recorder.history
    last = history.selected.get(generation - 1)
    members = [history.candidates[name] for name in last.population] if last else []
    return Situation(
        goal=goal,
        generation=generation,
        history=history,
        bench=context.bench,
        population=[parent_of(candidate, context.bench, goal.pattern) for candidate in members],
        recalled=history.recalled.entries if history.recalled else (),
        pool=pool_of(goal),
        rng=Random(f"{goal.seed}/{generation}"),
    )


def design(state: State, runtime: Runtime[Context]) -> State:
    """The designer proposes this generation's candidates; ids follow from their order, so a rerun gives the same."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    record.stage("search")
    screen = Screen(context.bench, history.before(generation))
    here = situation(context, generation)
    room = _room(context, generation)
    if generation == 0:
        children = context.designer.seeds(here)
    else:
        children = context.designer.propose(here, lambda c: screen.objection(c.recipe) is None, min(GENERATION, room))
    first = 1 + len(history.before(generation))
    for number, child in enumerate(children, first):
        if f"c-{number}" not in history.candidates:
            record(CandidateProposed(candidate=_candidate(child, number, generation)))
    return state


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


def _room(context: Context, generation: int) -> int:
    """How many candidates the budget allows from this generation on."""
    allowed = context.recorder.ledger.budget.candidates
    history = context.recorder.history
    used = [c for c in history.before(generation) if c.id in history.divergences or c.id in history.failed]
    return 10**6 if allowed is None else max(0, allowed - len(used))


def screen(state: State, runtime: Runtime[Context]) -> State:
    """Reject what is invalid, repeats a known candidate, or no longer fits the budget."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    gate = Screen(context.bench, history.alive_before(generation))
    room = _room(context, generation)
    for candidate in history.generation(generation):
        if candidate.id in history.rejected:
            continue
        objection = gate.objection(candidate.recipe, candidate.id)
        if objection is None and room <= 0:
            objection = "the budget of candidates is spent"
        if objection is not None:
            record(CandidateRejected(candidate_id=candidate.id, reason=objection))
            continue
        room -= 1
        gate.admit(candidate.id, candidate.recipe)
        if candidate.id not in history.likened:
            record(Likened(candidate_id=candidate.id, correlations=gate.likeness(candidate.id)))
    return state


def measure(state: State, runtime: Runtime[Context]) -> State:
    """Climb the cascade: all on few tokens, the best of each niche and the controls on more."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    record.stage("search")
    living = [c for c in history.generation(generation) if c.id not in history.rejected]
    few, *more = rungs(context.goal.evaluation.search)
    spent = _measure(context, living, few)
    for tokens in more:
        spent = spent or _measure(context, _promoted(context, living, few), tokens)
    return {**state, "enough": spent}


def _measure(context: Context, candidates: Sequence[Candidate], tokens: int) -> str:
    """Measure those that have no number at this fidelity yet; returns why it stopped early, if it did."""
    history = context.recorder.history
    living = [c for c in candidates if c.id not in history.rejected]
    pending = [c for c in living if tokens not in history.divergences.get(c.id, {})]
    if not pending:
        return ""
    with closing(context.executor.measure(pending, tokens)) as outcomes:
        for _ in pending:
            if out := _out_of_time(context):
                return out
            _record(context, next(outcomes))
    return ""


def _record(context: Context, outcome: Outcome) -> None:
    record, candidate = context.recorder, outcome.candidate
    if isinstance(outcome, Failed):
        record(CandidateRejected(candidate_id=candidate.id, reason=outcome.reason, stage="measure"))
        return
    found = outcome.measurement
    rates = _rates(context, candidate)
    record(CandidateMeasured(candidate_id=candidate.id, recipe_id=candidate.recipe.id, measurement=found, rates=rates))
    if (name := _control(context, candidate)) is not None:
        record(ReferenceMeasured(name=name, recipe=candidate.recipe, measurement=found))


def _rates(context: Context, candidate: Candidate) -> tuple[float, ...]:
    """Sparsity of every block under the candidate's allocation; nothing where the pattern prescribes it."""
    if isinstance(candidate.recipe.pattern, NM | Experts):
        return ()
    bench = context.bench
    wanted = bench.ready(candidate.recipe).sparsity
    architecture = bench.model.architecture
    blocks = [architecture.of_block(block) for block in range(architecture.n_blocks)]
    return tuple(sum(wanted[p.name] * p.size for p in b) / sum(p.size for p in b) for b in blocks)


def _out_of_time(context: Context) -> str:
    """Why nothing more may be measured; candidates are counted when a generation is designed."""
    try:
        context.recorder.ledger.check(("minutes", "tokens", "money"))
    except BudgetSpent as spent:
        return str(spent)
    return ""


def _control(context: Context, candidate: Candidate) -> str | None:
    """The name of the published method that a seed is. Such seeds are measured to the end, so that everything can be
    compared with them; magnitude is far behind and not worth it."""
    names = (name for name in references(context.goal.pattern) if name != "magnitude")
    return next((name for name in names if candidate.recipe == context.reference(name)), None)


def _promoted(context: Context, candidates: Sequence[Candidate], tokens: int) -> list[Candidate]:
    history = context.recorder.history
    chosen: set[str] = set()
    measured = [c for c in candidates if tokens in history.divergences.get(c.id, {})]
    for kind in {c.recipe.league for c in measured}:
        members = [c for c in measured if c.recipe.league == kind]
        members.sort(key=lambda c: history.divergences[c.id][tokens].value)
        chosen |= {c.id for c in members[: math.ceil(len(members) * PROMOTED)]}
    return [c for c in measured if c.id in chosen or _control(context, c)]


def select(state: State, runtime: Runtime[Context]) -> State:
    """Elitist survival: the best of every niche first, and on to the next generation."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    for said in context.recorder.run.unheard(history):
        record(said)
    enough = state["enough"] or _enough(context, generation)
    if generation not in history.selected:
        ranked = history.ranked(generation)
        alive = tuple(c.id for c in population(ranked, POPULATION, history.near))
        record(Selected(generation=generation, population=alive, best=ranked[0].id if ranked else None))
    return {"generation": generation + (0 if enough else 1), "enough": enough}


def place(context: Context) -> State:
    """Where the run is by its journal alone: at the first generation that has not ended, or at the end of the search.

    Where the journal lost a line, all generations are gone through again, which says again only what is not there.
    """
    history = context.recorder.history
    ended = 0
    while not history.incomplete and ended in history.selected:
        ended += 1
    enough = _enough(context, ended - 1) if ended and not history.extended else ""
    return {"generation": ended - (1 if enough else 0), "enough": enough}


def _enough(context: Context, generation: int) -> str:
    """Why the search should end now: the person says so, the budget is spent, or nothing new could be found."""
    record, history = context.recorder, context.recorder.history
    if record.said_stop:
        return "the person asked to stop"
    if _room(context, generation + 1) <= 0:
        return f"the budget of {record.ledger.budget.candidates} candidates is spent"
    if not any(c.id in history.divergences for c in history.generation(generation)):
        return "no new candidate could be found"
    return _out_of_time(context)
