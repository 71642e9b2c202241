"""Which member of an ensemble is asked: Thompson sampling for Bernoulli bandits (Agrawal and Goyal, COLT 2012,
arXiv 1111.1797, algorithm 1).

    ask argmax_j theta_j,   theta_j ~ Beta(1 + S_j, 1 + F_j)

S_j counts the proposals of member j that improved on the best of all earlier generations, F_j those that did not, among
them those that it was asked for and did not make. Whoever was not asked yet comes first, in the order of the ensemble.
All of it follows from the journal and the seed, so a run that is resumed or replayed asks whom it would have asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from runs.fold.designers import Share, share
from runs.fold.history import History


@dataclass(frozen=True)
class Choice:
    """Who is asked, and why."""

    designer: str
    why: str


def choose(history: History, members: Sequence[str], generation: int, asked: Sequence[str], rng: Random) -> Choice:
    """Who is asked next in a generation.

    Args:
        members: who can be asked.
        asked: who holds a conversation of this generation already, of which nothing is known yet.
        rng: of this conversation alone.
    """
    known = [share(history, name, before=generation) for name in members]
    for one in known:
        if not one.asked and one.designer not in asked:
            return Choice(one.designer, "not asked before")
    drawn = [(rng.betavariate(1 + one.improved, 1 + one.judged - one.improved), one) for one in known]
    theta, best = max(drawn, key=lambda pair: pair[0])
    return Choice(best.designer, f"{_record(best)}: drew {theta:.2f}{_beside(drawn, best)}")


def _record(one: Share) -> str:
    return f"{one.improved} of {one.judged} improved on the best"


def _beside(drawn: Sequence[tuple[float, Share]], best: Share) -> str:
    others = [f"{one.designer} {theta:.2f} ({one.improved} of {one.judged})" for theta, one in drawn if one is not best]
    return f", {', '.join(others)}" if others else ""
