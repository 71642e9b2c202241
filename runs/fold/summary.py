"""The summary of a run: the comparison table, the winner, the way there.

Read from the run's history at any moment; before the end the table is empty and there is no winner.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from runs.budget import Spent
from runs.candidate import Candidate
from runs.events import FinalMeasured, SpeedMeasured, SurveyDone
from runs.fold.designers import Share, shares, stood_in
from runs.fold.history import History
from runs.fold.tasks import TaskTable
from runs.fold.words import number
from runs.goal import Goal
from tools.io.errors import SecateurError
from tools.measure.continuation import Continuation
from tools.measure.tasks.scores import TaskScores
from tools.measure.tasks.words import conclusion
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.prune.reach import Reach
from tools.recipe import Recipe
from tools.recipe.measurement import Protocol

Role = Literal["dense", "reference", "result"]
SAME = "same size and same speed"
_ANCESTORS = 20


@dataclass(frozen=True)
class Row:
    """One line of the comparison on the held-out text."""

    name: str
    role: Role
    perplexity: float
    sparsity: float
    """Measured share of zeros in the prunable weights."""
    of_model: float | None
    """The same as a share of all weights of the model, where the reach was noted."""
    description: str
    """The recipe in a few words; nothing for the dense model."""


@dataclass(frozen=True)
class Trial:
    """A measured candidate and its number over the most tokens it got."""

    candidate: Candidate
    value: float
    tokens: int


@dataclass(frozen=True)
class Summary:
    """What a run did and what came out of it."""

    run: str
    goal: Goal
    state: str
    """`finished`, `not finished`, or `failed: ` and the reason."""
    table: tuple[Row, ...]
    """Dense model, references, winner; everything was measured under `protocol`."""
    recipe: Recipe | None
    """The winner's."""
    protocol: Protocol | None
    tokens: int
    """Predicted tokens behind each perplexity of the table."""
    lineage: tuple[Candidate, ...]
    """The winner, where it is a candidate, and its ancestors, youngest first."""
    trials: tuple[Trial, ...]
    """Divergences, in the order of their first measurement."""
    finalists: tuple[Trial, ...]
    """Perplexities on the selection text, of final forms, best first."""
    references: dict[str, float]
    """Divergence of each reference under the protocol of the most faithful trials."""
    shares: tuple[Share, ...]
    """What each designer of an ensemble contributed; nothing of other designers."""
    stood_in: str
    """How much of the design the builtin operators did in a language model's place; empty where that is nothing."""
    rejected: tuple[tuple[str, str], ...]
    """Candidate and reason."""
    winners: int
    """Candidates that were measured on the held-out text: more than one where a run was extended."""
    sparsities: dict[str, float]
    """Measured share of zeros of every projection of the winner, in forward order."""
    survey: SurveyDone | None
    versions: dict[str, str]
    spent: Spent
    speed: SpeedMeasured | None
    """Of the saved model, where it was measured."""
    answered: tuple[tuple[str, TaskScores], ...]
    """What the lines of the table answered, in its order; nothing where no tasks were asked."""
    judged: dict[str, TaskScores]
    """What finalists answered of the judging part."""
    sides: tuple[tuple[Continuation, Continuation], ...]
    """What the dense model and the result wrote after each of a few prompts."""
    output: str | None
    verified: str | None

    @property
    def winner(self) -> Row | None:
        """The line of the result; None where there is none yet."""
        return next((row for row in self.table if row.role == "result"), None)

    @property
    def dense(self) -> Row | None:
        """The line of the dense model; None where it was not measured."""
        return next((row for row in self.table if row.role == "dense"), None)

    @property
    def best_reference(self) -> Row | None:
        """The line of the reference with the lowest perplexity; None where none was measured."""
        rows = [row for row in self.table if row.role == "reference"]
        return min(rows, key=lambda row: row.perplexity, default=None)

    @property
    def verdict(self) -> str:
        """One or two sentences: did it win, and does what was asked hold."""
        winner, dense, rival = self.winner, self.dense, self.best_reference
        if winner is None:
            what = "The result was not" if self.table else "Nothing was"
            return f"{what} measured on the held-out text: the run is {self.state}."
        own = f"perplexity {number(winner.perplexity)}"
        beside = f" (dense {number(dense.perplexity)})" if dense else ""
        if rival is None:
            first = f"{winner.name}: {own}{beside}."
        elif winner.perplexity < rival.perplexity:
            first = f"{winner.name} beats every reference: {own} against {number(rival.perplexity)} of {rival.name}"
            first += f"{beside}."
        else:
            first = f"{winner.name} does not beat {rival.name}: {own} against {number(rival.perplexity)}{beside}."
        again = [f"The held-out text was read for {self.winners} winners in turn."] if self.winners > 1 else []
        return " ".join([first, *self._limit_held(winner, dense), *again])

    @property
    def on_tasks(self) -> str:
        """What can be said of the winner's answers beside the dense model's; empty where no tasks were asked."""
        winner = self.winner
        if self.tasks is None or winner is None or self.answered[-1][0] != winner.name:
            return ""
        line = self.tasks.lines[-1]
        return "" if line.beside is None else conclusion(line.scores.tasks, line.beside, winner.name, "the dense model")

    @cached_property
    def tasks(self) -> TaskTable | None:
        """The table of tasks beside the dense model, compared once, as a line takes ten thousand draws; None where no
        tasks were asked. The winner is called as in the run's other table."""
        if not self.answered:
            return None
        rows = {row.name: row for row in self.table}
        named = [(f"this run {n}" if rows[n].role == "result" else n, scores) for n, scores in self.answered]
        dense = next((n for n, _ in self.answered if rows[n].role == "dense"), None)
        return TaskTable.of(named, dense, named[-1][0])

    def _limit_held(self, winner: Row, dense: Row | None) -> list[str]:
        most, allowed = self.goal.max_perplexity, self.goal.max_perplexity_rise
        if most is not None:
            held = "stays under" if winner.perplexity < most else "does not stay under"
            return [f"It {held} the {number(most)} that were asked for."]
        if allowed is None or dense is None:
            return []
        rise = winner.perplexity / dense.perplexity - 1
        held = "stays within" if rise <= allowed else "breaks"
        return [f"A rise of {100 * rise:.3g} % {held} the {100 * allowed:.3g} % that were asked for."]

    @property
    def shrinks(self) -> bool:
        """Whether structures fall, so that the saved model is smaller."""
        return not (self.recipe or self.goal).pattern.zeros

    @property
    def reach(self) -> Reach | None:
        """How much of the model the pattern can remove, where that was noted."""
        return None if self.survey is None else self.survey.reach

    @property
    def removed(self) -> float | None:
        """Share of all weights of the model that is zero or gone in the result."""
        return None if self.winner is None else self.winner.of_model

    @property
    def extent(self) -> str:
        """What the sparsity is a share of, as a sentence; empty where that was not noted."""
        if self.reach is None or self.removed is None:
            return ""
        what = "gone" if self.shrinks else "zero"
        return f"The sparsity is of {self.reach}; {100 * self.removed:.2g} % of all weights are {what}."

    @property
    def gain(self) -> str:
        """What the result gains in size and speed, in half a sentence."""
        if self.speed is not None:
            times = f"{self.speed.speedup:.2f} times as fast as the dense model"
            asked = "" if self.goal.speedup is None else f", {self.goal.speedup:.2f} asked"
            return f"{times}{asked} ({self.speed.request}; {self.speed.hardware}, {self.speed.threads} threads)."
        if self.shrinks and not (self.recipe or self.goal).pattern.faster:
            return "smaller; a token goes through as many experts as before, so speed hardly changes."
        if self.shrinks:
            return "smaller and faster: `secateur evaluate FOLDER --latency --against MODEL` says how much."
        same = "smaller on disk, same size and same speed once opened" if self.goal.compress else SAME
        return f"{same}: {pattern_word(self.recipe or self.goal)} zeros alone make nothing faster."

    def as_json(self) -> dict[str, Any]:
        """What `prune --json` prints; a number that is not finite becomes null."""
        winner, dense = self.winner, self.dense
        references = {row.name: _finite(row.perplexity) for row in self.table if row.role == "reference"}
        return {
            "run": self.run,
            "recipe": None if self.recipe is None else self.recipe.model_dump(mode="json"),
            "metric": None if self.recipe is None else self.recipe.metric,
            "pattern": pattern_word(self.goal if self.recipe is None else self.recipe),
            "sparsity": None if winner is None else winner.sparsity,
            "reach": None if self.reach is None else self.reach.share,
            "removed": self.removed,
            "perplexity": {
                "dense": None if dense is None else _finite(dense.perplexity),
                "result": None if winner is None else _finite(winner.perplexity),
                "references": references,
            },
            "tasks": {name: _scores_as_json(scores) for name, scores in self.answered},
            "protocol": None if self.protocol is None else self.protocol.model_dump(mode="json"),
            "speedup": None if self.speed is None else self.speed.speedup,
            "candidates": len(self.trials),
            "designers": {one.designer: asdict(one) for one in self.shares},
            "stood_in": self.stood_in,
            "seconds": round(60 * self.spent.minutes, 3),
            "output": self.output,
        }


def summary(history: History, *, best: str | None = None) -> Summary:
    """Sum up a run.

    Args:
        best: name of the winner where the journal does not tell it yet.

    Raises:
        SecateurError: the journal does not even tell that the run started.
    """
    if history.goal is None:
        raise SecateurError("this run has not started yet: there is nothing to report. `secateur resume` starts it.")
    finals = {name: of for name, of in history.finals.items() if of.measurement.kind == "perplexity"}
    best = best or history.leading
    won = finals.get(best) if best is not None else None
    basis = won or next(iter(finals.values()), None)
    reach = None if history.survey is None else history.survey.reach
    table, trials, saved = _table(finals, best, reach), _trials(history), history.last_saved
    return Summary(
        run=history.run,
        goal=history.goal,
        state=_state(history),
        table=table,
        recipe=None if won is None else won.recipe,
        protocol=None if basis is None else basis.measurement.protocol,
        tokens=0 if basis is None else basis.measurement.tokens,
        lineage=_lineage(history.candidates, best),
        trials=trials,
        finalists=_finalists(history),
        references=_references(history, max((trial.tokens for trial in trials), default=0)),
        shares=tuple(shares(history)),
        stood_in=stood_in(history),
        rejected=tuple(history.rejected.items()),
        winners=sum(_is_candidate(name) for name in finals),
        sparsities={} if won is None else won.sparsities,
        survey=history.survey,
        versions=history.starts[-1].versions,
        spent=history.ledger.settled,
        answered=tuple((row.name, history.answered[row.name]) for row in table if row.name in history.answered),
        judged=dict(history.judged),
        speed=history.last_speed,
        sides=_sides(history, best),
        output=None if saved is None else saved.folder,
        verified=None if saved is None else saved.verified,
    )


def pattern_word(of: Goal | Recipe) -> str:
    """The pattern as `--pattern` takes it."""
    return of.pattern.option


def describe(recipe: Recipe) -> str:
    """Metric, allocation and compensation in a few words, and first the split where there are two sides."""
    allocation = "" if recipe.allocation.uniform else f", {recipe.allocation} allocation"
    compensation = "" if recipe.compensation.kind == "none" else f", {recipe.compensation}"
    metric, pattern = recipe.metric, recipe.pattern
    if isinstance(pattern, ExpertsAndWidth):
        if pattern.share == 1:  # the rest decides nothing
            return pattern.split
        metric = f"{pattern.split}, {metric}"
    return f"{metric}{allocation}{compensation}"


def _scores_as_json(scores: TaskScores) -> dict[str, Any]:
    fields = {"metric", "value", "samples"}
    tasks = {name: of.model_dump(include=fields) | {"stderr": of.stderr} for name, of in scores.tasks.items()}
    return {"tasks": tasks, "mean": scores.mean, "part": scores.protocol.plan.part}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _state(history: History) -> str:
    if history.state == "failed":
        return f"failed: {history.problem}"
    return "finished" if history.state == "finished" else "not finished"


def _table(finals: dict[str, FinalMeasured], best: str | None, reach: Reach | None) -> tuple[Row, ...]:
    # The winner before a run was extended is no reference.
    shown = {name: event for name, event in finals.items() if name == best or not _is_candidate(name)}
    rows = [_row(event, "result" if name == best else "reference", reach) for name, event in shown.items()]
    order = {"dense": 0, "reference": 1, "result": 2}
    return tuple(sorted(rows, key=lambda row: order[row.role]))


def _sides(history: History, best: str | None) -> tuple[tuple[Continuation, Continuation], ...]:
    written = history.continued
    return tuple(zip(written.get("dense", ()), written.get(best or "", ()), strict=False))


def _is_candidate(name: str) -> bool:
    return re.fullmatch(r"c-\d+", name) is not None


def _row(event: FinalMeasured, role: Role, reach: Reach | None) -> Row:
    measured, recipe = event.measurement, event.recipe
    of_model = None if reach is None else reach.of_model(measured.sparsity)
    told = "" if recipe is None else describe(recipe)
    return Row(event.name, "dense" if recipe is None else role, measured.value, measured.sparsity, of_model, told)


def _lineage(candidates: Mapping[str, Candidate], winner: str | None) -> tuple[Candidate, ...]:
    queue = [] if winner is None else [winner]
    line: dict[str, Candidate] = {}
    while queue and len(line) < _ANCESTORS:
        name = queue.pop(0)
        if name in candidates and name not in line:
            line[name] = candidates[name]
            queue.extend(candidates[name].parents)
    return tuple(line.values())


def _trials(history: History) -> tuple[Trial, ...]:
    known = history.candidates
    found = ((name, of[max(of)]) for name, of in history.divergences.items() if name in known)
    return tuple(Trial(known[name], measured.value, measured.tokens) for name, measured in found)


def _finalists(history: History) -> tuple[Trial, ...]:
    known = history.candidates
    found = ((name, measured) for name, measured in history.selections.items() if name in known)
    trials = [Trial(known[name], measured.value, measured.tokens) for name, measured in found]
    return tuple(sorted(trials, key=lambda trial: trial.value))


def _references(history: History, tokens: int) -> dict[str, float]:
    found = ((of.name, of.measurement) for of in history.methods)
    return {name: m.value for name, m in found if m.kind == "divergence" and m.tokens == tokens}
