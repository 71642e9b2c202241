"""Finalists: the few best are made in their final form, and the selection text decides among them.

The search compares recipes in a cheap form; what is delivered is pruned block after block. The strongest reference is
one of them. Where tasks judge, they decide before the text does.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.context import Context
from agent.final_forms import FinalForms
from agent.kinds import Contest, kind_of
from agent.steering.obedience import Obedience
from runs.candidate import Candidate
from runs.events import CandidateMeasured, CandidateProposed, Note, TasksAnswered
from tools.io.errors import SecateurError
from tools.recipe import Compensation, Recipe


def search_winner(forms: FinalForms) -> tuple[str, Recipe]:
    """Measure the finalists on the selection text and take the best.

    Raises:
        SecateurError: the search measured nothing.
    """
    context, record = forms.context, forms.context.recorder
    chosen = _finalists(context)
    if not chosen:
        reason = next(iter(record.history.rejected.values()), "the budget was spent before")
        raise SecateurError(f"no candidate could be measured: {reason}")
    found = record.history.selections
    record.stage("finalists", ", ".join(c.id for c in chosen))
    for candidate in chosen:
        if candidate.id not in found:
            best = min((m.value for m in found.values()), default=float("inf"))
            reference = context.named(candidate.recipe)
            measured = forms.measured(candidate.recipe, "selection", reference is not None).measurement
            record(CandidateMeasured(candidate_id=candidate.id, recipe_id=candidate.recipe.id, measurement=measured))
            if measured.value < best and forms.holds == candidate.recipe.id:
                forms.keep(candidate.recipe)
            if reference is not None:
                forms.test(reference, candidate.recipe)
        _judge(forms, candidate)
    judged = record.history.judged
    shares = {c.id: judged[c.id].mean or 0.0 for c in chosen if c.id in judged}
    winner = min(chosen, key=lambda c: (-shares.get(c.id, 0.0), found[c.id].value, int(c.id[2:])))
    return winner.id, winner.recipe


def _judge(forms: FinalForms, candidate: Candidate) -> None:
    """Have a finalist answer the judging part of the tasks, where tasks judge."""
    context, record = forms.context, forms.context.recorder
    plan = context.goal.judging_tasks
    if plan is None or candidate.id in record.history.judged:
        return
    record.stage("finalists")
    scores = forms.answers(plan, candidate.recipe)
    record(TasksAnswered(name=candidate.id, recipe=candidate.recipe, scores=scores))


def _finalists(context: Context) -> list[Candidate]:
    goal, history = context.goal, context.recorder.history
    obedience, ranked = context.obedience(), history.ranked()
    if obedience.rules.binds and ranked:
        found = _obedient(context, obedience, ranked)
        if not found:
            return [_made_obedient(context, obedience, ranked[0])]
        ranked = found
    last = goal.pattern.compensations[-1:]
    contest = Contest(
        history=history,
        ranked=ranked,
        count=goal.evaluation.finalists,
        rivals=context.rivals,
        compensation=goal.compensation_allowed and not obedience.rules.barred & set(last),
        twin=lambda candidate: _twin(context, candidate),
    )
    return kind_of(goal.pattern).finalists(contest)


def _obedient(context: Context, obedience: Obedience, ranked: Sequence[Candidate]) -> list[Candidate]:
    """Those that break no word of the person; says how many do."""
    found = [c for c in ranked if obedience.objection(c.recipe) is None]
    told = f"finalists obey what the person said ({obedience.rules}): {len(ranked) - len(found)} candidates do not"
    if told not in context.recorder.history.notes:
        context.recorder(Note(text=told))
    return found


def _made_obedient(context: Context, obedience: Obedience, best: Candidate) -> Candidate:
    """The best candidate as it obeys, as a candidate of its own.

    Raises:
        SecateurError: nothing that obeys can be made of it.
    """
    recipe = obedience.amended(best.recipe)
    if (broken := obedience.objection(recipe)) is not None:
        raise SecateurError(f"no candidate obeys and none can be made to ({broken}): take it back, then resume the run")
    return _own(context, best, recipe, "obey", f"{best.id} with {obedience.rules}, in its final form")


def _twin(context: Context, candidate: Candidate) -> Candidate:
    """A candidate without compensation with its pattern's own, as a candidate of its own."""
    compensation = Compensation.model_validate({"kind": candidate.recipe.pattern.compensations[-1]})
    recipe = candidate.recipe.model_copy(update={"compensation": compensation})
    return _own(
        context, candidate, recipe, "add compensation", f"{candidate.id} with {compensation}, in its final form"
    )


def _own(context: Context, parent: Candidate, recipe: Recipe, operator: str, why: str) -> Candidate:
    """The candidate with that recipe, made of another where there is none yet."""
    record, history = context.recorder, context.recorder.history
    known = next((c for c in history.candidates.values() if c.recipe == recipe), None)
    if known is not None:
        return known
    made = Candidate(
        id=f"c-{len(history.candidates) + 1}",
        recipe=recipe,
        parents=(parent.id,),
        operator=operator,
        why=why,
        generation=max(c.generation for c in history.candidates.values()),
    )
    record(CandidateProposed(candidate=made))
    return made
