"""The end of a run: finalists in their final form, the winner by the selection text, one look at the test text, and a
saved model that was read back.

The search compares recipes in a cheap form. What is delivered is pruned block after block, so the few best are made in
that form, and the selection text decides among them; SparseGPT is one of them where OBS may be used. The test text is
read once for each line of the final table and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from langgraph.runtime import Runtime

from agent.breeding.shapes import mostly_blocks
from agent.context import Context, State
from agent.known import Known, known_place
from agent.tasks import Desk
from runs.candidate import Candidate
from runs.events import (
    CandidateMeasured,
    CandidateProposed,
    Continued,
    FinalMeasured,
    Note,
    RunFinished,
    Saved,
    SpeedMeasured,
    TasksAnswered,
)
from runs.fold.summary import summary
from runs.goal import Goal
from runs.report import render_card, write
from tools.deliver.keep_zeros import write_masks
from tools.deliver.save import save_model
from tools.deliver.verify import sparsities, verify_saved
from tools.io.errors import SecateurError
from tools.measure.generate import NEW_TOKENS, continuations, openings
from tools.measure.latency import measure_latency
from tools.measure.speed import Plan as Timing
from tools.measure.tasks.plan import TaskPlan
from tools.measure.tasks.scores import TaskScores
from tools.model.checkpoint import Model, open_model
from tools.model.packed import compress_folder
from tools.model.precision import note_of
from tools.prune.bench import Snapshot
from tools.prune.structures.seconds import DECODED
from tools.prune.weights.way import reads_inputs
from tools.recipe import Compensation, Experts, Recipe, Request, Structured
from tools.recipe.methods import references
from tools.text.sources import Part

PROBE_TOKENS = 64
CALIBRATED = ", calibrated on its own activations"
"""What `tools.model.blocks.check_blocks` proved at the start of the final form."""


@dataclass
class _Makers:
    """Makes recipes in their final form on the resident model and keeps the weights of the best one."""

    context: Context
    kept: dict[str, Snapshot] = field(default_factory=dict)
    """By recipe id; one entry at most."""
    holds: str = ""
    desk: Desk | None = None
    """Where tasks are answered, where the goal has some."""

    def make(self, recipe: Recipe | None) -> None:
        """Have the model hold this recipe's final form, the dense weights for None."""
        bench, record = self.context.bench, self.context.recorder
        wanted = recipe.id if recipe else "dense"
        if self.holds == wanted:
            return
        if recipe is None:
            bench.restore()
        elif wanted in self.kept:
            bench.load(self.kept[wanted])
        else:
            bench.finish(recipe, record.progress(record.current))
        self.holds = wanted

    def keep(self, recipe: Recipe) -> None:
        """Keep the weights the model holds now, in place of those kept before."""
        self.kept = {recipe.id: self.context.bench.snapshot()}


def conclude(state: State, runtime: Runtime[Context]) -> State:
    """Decide, measure, save, verify, report, remember."""
    context = runtime.context
    context.close()  # the workers' memory is free for what follows
    makers = _Makers(context, desk=None if context.goal.tasks is None else Desk(context))
    try:
        return _concluded(makers, state)
    finally:
        if makers.desk is not None:
            makers.desk.close()


def _concluded(makers: _Makers, state: State) -> State:
    context = makers.context
    record = context.recorder
    name, recipe = context.asked or _search_winner(makers)
    if record.history.saved is None:
        record.stage("test")
        _test(makers, "dense", None)
        if context.goal.searches:
            for reference in references(context.goal.pattern):
                _test_reference(makers, reference)
        _test(makers, name, recipe)
        _save(makers, name, recipe)
    _continue(makers, name, recipe)
    request = recipe.pattern.request if isinstance(recipe.pattern, Structured) else None
    if request is not None and record.history.speed is None:
        _time(makers, request)
    _remember(context)
    found = summary(record.history, best=name)
    record(RunFinished(best=name, summary=f"{found.verdict} {found.on_tasks}".strip()))
    write(record.run)
    return state


def _search_winner(makers: _Makers) -> tuple[str, Recipe]:
    """Measure the finalists on the selection text and take the best.

    Raises:
        SecateurError: the search measured nothing.
    """
    context, record = makers.context, makers.context.recorder
    chosen = _finalists(context)
    if not chosen:
        reason = next(iter(record.history.rejected.values()), "the budget was spent before")
        raise SecateurError(f"no candidate could be measured: {reason}")
    found = record.history.selections
    record.stage("finalists", ", ".join(c.id for c in chosen))
    for candidate in chosen:
        if candidate.id not in found:
            best = min((m.value for m in found.values()), default=float("inf"))
            names = references(context.goal.pattern)
            reference = next((name for name in names if candidate.recipe == context.reference(name)), None)
            measured = _measured(makers, candidate.recipe, "selection", reference is not None).measurement
            record(CandidateMeasured(candidate_id=candidate.id, recipe_id=candidate.recipe.id, measurement=measured))
            if measured.value < best and makers.holds == candidate.recipe.id:
                makers.keep(candidate.recipe)
            if reference is not None:
                _test(makers, reference, candidate.recipe)
        _judge(makers, candidate)
    judged = record.history.judged
    shares = {c.id: judged[c.id].mean or 0.0 for c in chosen if c.id in judged}
    winner = min(chosen, key=lambda c: (-shares.get(c.id, 0.0), found[c.id].value, int(c.id[2:])))
    return winner.id, winner.recipe


def _judge(makers: _Makers, candidate: Candidate) -> None:
    """Have a finalist answer the judging part of the tasks, where tasks judge."""
    context, record = makers.context, makers.context.recorder
    plan = context.goal.judging_tasks
    if plan is None or candidate.id in record.history.judged:
        return
    record.stage("finalists")
    scores = _answers(makers, plan, candidate.recipe)
    record(TasksAnswered(name=candidate.id, recipe=candidate.recipe, scores=scores))


def _answers(makers: _Makers, plan: TaskPlan, recipe: Recipe | None) -> TaskScores:
    assert makers.desk is not None

    def made() -> Model:
        makers.make(recipe)
        return makers.context.bench.result()

    return makers.desk.answer(plan, recipe, made)


def _finalists(context: Context) -> list[Candidate]:
    """The best of each niche where it is near the best of all, those without compensation with it added, and the
    strongest reference they have to beat.

    What compensation gains shows in the final form only, where it makes up for what the layers before it lost.
    """
    history = context.recorder.history
    ranked = history.ranked()
    count = context.goal.evaluation.finalists
    if isinstance(context.goal.pattern, Structured | Experts):
        rivals = [context.reference(name) for name in references(context.goal.pattern)]
        strongest = [c for c in ranked if c.recipe in rivals][:1]
        # Mostly width and mostly depth: what fitting can mend of blocks that are gone shows in the final form only.
        # On SmolLM2-135M at 30 %, KL 0.94 with 6 blocks gone became perplexity 84, 0.88 with one gone became 92.
        kinds = {mostly_blocks(c.recipe): c for c in reversed(ranked)}
        near = [c for c in sorted(kinds.values(), key=ranked.index) if history.near(c, ranked[0])]
        best = list({c.id: c for c in (*near, *ranked)}.values())[:count]
        if isinstance(context.goal.pattern, Structured) and context.goal.compensation_allowed:
            best = [_twin(context, c, "least_squares") if c.recipe.compensation.kind == "none" else c for c in best]
        return list({c.id: c for c in (*strongest, *best)}.values())
    plain = [c for c in ranked if c.recipe.league == "none"]
    if not context.goal.compensation_allowed:
        return plain[:count]
    control = [c for c in ranked if c.recipe == context.reference("sparsegpt")]
    compensated = [c for c in ranked if c.recipe.league == "obs" and c not in control]
    twins = [_twin(context, c, "obs") for c in plain[:1]]
    chosen = [*twins, *compensated[: max(1, count - 1)]][:count]
    return list({c.recipe.id: c for c in (*control, *chosen)}.values())


def _twin(context: Context, candidate: Candidate, kind: Literal["obs", "least_squares"]) -> Candidate:
    """A candidate without compensation with it, as a candidate of its own."""
    record, history = context.recorder, context.recorder.history
    compensation = Compensation(kind=kind)
    recipe = candidate.recipe.model_copy(update={"compensation": compensation})
    known = next((c for c in history.candidates.values() if c.recipe == recipe), None)
    if known is not None:
        return known
    twin = Candidate(
        id=f"c-{len(history.candidates) + 1}",
        recipe=recipe,
        parents=(candidate.id,),
        operator="add compensation",
        why=f"{candidate.id} with {compensation}, in its final form",
        generation=max(c.generation for c in history.candidates.values()),
    )
    record(CandidateProposed(candidate=twin))
    return twin


def _test_reference(makers: _Makers, name: str) -> None:
    """A published method beside the winner; one that this model cannot take is said and left out."""
    context = makers.context
    recipe = context.reference(name)
    if isinstance(context.goal.pattern, Structured | Experts):
        try:
            context.bench.ready(recipe)
        except SecateurError as error:
            context.recorder(Note(text=f"{name} is not in the table: {error}"))
            return
    _test(makers, name, recipe)


def _test(makers: _Makers, name: str, recipe: Recipe | None) -> None:
    """One line of the final table, on the test text; read once. References are known from earlier runs."""
    record, plan = makers.context.recorder, makers.context.goal.table_tasks
    if name not in record.history.finals:
        _read_test(makers, name, recipe)
    if plan is not None and name not in record.history.answered:
        scores = _answers(makers, plan, recipe)
        record(TasksAnswered(name=name, recipe=recipe, scores=scores))


def _read_test(makers: _Makers, name: str, recipe: Recipe | None) -> None:
    record = makers.context.recorder
    found = _measured(makers, recipe, "test", name in ("dense", *references(makers.context.goal.pattern)))
    record(FinalMeasured(name=name, recipe=recipe, measurement=found.measurement, sparsities=found.sparsities))


def _measured(makers: _Makers, recipe: Recipe | None, part: Part, reference: bool) -> Known:
    """Perplexity of a recipe's final form on one part of the text; that of a reference may be known already."""
    context = makers.context
    windows = context.part(part)
    place = known_place(context.cache, context.bench, windows, recipe)
    if reference and (found := place.read_model(Known)) is not None:
        return found
    makers.make(recipe)
    measurement = context.bench.perplexity(windows, "propagated" if recipe else "dense")
    found = Known(measurement=measurement, sparsities=context.bench.sparsities())
    if reference:
        place.keep_model(found)
    return found


def _save(makers: _Makers, name: str, recipe: Recipe) -> None:
    """Write the model, read it back in a fresh process, compare."""
    context, record = makers.context, makers.context.recorder
    run, model = record.run, context.bench.model
    record.stage("save", str(run.model_folder))
    makers.make(recipe)
    result = context.bench.result()
    probe = context.part("test").ids[:1, :PROBE_TOKENS]
    with torch.inference_mode():
        logits = model.network(probe.to(model.device), use_cache=False).logits
    expected = sparsities(result)  # what is there in the saved model: of a smaller one only zeros that it had anyhow

    def check(folder: Path) -> None:
        verify_saved(folder, expected_sparsity=expected, probe=probe, logits=logits, dtype=model.dtype)

    card = render_card(summary(record.history, best=name), model.origin) + note_of(result)
    save_model(result, run.model_folder, recipe=recipe, card=card, finish=check)
    recipe.save(run.recipe_file)
    what = "shapes" if isinstance(recipe.pattern, Structured | Experts) else "sparsity"
    more = _finish_folder(context.goal, model, run.model_folder)
    own = "" if isinstance(recipe.pattern, Experts) or not reads_inputs(recipe) else CALIBRATED
    record(Saved(folder=str(run.model_folder), verified=f"reloads, logits equal, {what} as asked{own}{more}"))


def _continue(makers: _Makers, name: str, recipe: Recipe) -> None:
    """Have the result and the dense model write on, to be read side by side; a model that cannot is said so."""
    context, record = makers.context, makers.context.recorder
    prompts = openings(context.bench.model, context.part("test"))
    for who, made in ((name, recipe), ("dense", None)):
        if who in record.history.continued:
            continue
        makers.make(made)
        try:
            record(Continued(name=who, continuations=continuations(context.bench.result(), prompts, NEW_TOKENS)))
        except SecateurError as error:
            record(Note(text=f"there is no text side by side: {error}"))
            return


def _time(makers: _Makers, request: Request) -> None:
    """Measure the saved model beside the dense one, in turn; what the search counted were times of single layers."""
    context = makers.context
    goal = context.goal
    makers.make(None)
    small = open_model(
        str(context.recorder.run.model_folder), cache=context.cache, dtype=context.model.dtype, device=goal.device
    )
    timing = Timing(batches=(request.batch,), prompt=request.prompt, new=max(1, min(request.new, DECODED)), repeats=5)
    found = measure_latency([context.model, small], timing)
    dense, ours = (of.times[0].prefill.median + request.new * of.times[0].decode.median for of in found.models)
    protocol = found.protocol
    context.recorder(
        SpeedMeasured(
            request=request,
            dense_seconds=dense,
            seconds=ours,
            hardware=protocol.hardware,
            threads=protocol.threads,
        )
    )


def _finish_folder(goal: Goal, model: Model, folder: Path) -> str:
    """Masks and packing, where they were asked for; what to add to what was verified."""
    if goal.masks:
        write_masks(model, folder)
    return f", packed {compress_folder(folder)}, which restores bit for bit" if goal.compress else ""


def _remember(context: Context) -> None:
    """Put every measured candidate into memory; a memory that is out of order does not spoil the run."""
    from memory.index import Memory
    from memory.remembered import of_run

    try:
        Memory(context.home).upsert(of_run(context.recorder.history))
    except SecateurError as error:
        context.recorder(Note(text=f"memory was not updated: {error}. `secateur memory rebuild` makes it anew."))
