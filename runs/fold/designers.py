"""What each designer of an ensemble contributed to a run, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runs.candidate import Candidate
from runs.designers import NEVER_ASKED, nothing_usable
from runs.events import Chosen
from runs.fold.history import History


@dataclass(frozen=True)
class Share:
    """What one designer made, as far as it is measured."""

    designer: str
    asked: int
    """Conversations of design steps that it held."""
    made: int
    """Candidates that it proposed."""
    judged: int
    """Candidates of which it is known whether they improved; what it was asked for and did not propose did not."""
    improved: int
    """Those that improved on the best of all earlier generations."""
    tokens: int
    money: float
    """US dollars."""

    def __str__(self) -> str:
        cost = f", {self.tokens:,} tokens" if self.tokens else ""
        cost += f", ${self.money:.4f}" if self.money else ""
        return f"{self.designer}: {self.made} proposed, {self.improved} improved on the best so far{cost}"


def shares(history: History) -> list[Share]:
    """Those of an ensemble, in the order in which it names them, then of whoever stood in; none without an ensemble."""
    if not history.chosen:
        return []
    own = () if history.goal is None else tuple(n for n in history.goal.designers if not n.startswith("replay:"))
    proposed = [c.designer for c in history.candidates.values() if c.generation and c.designer]
    asked = [one.designer for one in history.chosen.values()]
    return [share(history, name) for name in dict.fromkeys([*own, *asked, *proposed])]


def stood_in(history: History) -> str:
    """How much of a run that a language model was to design the builtin operators did; empty where that is nothing."""
    goal, bred = history.goal, [number for number in history.selected if number]
    if goal is None:
        return ""
    silent = [number for number in bred if nothing_usable(goal.designer, number) in history.notes]
    told = f"{goal.designer} proposed nothing usable in {len(silent)} of {len(bred)} generations after the seeds"
    never = next((note for note in history.notes if note.startswith(NEVER_ASKED)), "")
    return f"{told}: builtin operators did" if silent else never


def share(history: History, designer: str, before: int | None = None) -> Share:
    """What one designer made, of all generations or of those before one."""
    past = max(history.selected, default=-1) + 2 if before is None else before
    held = [one for topic, one in history.chosen.items() if one.designer == designer and _generation(topic) < past]
    made = [c for c in history.before(past) if c.generation and c.designer == designer]
    known = [better for c in made if (better := improved(history, c)) is not None]
    answers = [answer for call, answer in history.answers.items() if history.models.get(call) == designer]
    return Share(
        designer,
        asked=len(held),
        made=len(made),
        judged=len(known) + _missing(history, held, made),
        improved=sum(known),
        tokens=sum(answer.tokens_in + answer.tokens_out for answer in answers),
        money=sum(answer.money for answer in answers),
    )


def improved(history: History, candidate: Candidate) -> bool | None:
    """Whether a candidate has a lower divergence than every one of its league in earlier generations, over the fewest
    tokens, which all are measured on; None where that is not known: it waits, or nothing before it is comparable."""
    name = candidate.id
    if name in history.rejected:
        return False
    if name not in history.divergences:
        return None
    tokens = min(history.divergences[name])
    mine = history.divergences[name][tokens].value
    earlier = [
        history.divergences[other.id][tokens].value
        for other in history.before(candidate.generation)
        if tokens in history.divergences.get(other.id, {}) and other.recipe.league == candidate.recipe.league
    ]
    return mine < min(earlier) if earlier else None


def _missing(history: History, held: Sequence[Chosen], made: Sequence[Candidate]) -> int:
    """How many candidates conversations of generations that are over were asked for and did not bring."""
    wanted = sum(one.wanted for one in held if _generation(one.topic) in history.selected)
    return max(0, wanted - sum(c.generation in history.selected for c in made))


def _generation(topic: str) -> int:
    return int(topic.partition("/")[0])
