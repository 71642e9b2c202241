"""What a run has come to so far: a fold over its journal, on which every decision is made.

Decisions read nothing else (no clock, no memory of the process), so a resumed run decides as an uninterrupted one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from runs.candidate import Candidate
from runs.events import (
    Answered,
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Continued,
    Event,
    Extended,
    FinalMeasured,
    Likened,
    Recalled,
    ReferenceMeasured,
    Said,
    Saved,
    Selected,
    SpeedMeasured,
    SurveyDone,
    TasksAnswered,
    Thought,
    Timed,
    ToolUsed,
)
from tools.measure.tasks.scores import TaskScores
from tools.recipe.measurement import Measurement

NEAR = 1.5
"""How many times the best KL of all that of a niche's best may be: what is further off does not make up for it. On
SmolLM2-135M width alone had 1.04 times at 30 % and came to perplexity 110 against 86 in the final form, 5 times at 20 %
and came to 92 against 70."""

_LATEST: dict[type[Event], str] = {
    SurveyDone: "survey",
    Timed: "timed",
    Recalled: "recalled",
    Saved: "saved",
    SpeedMeasured: "speed",
}


@dataclass
class History:
    """Candidates, what was measured of them, and which steps are done."""

    candidates: dict[str, Candidate] = field(default_factory=dict)
    divergences: dict[str, dict[int, Measurement]] = field(default_factory=dict)
    """Candidate -> tokens read -> measurement on the search text."""
    rates: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Candidate -> sparsity of every block."""
    selections: dict[str, Measurement] = field(default_factory=dict)
    """Finalist -> perplexity on the selection text, in final form."""
    references: dict[tuple[str, int], Measurement] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    """Those that were rejected because measuring them failed; they cost a measurement."""
    finals: dict[str, FinalMeasured] = field(default_factory=dict)
    answered: dict[str, TaskScores] = field(default_factory=dict)
    """Line of the final table -> what it answered."""
    judged: dict[str, TaskScores] = field(default_factory=dict)
    """Finalist -> what it answered of the judging part."""
    selected: dict[int, Selected] = field(default_factory=dict)
    thoughts: dict[str, Thought] = field(default_factory=dict)
    answers: dict[str, Answered] = field(default_factory=dict)
    """What the designer's LLM said, by its call."""
    used: set[tuple[int, str, str]] = field(default_factory=set)
    """Generation, name and arguments of every use of a tool."""
    likened: set[str] = field(default_factory=set)
    """Candidates whose likeness to the others is noted."""
    said: list[str] = field(default_factory=list)
    """What the person said while it worked."""
    survey: SurveyDone | None = None
    timed: Timed | None = None
    recalled: Recalled | None = None
    saved: Saved | None = None
    speed: SpeedMeasured | None = None
    continued: set[str] = field(default_factory=set)
    """The results whose continuations are there, and `dense`."""

    def observe(self, event: Event) -> None:
        """Take one event."""
        match event:
            case FinalMeasured(name=name):
                self.finals[name] = event
            case TasksAnswered(name=name, scores=scores):
                (self.judged if scores.protocol.plan.part == "judge" else self.answered)[name] = scores
            case Selected(generation=generation):
                self.selected[generation] = event
            case Thought(id=name):
                self.thoughts[name or f"t-{len(self.thoughts) + 1}"] = event
            case Answered(call=call):
                self.answers[call] = event
            case ToolUsed(name=name, arguments=arguments, generation=generation):
                self.used.add((generation, name, arguments))
            case Likened(candidate_id=name):
                self.likened.add(name)
            case Said(text=text):
                self.said.append(text)
            case SurveyDone() | Timed() | Recalled() | Saved() | SpeedMeasured():
                setattr(self, _LATEST[type(event)], event)
            case Continued(name=name):
                self.continued.add(name)
            case Extended():
                self.saved = self.speed = None
            case _:
                self._observe_candidate(event)

    def _observe_candidate(self, event: Event) -> None:
        match event:
            case CandidateProposed(candidate=candidate):
                self.candidates[candidate.id] = candidate
            case CandidateMeasured(candidate_id=name, measurement=m, rates=rates) if m.kind == "divergence":
                self.divergences.setdefault(name, {})[m.tokens] = m
                self.rates[name] = rates
            case CandidateMeasured(candidate_id=name, measurement=m):
                self.selections[name] = m
            case ReferenceMeasured(name=name, measurement=m):
                self.references[name, m.tokens] = m
            case CandidateRejected(candidate_id=name, reason=reason, stage=stage):
                self.rejected[name] = reason
                if stage == "measure":
                    self.failed.add(name)
            case _:
                pass

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
        return sorted(chosen, key=lambda c: (*self.fitness(c.id), int(c.id[2:])))
