"""Recipes in their final form on the resident model: made when they are asked for, the best one kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.known import Known, known_place
from agent.tasks import Desk
from runs.events import FinalMeasured, TasksAnswered
from tools.measure.tasks.plan import TaskPlan
from tools.measure.tasks.scores import TaskScores
from tools.recipe import Recipe
from tools.text.sources import Part

if TYPE_CHECKING:
    from agent.context import Context
    from tools.model.checkpoint import Model
    from tools.prune.resident import Snapshot


@dataclass
class FinalForms:
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
        if self.holds == wanted and bench.touched == (recipe is not None):  # else whoever prepared made it dense again
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

    def answers(self, plan: TaskPlan, recipe: Recipe | None) -> TaskScores:
        """What a recipe's final form (None: the dense model) answers of the tasks."""
        assert self.desk is not None

        def made() -> Model:
            self.make(recipe)
            return self.context.bench.result()

        return self.desk.answer(plan, recipe, made)

    def measured(self, recipe: Recipe | None, part: Part, reference: bool) -> Known:
        """Perplexity of a recipe's final form on one part of the text; that of a reference may be known already."""
        context = self.context
        windows = context.part(part)
        place = known_place(context.cache, context.bench, windows, recipe)
        if reference and (found := place.read_model(Known)) is not None:
            return found
        self.make(recipe)
        measurement = context.bench.perplexity(windows, "propagated" if recipe else "dense")
        found = Known(measurement=measurement, sparsities=context.bench.gone())
        if reference:
            place.keep_model(found)
        return found

    def test(self, name: str, recipe: Recipe | None) -> None:
        """One line of the final table, on the test text; read once. References are known from earlier runs."""
        record, goal = self.context.recorder, self.context.goal
        if name not in record.history.finals:
            found = self.measured(recipe, "test", name in ("dense", *goal.pattern.references))
            record(FinalMeasured(name=name, recipe=recipe, measurement=found.measurement, sparsities=found.sparsities))
        if goal.table_tasks is not None and name not in record.history.answered:
            record(TasksAnswered(name=name, recipe=recipe, scores=self.answers(goal.table_tasks, recipe)))
