"""Measure: candidates climb the cascade, all of them on few tokens, the best on more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing

from langgraph.runtime import Runtime

from agent.context import Context, State
from agent.nodes.budget import over
from runs.candidate import Candidate
from runs.events import CandidateMeasured, CandidateRejected, ReferenceMeasured
from runs.goal import Size
from runs.workers import Failed, Outcome

PROMOTED = 1 / 3
"""Share of a generation that is measured again on more tokens."""


def rungs(part: Size) -> tuple[int, ...]:
    """Tokens of the cascade's measurements: a quarter of the search text, then all of it."""
    few = max(1, part.windows // 4)
    return tuple(sorted({few * part.length, part.tokens}))


def measure(state: State, runtime: Runtime[Context]) -> State:
    """Climb the cascade: all on few tokens, the best of each niche and the controls on more."""
    context, generation = runtime.context, state["generation"]
    record, history = context.recorder, context.recorder.history
    record.stage("search")
    record.hear()
    living = [c for c in history.generation(generation) if c.id not in history.rejected]
    few, *more = rungs(context.goal.evaluation.search)
    spent = _measure(context, living, few)
    for tokens in more:
        spent = spent or _measure(context, _promoted(context, living, few), tokens)
    return {**state, "enough": spent}


def _measure(context: Context, candidates: Sequence[Candidate], tokens: int) -> str:
    """Measure those that have no number at this fidelity yet; returns why it stopped early, if it did."""
    while pending := _pending(context, candidates, tokens):
        if (out := _measured(context, pending, tokens)) is not None:
            return out
    return ""


def _pending(context: Context, candidates: Sequence[Candidate], tokens: int) -> list[Candidate]:
    """What is still to be measured; what breaks a word that came since falls."""
    record, history = context.recorder, context.recorder.history
    obedience, pending = context.obedience(), list[Candidate]()
    for candidate in candidates:
        if candidate.id in history.rejected or tokens in history.divergences.get(candidate.id, {}):
            continue
        if (broken := obedience.objection(candidate.recipe)) is None:
            pending.append(candidate)
        elif candidate.id not in history.divergences:
            record(CandidateRejected(candidate_id=candidate.id, reason=broken))
    return pending


def _measured(context: Context, pending: Sequence[Candidate], tokens: int) -> str | None:
    """Measure one after the other; the person is heard before each. Returns why it is over, or None: look again at what
    is pending."""
    record, history = context.recorder, context.recorder.history
    rules = context.obedience().rules
    with closing(context.executor.measure(pending, tokens)) as outcomes:
        for candidate in pending:
            record.hear(candidate.id)
            if out := over(context, candidate):
                return out
            if (now := context.obedience()).rules != rules:
                rules = now.rules
                left = [c for c in pending if tokens not in history.divergences.get(c.id, {})]
                if any(now.objection(c.recipe) for c in left if c.id not in history.rejected):
                    return None
            _record(context, next(outcomes))
    return None


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
    if not candidate.recipe.pattern.allocates:
        return ()
    bench = context.bench
    wanted = bench.prepare(candidate.recipe).sparsity
    architecture = bench.model.architecture
    blocks = [architecture.of_block(block) for block in range(architecture.n_blocks)]
    return tuple(sum(wanted[p.name] * p.size for p in b) / sum(p.size for p in b) for b in blocks)


def _control(context: Context, candidate: Candidate) -> str | None:
    """The name of the published method that a seed is. Such seeds are measured to the end, so that everything can be
    compared with them; magnitude is far behind and not worth it."""
    name = context.named(candidate.recipe)
    return None if name == "magnitude" else name


def _promoted(context: Context, candidates: Sequence[Candidate], tokens: int) -> list[Candidate]:
    history = context.recorder.history
    chosen: set[str] = set()
    measured = [c for c in candidates if tokens in history.divergences.get(c.id, {})]
    for kind in {c.recipe.league for c in measured}:
        members = [c for c in measured if c.recipe.league == kind]
        members.sort(key=lambda c: history.divergences[c.id][tokens].value)
        chosen |= {c.id for c in members[: math.ceil(len(members) * PROMOTED)]}
    return [c for c in measured if c.id in chosen or _control(context, c)]
