"""The tools of a designer that is a language model: what it may look at, and how it proposes.

Nothing here spends budget. Proposals are validated, screened and kept as drafts, which the state machine turns into
candidates; a refusal says what to mend, and after a bounded number of refusals the step is over. The only functions
that can be called are those listed here, whatever a model asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, StructuredTool

from agent import tasks as answering
from agent.breeding.genes import Child, Parent
from agent.designer_tools import arguments as asking
from agent.designer_tools import drafts as drafting
from agent.designer_tools import looks as looking
from agent.designers import Reason
from agent.kinds import parent_of
from agent.recorder import Recorder
from agent.screening import Screen
from agent.situation import Situation
from runs.events import ToolUsed
from tools.expression import METRIC
from tools.io.errors import SecateurError, UsageError
from tools.prune.allocation import units
from tools.recipe import Allocation, Granularity

if TYPE_CHECKING:
    from pydantic import BaseModel

REFUSALS = 8
"""Refused proposals before a step ends."""
LOOKING = frozenset({"layer_statistics", "inspect_layers", "try_metric", "recall", "compare", "evaluate"})
LOOKS = 3
"""Looks in one step beyond the number of drafts wanted; then only tools that propose or write down are left."""
LONGEST = 6000
"""Characters of a tool's answer; a model of any size reads this."""


class Toolbox:
    """The tools for one step (reason or design) of one generation."""

    def __init__(self, situation: Situation, screen: Screen, record: Recorder, home: Path, wanted: int) -> None:
        """`wanted`: drafts after which no more are taken."""
        self._situation = situation
        self._screen = screen
        self._record = record
        self._choice = [c.id for c in situation.history.ranked()]
        self._home = home
        self.wanted = wanted
        self.refused = 0
        self.finished = False
        self._asked: set[tuple[str, str]] = set()
        self._stale: set[str] = set()
        self.drafts: list[Child] = []
        self.notes: list[Reason] = []

    def looking(self) -> list[BaseTool]:
        """Read-only tools; memory is one of them unless the run does without."""
        found = [
            self._tool("layer_statistics", asking.LayerStatistic, self._layer_statistics),
            self._tool("inspect_layers", asking.InspectLayers, self._inspect_layers),
            self._tool("try_metric", asking.TryMetric, self._try_metric),
            self._tool("compare", asking.Compare, self._compare),
        ]
        if self._situation.goal.looks_at_tasks:
            found.append(self._tool("evaluate", asking.Evaluate, self._evaluate))
        if self._situation.goal.recall:
            found.append(self._tool("recall", asking.Recall, self._recall))
        return found

    def noting(self) -> list[BaseTool]:
        """Tools of the reason step."""
        return [*self.looking(), self._tool("write_thought", asking.WriteThought, self._write), self._finish()]

    def designing(self) -> list[BaseTool]:
        """Tools of the design step; where the pattern prescribes the rates, none that changes them."""
        found = [*self.looking(), self._tool("propose_metric", asking.ProposeMetric, self._propose_metric)]
        if self._situation.goal.pattern.allocates:
            found += [
                self._tool("propose_allocation", asking.ProposeAllocation, self._propose_allocation),
                self._tool("propose_rates", asking.ProposeRates, self._propose_rates),
                self._tool("propose_recipe", asking.ProposeRecipe, self._propose_recipe),
                self._tool("crossover", asking.Crossover, self._crossover),
            ]
        return [*found, self._finish()]

    @property
    def done(self) -> bool:
        """Whether this step has nothing left to do."""
        return self.finished or len(self.drafts) >= self.wanted or self.refused >= REFUSALS

    def offered(self, name: str) -> bool:
        """Whether a tool is on the table: not one that was only asked the same again, nor a look after enough looks,
        nor the end before anything is proposed, written down or at least tried."""
        if name == "finish":
            return bool(self.drafts or self.notes or self.refused > 1)
        looks = sum(asked in LOOKING for asked, _ in self._asked)
        return name not in self._stale and (name not in LOOKING or looks < self.wanted + LOOKS)

    def _finish(self) -> BaseTool:
        return self._tool("finish", asking.Finish, self._end)

    def _tool(self, name: str, schema: type[asking.Arguments], work: Callable[[Any], str]) -> BaseTool:
        schema = asking.choosing_among(schema, self._choice)

        def use(**arguments: Any) -> str:
            return self._use(name, schema.model_validate(arguments), work)

        return StructuredTool.from_function(use, name=name, description=schema.__doc__ or name, args_schema=schema)

    def _use(self, name: str, arguments: BaseModel, work: Callable[[Any], str]) -> str:
        """Do it, and say why where it cannot be done; either way the journal tells."""
        start, text = time.perf_counter(), arguments.model_dump_json()
        try:
            self._once(name, text)
            answer = work(arguments)
        except SecateurError as error:
            self.refused += 1
            answer = f"refused: {error}"
        answer = answer if len(answer) <= LONGEST else answer[: LONGEST - 1] + "…"
        generation = self._situation.generation
        if (generation, name, text) not in self._record.history.used:
            taken = time.perf_counter() - start
            self._record(
                ToolUsed(name=name, arguments=text, result=answer, seconds=round(taken, 3), generation=generation)
            )
        return answer

    def _once(self, name: str, arguments: str) -> None:
        """Small models go in circles: what was asked before is not answered, and its tool is taken off the table."""
        if (name, arguments) in self._asked and name != "finish":
            self._stale.add(name)
            raise UsageError("you asked exactly this before, its answer stands above: do something else")
        self._asked.add((name, arguments))

    def _take(self, child: Child) -> str:
        """Make a child a draft if it is new and can be measured."""
        if len(self.drafts) >= self.wanted:
            raise UsageError(f"{self.wanted} candidates are enough for this generation: call finish")
        if objection := self._screen.objection(child.recipe):
            raise UsageError(f"{objection}. Propose something else.")
        self._screen.admit(f"draft {len(self.drafts) + 1}", child.recipe)
        self.drafts.append(child)
        left = self.wanted - len(self.drafts)
        return (
            f"accepted as draft {len(self.drafts)}: {child.recipe}. {f'{left} more wanted' if left else 'Call finish'}."
        )

    def _parent(self, name: str) -> Parent:
        history = self._situation.history
        candidate = history.candidates.get(name)
        if candidate is None or name in history.rejected:
            known = ", ".join(c.id for c in history.ranked()[:8])
            raise UsageError(f"{name} is not a measured candidate. The best are {known}.")
        return parent_of(candidate, self._situation.bench, self._situation.goal.pattern)

    def _metric(self, text: str) -> str:
        return drafting.written(text, METRIC, self._situation.pool.metric_terminals)

    def _end(self, a: asking.Finish) -> str:
        if not self.offered("finish"):
            raise UsageError("nothing is proposed or written down yet: do that first")
        self.finished = True
        return "done"

    def _propose_metric(self, a: asking.ProposeMetric) -> str:
        parent = self._parent(a.base)
        return self._take(drafting.changed(parent, "propose metric", a.why, metric=self._metric(a.expression)))

    def _propose_allocation(self, a: asking.ProposeAllocation) -> str:
        parent = self._parent(a.base)
        found = self._allocation(a.expression, a.width, a.granularity)
        return self._take(drafting.changed(parent, "propose allocation", a.why, allocation=found))

    def _allocation(self, asked: str | Sequence[float], width: float, granularity: Granularity) -> Allocation:
        members = units(self._situation.bench.model.architecture, granularity)
        return drafting.allocation(
            self._situation.goal, asked, width=width, granularity=granularity, units=len(members)
        )

    def _propose_rates(self, a: asking.ProposeRates) -> str:
        rates = {item.unit: item.sparsity for item in a.rates}
        return self._take(drafting.nudged(self._parent(a.base), rates, a.why))

    def _propose_recipe(self, a: asking.ProposeRecipe) -> str:
        parent, allowed = self._parent(a.base), self._situation.pool.compensation
        child = drafting.changed(
            parent,
            "propose recipe",
            a.why,
            metric=self._metric(a.metric),
            allocation=self._allocation(a.allocation, a.width, a.granularity),
            pattern=drafting.grouped(parent.recipe, a.group),
            compensation=drafting.compensated(allowed, a.compensation, parent.recipe),
        )
        return self._take(child)

    def _crossover(self, a: asking.Crossover) -> str:
        first, second = self._parent(a.first), self._parent(a.second)
        return self._take(drafting.crossed(first, second, a.take, a.units if "rates" in a.take else [], a.why))

    def _write(self, a: asking.WriteThought) -> str:
        history = self._situation.history
        missing = [name for name in a.about if name not in history.candidates]
        missing += [name for name in (*a.supports, *a.contradicts) if name not in history.thoughts]
        if missing:
            raise UsageError(f"{missing[0]} is not known: name candidates (c-3) in about and thoughts (t-2) elsewhere")
        if any(note.text == a.text for note in self.notes):
            raise UsageError("this thought is written down already: write another one or call finish")
        self.notes.append(
            Reason(
                a.text,
                about=tuple(a.about),
                kind=a.kind,
                supports=tuple(a.supports),
                contradicts=tuple(a.contradicts),
            )
        )
        return f"written down ({len(self.notes)})"

    def _layer_statistics(self, a: asking.LayerStatistic) -> str:
        return looking.over_blocks(self._situation.bench, a.name)

    def _inspect_layers(self, a: asking.InspectLayers) -> str:
        return looking.blocks(self._situation.bench, a.blocks)

    def _try_metric(self, a: asking.TryMetric) -> str:
        return looking.metric_effect(self._situation, self._metric(a.expression))

    def _recall(self, a: asking.Recall) -> str:
        return looking.memories(self._home, a.words)

    def _evaluate(self, a: asking.Evaluate) -> str:
        self._parent(a.candidate)
        candidate = self._situation.history.candidates[a.candidate]
        return answering.look(
            self._situation, self._home / "cache", candidate, a.tasks, samples=a.samples, minutes_allowed=a.minutes
        )

    def _compare(self, a: asking.Compare) -> str:
        return looking.side_by_side(self._situation.history, a.candidates)
