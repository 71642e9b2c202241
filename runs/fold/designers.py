"""What each designer of an ensemble contributed to a run, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from runs.candidate import Candidate
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
    """Proposals of which it is known whether they improved; a conversation without any counts as one that did not."""
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
    return [share(history, name) for name in dict.fromkeys([*own, *history.chosen.values(), *proposed])]


def share(history: History, designer: str, before: int | None = None) -> Share:
    """What one designer made, of all generations or of those before one."""
    past = max(history.selected, default=-1) + 2 if before is None else before
    topics = [topic for topic, name in history.chosen.items() if name == designer and _generation(topic) < past]
    made = [c for c in history.before(past) if c.generation and c.designer == designer]
    known = [better for c in made if (better := improved(history, c)) is not None]
    barren = sum(_barren(history, topic, designer) for topic in topics)
    answers = [answer for call, answer in history.answers.items() if history.models.get(call) == designer]
    return Share(
        designer,
        asked=len(topics),
        made=len(made),
        judged=len(known) + barren,
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


def _barren(history: History, topic: str, designer: str) -> bool:
    """Whether a conversation is over and brought no candidate."""
    generation = _generation(topic)
    own = [c for c in history.generation(generation) if c.designer == designer]
    return generation in history.selected and not own


def _generation(topic: str) -> int:
    return int(topic.partition("/")[0])
