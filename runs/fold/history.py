"""What a run has come to so far: the one fold over its journal, which everything that shows or decides reads.

Decisions read nothing else (no clock, no memory of the process), so a resumed run decides as an uninterrupted one.
It takes events one by one, at whatever moment; nobody else asks an event for its kind, but who writes it out as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from runs.budget import Budget, Ledger
from runs.candidate import Candidate
from runs.events import (
    Answered,
    Asked,
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Chosen,
    Continued,
    Event,
    Extended,
    FinalMeasured,
    Heeded,
    Likened,
    Note,
    Progress,
    Recalled,
    ReferenceMeasured,
    Replied,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    Said,
    Saved,
    Selected,
    SpeedMeasured,
    Stage,
    SurveyDone,
    TasksAnswered,
    Thought,
    Timed,
    ToolUsed,
    Unreadable,
)
from runs.fold.stages import Stages
from runs.fold.words import shown
from runs.goal import Goal
from tools.measure.continuation import Continuation
from tools.measure.tasks.scores import TaskScores
from tools.recipe.measurement import Measurement

NEAR = 1.5
"""How many times the best KL of all that of a niche's best may be: what is further off does not make up for it. On
SmolLM2-135M width alone had 1.04 times at 30 % and came to perplexity 110 against 86 in the final form, 5 times at 20 %
and came to 92 against 70."""


@dataclass
class History:
    """Candidates, what was measured of them, which steps are done and what they cost."""

    at: datetime | None = None
    """When the last event was."""
    run: str = ""
    goal: Goal | None = None
    starts: list[RunStarted] = field(default_factory=list)
    """Every engine that took the run up."""
    state: str = "new"
    """`new`, `working`, `finished`, `failed` or `interrupted`; a killed engine says nothing."""
    problem: str = ""
    """Why a run that failed cannot go on."""
    winner: str | None = None
    """Of a run that came to its end."""
    leading: str | None = None
    """The winner, or who led when a generation last ended."""
    extended: bool = False
    """Whether the person asked for more since a generation last ended."""
    ledger: Ledger = field(default_factory=Ledger)
    stages: Stages = field(default_factory=Stages)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    divergences: dict[str, dict[int, Measurement]] = field(default_factory=dict)
    """Candidate -> tokens read -> measurement on the search text."""
    best: str | None = None
    """The candidate that leads the search: lowest divergence among those measured on the most tokens."""
    measured_at: dict[str, datetime] = field(default_factory=dict)
    """Candidate -> when that over the most tokens was measured."""
    lowest: dict[int, list[float]] = field(default_factory=dict)
    """Tokens read -> lowest divergence after each measurement over as many, which alone are compared."""
    rates: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Candidate -> sparsity of every block."""
    selections: dict[str, Measurement] = field(default_factory=dict)
    """Finalist -> perplexity on the selection text, in final form."""
    references: dict[tuple[str, int], Measurement] = field(default_factory=dict)
    """Name and tokens -> measurement on the search text."""
    methods: list[ReferenceMeasured] = field(default_factory=list)
    """All measurements of references that have a recipe: of all but the dense model."""
    rejected: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    """Those that were rejected because measuring them failed; they cost a measurement."""
    finals: dict[str, FinalMeasured] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    """All that were taken, in their order."""
    answered: dict[str, TaskScores] = field(default_factory=dict)
    """Line of the final table -> what it answered."""
    judged: dict[str, TaskScores] = field(default_factory=dict)
    """Finalist -> what it answered of the judging part."""
    selected: dict[int, Selected] = field(default_factory=dict)

    thoughts: dict[str, Thought] = field(default_factory=dict)
    likened: dict[str, dict[str, float]] = field(default_factory=dict)
    """Candidate -> earlier candidate -> rank correlation of their metrics."""
    dialogue: list[Asked | Answered] = field(default_factory=list)
    """All that the designer's LLM was asked and said, in order."""
    answers: dict[str, Answered] = field(default_factory=dict)
    """What it said, by its call."""
    models: dict[str, str] = field(default_factory=dict)
    """Call of an LLM -> who was asked."""
    chosen: dict[str, Chosen] = field(default_factory=dict)
    """Conversation of a design step -> which of several designers holds it."""
    used: set[tuple[int, str, str]] = field(default_factory=set)
    """Generation, name and arguments of every use of a tool."""
    said: list[str] = field(default_factory=list)
    """What the person said while it worked."""
    orders: dict[int, str] = field(default_factory=dict)
    """Place among all that was said -> what the engine has to heed: said while it worked, answered by nobody else."""
    heeded: int = 0
    """How many of the lines were read, by the engine or by who answers in conversation."""
    extended_at: int = 0
    """How much was said when the person asked for more last."""
    heard: dict[str, int] = field(default_factory=dict)
    """Candidate, or call of an LLM -> how much was said when it was proposed or answered."""
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    """What is told of lines that cannot be read."""

    survey: SurveyDone | None = None
    timed: Timed | None = None
    recalled: Recalled | None = None
    saved: Saved | None = None
    """None again where more was asked for since."""
    speed: SpeedMeasured | None = None
    """Of the saved model, likewise."""
    last_saved: Saved | None = None
    """What is on disk, be it from before more was asked for."""
    last_speed: SpeedMeasured | None = None
    continued: dict[str, tuple[Continuation, ...]] = field(default_factory=dict)
    """Result, or `dense` -> what it wrote."""
    _engines: dict[str, RunStarted] = field(default_factory=dict)
    _asked: dict[str, int] = field(default_factory=dict)
    """Calls under way -> how much was said when they were put."""

    @classmethod
    def of(cls, events: Iterable[Event], allowed: Budget | None = None) -> Self:
        """Of a whole journal. Whoever wrote it may be long dead: its clock goes on with the next event.

        Args:
            allowed: the budget of goal.json, which a person may have changed since the run was taken up last.
        """
        found = cls()
        for event in events:
            found.observe(event)
        found.ledger.stand_still()
        if allowed is not None:
            found.ledger.asked = allowed
        return found

    def observe(self, event: Event) -> None:
        """Take one event."""
        self.at = event.at
        match event:
            case Said(text=text):  # somebody talks, whether or not the engine works: that takes none of its time
                if self.state in ("new", "working"):
                    self.orders[len(self.said)] = text
                self.said.append(text)
            case Replied():
                self.orders.pop(len(self.said) - 1, None)
                if max(self.orders, default=-1) < self.heeded:  # else what was said before it is still to be read
                    self.heeded = len(self.said)
            case Extended(candidates=candidates, minutes=minutes):
                self.ledger.extend(candidates, minutes)
                self.saved = self.speed = None
                self.extended, self.extended_at = True, len(self.said)
                self.state = "interrupted"
            case RunStarted():
                self._take_up(event)
            case _:
                self.ledger.work_until(event.at)
                self._take_end(event)

    def _take_up(self, event: RunStarted) -> None:
        self.run, self.goal = event.run, event.goal
        self.starts.append(event)
        self.state, self.winner, self._asked = "working", None, {}
        self.ledger.asked = event.goal.budget
        self.stages.take_up(self.ledger.worked_last or event.at, len(self.ledger.charged))
        self.ledger.begin(event.at)

    def _take_end(self, event: Event) -> None:
        match event:
            case RunFinished(best=best):
                self.state, self.winner, self.leading = "finished", best, best or self.leading
            case RunFailed(reason=reason):
                self.state, self.problem = "failed", reason
            case RunInterrupted():
                self.state = "interrupted"
            case _:
                self._take_work(event)
                return
        self.stages.end(event.at)
        self.ledger.stand_still()

    def _take_work(self, event: Event) -> None:
        """Stages come and go; what becomes of the model is known."""
        match event:
            case Stage(name=name, detail=detail, total=total):
                self._asked = {}
                self.stages.begin(event.at, name, detail, total)
            case Progress(stage=stage, done=done, total=total):
                self.stages.progress(stage, done, total)
            case SurveyDone():
                self.survey = event
                size = f"{event.parameters / 1e6:,.1f} M parameters"
                self.stages.found(f"{size}, {event.blocks} blocks, {event.dtype}")
            case Timed():
                self.timed = event
            case Recalled(entries=entries):
                self.recalled = event
                self.stages.found(f"{len(entries) or 'no'} past candidates of similar models")
            case _:
                self._take_talk(event)

    def _take_talk(self, event: Event) -> None:
        """The designer thinks, its LLM is asked, readers are told."""
        match event:
            case Thought(id=name):
                self.thoughts[name or f"t-{len(self.thoughts) + 1}"] = event
            case Asked(call=call, model=model):
                self._asked[call], self.models[call] = len(self.said), model
                self.dialogue.append(event)
            case Answered(call=call):
                self.dialogue.append(event)
                self.answers[call] = event
                self.heard[call] = self._asked.pop(call, len(self.said))
                self.ledger.tokens += event.tokens_in + event.tokens_out
                self.ledger.money += event.money
            case Chosen(topic=topic):
                self.chosen[topic] = event
            case ToolUsed(name=name, arguments=arguments, generation=generation):
                self.used.add((generation, name, arguments))
            case Note(text=text):
                self.notes.append(text)
                self.damage += [text] if isinstance(event, Unreadable) else []
                if isinstance(event, Heeded):
                    self.heeded += event.words
                    self.ledger.limit(event.candidates, event.minutes)
            case _:
                self._take_candidate(event)

    def _take_candidate(self, event: Event) -> None:
        """Candidates come, are measured, fall, live on."""
        match event:
            case CandidateProposed(candidate=candidate):
                self.candidates[candidate.id] = candidate
                self.heard.setdefault(candidate.id, len(self.said))
            case CandidateMeasured(candidate_id=name, measurement=measured):
                self.measurements.append(measured)
                if measured.kind == "divergence":
                    self._take_divergence(event)
                else:
                    self.selections[name] = measured
            case CandidateRejected(candidate_id=name, reason=reason, stage=stage):
                self.rejected[name] = reason
                if stage == "measure":
                    self.failed.add(name)
                    self.ledger.charged.add(name)
            case Likened(candidate_id=name, correlations=correlations):
                self.likened[name] = dict(correlations)
            case Selected(generation=generation, best=best):
                self.selected[generation] = event
                self.extended, self.leading = False, best or self.leading
            case _:
                self._take_result(event)

    def _take_divergence(self, event: CandidateMeasured) -> None:
        name, measured = event.candidate_id, event.measurement
        known = self.divergences.setdefault(name, {})
        known[measured.tokens] = measured
        if measured.tokens == max(known):
            self.measured_at[name] = event.at
        curve = self.lowest.setdefault(measured.tokens, [])
        curve.append(min([measured.value, *curve[-1:]]))
        self.best = min(self.best or name, name, key=self._rank)
        self.rates[name] = event.rates
        self.ledger.charged.add(name)

    def _take_result(self, event: Event) -> None:
        """References and results are measured, answer tasks, are saved. Pieces of speech an answer holds again."""
        match event:
            case ReferenceMeasured(name=name, measurement=measured):
                self.measurements.append(measured)
                self.references[name, measured.tokens] = measured
                self.methods += [] if event.recipe is None else [event]
                self.stages.found(f"{name} {shown(measured)}")
            case FinalMeasured(name=name, measurement=measured):
                self.measurements.append(measured)
                self.finals[name] = event
                if self.starts:
                    self._engines[name] = self.starts[-1]
                self.stages.found_on_test(name, measured)
            case TasksAnswered(name=name, scores=scores):
                (self.judged if scores.protocol.plan.part == "judge" else self.answered)[name] = scores
                if scores.mean is not None:
                    self.stages.found(f"{name} {100 * scores.mean:.1f} % of tasks")
            case Saved():
                self.saved = self.last_saved = event
            case SpeedMeasured():
                self.speed = self.last_speed = event
            case Continued(name=name, continuations=continuations):
                self.continued[name] = continuations

    def words(self, upto: int | None = None, since: int = 0) -> list[str]:
        """What the engine has to heed of the first `upto` lines, `since` so many of them."""
        return [
            text for place, text in self.orders.items() if since <= place < (len(self.said) if upto is None else upto)
        ]

    def heard_by(self, generation: int) -> int | None:
        """How much the person had said when a generation was proposed; None where it is not yet."""
        return next((self.heard[c.id] for c in self.generation(generation)), None)

    def died(self) -> None:
        """The engine is gone and had no time to say so."""
        self.state = "interrupted"
        self.ledger.stand_still()

    @property
    def asking(self) -> bool:
        """Whether an LLM is thinking now."""
        return bool(self._asked) and self.state == "working"

    @property
    def incomplete(self) -> bool:
        """Whether lines of the journal are lost: some cannot be read, or a number of a candidate is left out."""
        numbers = [int(name.removeprefix("c-")) for name in self.candidates]
        return bool(self.damage) or max(numbers, default=0) > len(numbers)

    @property
    def curve(self) -> list[float]:
        """Lowest divergence after each measurement over the most tokens; it ends with that of the best."""
        return self.lowest[max(self.lowest)] if self.lowest else []

    def engine_of(self, final: str) -> RunStarted:
        """The engine that measured a final number, as a later one may compute otherwise; a journal may have lost it."""
        return self._engines.get(final, self.starts[0])

    def generation(self, number: int) -> list[Candidate]:
        """The candidates of one generation, in order."""
        return [c for c in self.candidates.values() if c.generation == number]

    def thoughts_before(self, generation: int) -> list[Thought]:
        """What was thought for earlier generations, in order."""
        return [t for t in self.thoughts.values() if t.generation is not None and t.generation < generation]

    def before(self, generation: int) -> list[Candidate]:
        """The candidates of all earlier generations, in order."""
        return [c for c in self.candidates.values() if c.generation < generation]

    def alive_before(self, generation: int) -> list[Candidate]:
        """Those of them that were not rejected."""
        return [c for c in self.before(generation) if c.id not in self.rejected]

    def fitness(self, name: str) -> tuple[int, float]:
        """Sorts candidates, best first: more tokens before fewer, then the lower divergence."""
        measured = self.divergences.get(name)
        if not measured:
            return 0, math.inf
        tokens = max(measured)
        return -tokens, measured[tokens].value

    def near(self, one: Candidate, best: Candidate) -> bool:
        """Whether a divergence is within `NEAR` times another's, on the longest text that both were measured on."""
        mine, others = self.divergences[one.id], self.divergences[best.id]
        both = mine.keys() & others.keys()
        return bool(both) and mine[max(both)].value <= NEAR * others[max(both)].value

    def ranked(self, upto: int | None = None) -> list[Candidate]:
        """Measured candidates (of generations up to `upto`), best first; ties go to the older one."""
        known = [c for c in self.candidates.values() if c.id in self.divergences]
        chosen = [c for c in known if upto is None or c.generation <= upto]
        return sorted(chosen, key=lambda c: self._rank(c.id))

    def _rank(self, name: str) -> tuple[int, float, int]:
        return *self.fitness(name), int(name[2:])
