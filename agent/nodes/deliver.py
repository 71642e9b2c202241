"""The end of a run: the final table, a saved model that was read back, a report, and what memory learns.

The test text is read once for each line of the final table and decides nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
from langgraph.runtime import Runtime

from agent.context import Context, State
from agent.final_forms import FinalForms
from agent.nodes.budget import unasked
from agent.nodes.finalists import search_winner
from agent.tasks import Desk
from runs.events import (
    Continued,
    Note,
    RunFinished,
    Saved,
    SpeedMeasured,
)
from runs.fold.summary import summary
from runs.goal import Goal
from runs.report import render_card, write
from tools.deliver.keep_zeros import write_masks
from tools.deliver.save import save_model
from tools.deliver.verify import verify_saved
from tools.io.errors import SecateurError
from tools.measure.generate import NEW_TOKENS, continuations, openings
from tools.measure.latency import measure_latency
from tools.measure.speed import Timing
from tools.model.checkpoint import Model, open_model
from tools.model.packed import compress_folder
from tools.model.precision import note_of
from tools.model.sparsity import overall, sparsities
from tools.prune.structures.seconds import DECODED
from tools.prune.way import way_of
from tools.recipe import Recipe, Request

PROBE_TOKENS = 64
CALIBRATED = ", calibrated on its own activations"
"""What `tools.model.blocks.check_blocks` proved at the start of the final form."""


def conclude(state: State, runtime: Runtime[Context]) -> State:
    """Decide, measure, save, verify, report, remember."""
    context = runtime.context
    context.close()  # the workers' memory is free for what follows
    forms = FinalForms(context, desk=None if context.goal.tasks is None else Desk(context))
    try:
        return _concluded(forms, state)
    finally:
        if forms.desk is not None:
            forms.desk.close()


def _concluded(forms: FinalForms, state: State) -> State:
    context = forms.context
    record = context.recorder
    record.hear("the finalists")
    if (told := unasked(context, state["enough"])) and told not in record.history.notes:
        record(Note(text=told))
    name, recipe = context.asked or search_winner(forms)
    if record.history.saved is None:
        record.stage("test")
        forms.test("dense", None)
        if context.goal.searches:
            for reference in context.goal.pattern.references:
                _test_reference(forms, reference)
        forms.test(name, recipe)
        _save(forms, name, recipe)
    _continue(forms, name, recipe)
    request = recipe.pattern.timed
    if request is not None and record.history.speed is None:
        _time(forms, request)
    _remember(context)
    found = summary(record.history, best=name)
    record(RunFinished(best=name, summary=f"{found.verdict} {found.on_tasks}".strip()))
    write(record.run)
    return state


def _test_reference(forms: FinalForms, name: str) -> None:
    """A published method beside the winner; one that this model cannot take is said and left out."""
    context = forms.context
    recipe = context.reference(name)
    try:
        context.bench.prepare(recipe)
    except SecateurError as error:
        context.recorder(Note(text=f"{name} is not in the table: {error}"))
        return
    forms.test(name, recipe)


MORE = 0.002
"""Share beyond what was asked for that is no rounding."""


def _as_asked(recipe: Recipe, share: float) -> str:
    """What the saved model has of what the recipe says; zeros that were there before may be more than was asked for."""
    if not recipe.pattern.zeros:
        return "shapes as asked"
    if share > recipe.sparsity + MORE:
        return f"sparsity {100 * share:.1f} % where {100 * recipe.sparsity:.1f} % was asked: earlier zeros count"
    return "sparsity as asked"


def _save(forms: FinalForms, name: str, recipe: Recipe) -> None:
    """Write the model, read it back in a fresh process, compare."""
    context, record = forms.context, forms.context.recorder
    run, model = record.run, context.bench.model
    record.stage("save", str(run.model_folder))
    forms.make(recipe)
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
    what = _as_asked(recipe, overall(result, expected))
    more = _finish_folder(context.goal, model, run.model_folder)
    own = CALIBRATED if way_of(recipe.pattern).propagates(recipe) else ""
    record(Saved(folder=str(run.model_folder), verified=f"reloads, logits equal, {what}{own}{more}"))


def _continue(forms: FinalForms, name: str, recipe: Recipe) -> None:
    """Have the result and the dense model write on, to be read side by side; a model that cannot is said so."""
    context, record = forms.context, forms.context.recorder
    prompts = openings(context.bench.model, context.part("test"))
    for who, made in ((name, recipe), ("dense", None)):
        if who in record.history.continued:
            continue
        forms.make(made)
        try:
            record(Continued(name=who, continuations=continuations(context.bench.result(), prompts, NEW_TOKENS)))
        except SecateurError as error:
            record(Note(text=f"there is no text side by side: {error}"))
            return


def _time(forms: FinalForms, request: Request) -> None:
    """Measure the saved model beside the dense one, in turn; what the search counted were times of single layers."""
    context = forms.context
    goal = context.goal
    forms.make(None)
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
