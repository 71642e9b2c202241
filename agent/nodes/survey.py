"""Brief and survey: what is known of model and text before anything is tried."""

from __future__ import annotations

import time

from langgraph.runtime import Runtime

from agent import tasks
from agent.context import Context, State
from agent.nodes.select import place
from agent.steering.reply import listens
from runs.events import Note, SurveyDone, Timed
from tools.deliver.save import check_place
from tools.model.blocks import check_blocks
from tools.prune.losses import losses
from tools.prune.reach import reach_of
from tools.prune.way import way_of


def brief(state: State, runtime: Runtime[Context]) -> State:
    """Start where the journal says that the run is; the goal was validated when it was made."""
    record, goal = runtime.context.recorder, runtime.context.goal
    if record.history.survey is None and listens(goal) and goal.budget.candidates == 1:
        record(Note(text=f"{goal.designer} will not be asked: the one candidate that is allowed is a seed"))
    return place(runtime.context)


def survey(state: State, runtime: Runtime[Context]) -> State:
    """Open the model and take its statistics."""
    context = runtime.context
    record, goal = context.recorder, context.goal
    resumed = record.history.survey is not None
    start = time.perf_counter()
    record.stage("model", goal.model)
    model = context.model
    check_place(model, record.run.model_folder)
    reach = reach_of(model, goal.pattern)
    if (warning := reach.warning(goal.pattern, goal.sparsity)) and not resumed:
        record(Note(text=warning))
    if not resumed and context.goes_block_by_block:
        check_blocks(model, context.part("calibration").ids)
    known = {*record.history.notes}
    for line in context.about_text:
        if line not in known:
            record(Note(text=line))
    record.stage("statistics", f"{goal.calibration.windows * goal.calibration.length:,} tokens")
    bench = context.bench
    if context.asked is not None:
        bench.probe(context.asked[1])
    else:
        way_of(goal.pattern).require(model, goal.sparsity)
        _prepare(context)
    if not resumed:
        tasks.check(context)
        for name, why in bench.silent.items():
            record(Note(text=f"{name} is left out of every ranking: {why}"))
        if told := bench.statistics.about_experts(model.architecture):
            record(Note(text=told))
        architecture = model.architecture
        units = bench.layers.over_depth()
        units["size"] = [float(sum(p.size for p in architecture.of_block(b))) for b in range(architecture.n_blocks)]
        record(
            SurveyDone(
                parameters=sum(p.numel() for p in model.network.parameters()),
                blocks=architecture.n_blocks,
                seconds=time.perf_counter() - start,
                units={name: tuple(values) for name, values in units.items()},
                reach=reach,
                **context.identity,
            )
        )
    request = (goal.pattern if context.asked is None else context.asked[1].pattern).timed
    if request is not None and record.history.timed is None:
        record(Timed.model_validate(bench.seconds(request).model_dump()))
    return state


def _prepare(context: Context) -> None:
    """What candidates are made from; done at the first of them, nobody would see it, and a failure look like theirs."""
    record, bench, pattern = context.recorder, context.bench, context.goal.pattern
    if pattern.timed is not None:
        record.stage("times", str(pattern.timed))
        bench.seconds(pattern.timed)
    if pattern.whole_blocks and context.goal.designer == "builtin":
        record.stage("losses", "without each block")
        losses(bench, "block", record.progress("losses"))
