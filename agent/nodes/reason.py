"""Reason: the thought graph grows before anything is designed.

Lessons are drawn from all candidates measured so far; the designer adds its observations and hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

from langgraph.runtime import Runtime

from agent.context import Context, State
from agent.designers import Reason
from agent.llm.leaving import Stopped
from agent.nodes.design import situation
from agent.nodes.measure import rungs
from agent.principles import Principle, principles
from runs.candidate import Candidate
from runs.events import Thought


def reason(state: State, runtime: Runtime[Context]) -> State:
    """Write down what was learnt and what the designer thinks; ids follow from the order, so a rerun gives the same."""
    context, generation = runtime.context, state["generation"]
    record = context.recorder
    record.stage("search")
    record.hear()
    first = 1 + len(record.history.thoughts_before(generation))
    found = _lessons(context, generation)
    with suppress(Stopped):
        found += [] if record.ends else context.designer.reason(situation(context, generation))
    for number, thought in enumerate(found, first):
        if f"t-{number}" not in record.history.thoughts:
            record(Thought(id=f"t-{number}", generation=generation, **asdict(thought)))
    return state


def _lessons(context: Context, generation: int) -> list[Reason]:
    """Principles that are new, or that turned around since they were last written down."""
    history = context.recorder.history
    fewest = rungs(context.goal.evaluation.search)[0]
    measured = [c for c in history.before(generation) if fewest in history.divergences.get(c.id, {})]
    fitness = {c.id: history.divergences[c.id][fewest].value for c in measured}
    before = {t.topic: t.text for t in history.thoughts_before(generation) if t.kind == "lesson"}
    found = principles(measured, fitness, {c.id: history.rates.get(c.id, ()) for c in measured})
    return [
        Reason(p.text, kind="lesson", topic=p.feature, about=_holders(measured, fitness))
        for p in found
        if _direction(p) not in before.get(p.feature, "")
    ]


def _direction(principle: Principle) -> str:
    return "goes with lower KL" if principle.correlation < 0 else "goes with higher KL"


def _holders(measured: Sequence[Candidate], fitness: dict[str, float]) -> tuple[str, ...]:
    """The best and the worst candidate that a principle is drawn from; all of them would clutter the graph."""
    order = sorted(measured, key=lambda c: fitness[c.id])
    return (order[0].id, order[-1].id)
