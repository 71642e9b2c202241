"""The designer that is a language model, or an ensemble of them: it says why edits helped or hurt, then designs, each
by calling tools.

What it proposes goes through the same screening and measuring as any other candidate. Where it stays unusable, the
builtin operators take over, visibly, so that a run always ends. A design step can be split into several conversations,
which know nothing of each other: they are held at once where a server answers, and what repeats falls in the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from agent.breeding.genes import Child
from agent.designer_tools.toolbox import DESIGN, REASON
from agent.designers import Reason
from agent.designers.bandit import choose
from agent.designers.builtin import Builtin
from agent.designers.talk import Talk, say
from agent.llm.connection import Connection
from agent.llm.turns import Turns
from agent.prompts.prompt import Style
from agent.prompts.templates import draw_template
from agent.recorder import Recorder
from agent.situation import Situation
from agent.steering.obedience import obedience
from runs.designers import nothing_usable
from runs.events import Chosen

REASON_CALLS = 8
"""Calls of the model in one reason step, tools included."""
DESIGN_CALLS = 4
"""Calls in one design step, for every wanted candidate."""
SILENT_GENERATIONS = 2
"""Generations in a row without one accepted proposal after which the model is not asked any more."""


class LanguageModel:
    """A designer behind one chat model, or behind several of which a bandit asks one for each conversation."""

    def __init__(
        self, name: str, members: Sequence[Connection], record: Recorder, style: Style, home: Path, turns: Turns
    ) -> None:
        self.name = name
        self._members = {member.name: member for member in members}
        self._record, self._style, self._home, self._turns = record, style, home, turns
        self._builtin = Builtin()

    def reason(self, situation: Situation) -> list[Reason]:
        """The facts, and what the model makes of them that is going to design."""
        facts = self._builtin.reason(situation)
        if self._given_up(situation) or not self._style.reasons or situation.generation == 0:
            return facts
        talk = self._talk(self._choice(situation, ())[0], situation, "reason", 1)
        self._hold([talk])
        return [*facts, *talk.step.thoughts]

    def seeds(self, situation: Situation) -> list[Child]:
        """The published methods; a model has nothing to go on yet."""
        return self._builtin.seeds(situation)

    def propose(self, situation: Situation, fresh: Callable[[Child], bool], count: int) -> list[Child]:
        """What the models propose; where that is nothing, what the builtin operators do."""
        if self._given_up(situation):
            return self._builtin.propose(situation, fresh, count)
        if found := self._proposed(situation, count):
            return found
        say(self._record, nothing_usable(self.name, situation.generation))
        history, goal = situation.history, self._record.run.goal
        now = obedience(situation.bench, goal, history, history.heard_by(situation.generation))
        return self._builtin.propose(replace(situation, obedience=now), fresh, count)

    def _proposed(self, situation: Situation, count: int) -> list[Child]:
        """The drafts of this step's conversations, in the order of these; where there are none, of the members that
        were not asked yet, one after the other."""
        talks: list[Talk] = []
        for part, wanted in enumerate(divided(count, situation.goal.parallel), 1):
            here = situation.conversation(part)
            talks.append(self._talk(self._chosen(here, talks, wanted), here, "design", wanted))
        self._hold(talks)
        while not (found := [child for talk in talks for child in self._signed(talk)]):
            rest = self._members.keys() - {talk.connection.name for talk in talks}
            if not rest or any(talk.spent for talk in talks):
                return []
            here = situation.conversation(len(talks) + 1)
            name = self._chosen(here, talks, count, [member for member in self._members if member in rest])
            talks.append(self._talk(name, here, "design", count))
            self._hold(talks[-1:])
        return found

    def _chosen(self, situation: Situation, talks: Sequence[Talk], wanted: int, among: Sequence[str] = ()) -> str:
        """The member that holds a conversation beside others of this step; the journal keeps whom the bandit chose."""
        name, why = self._choice(situation, [talk.connection.name for talk in talks], among)
        topic = situation.topic("design")
        if len(self._members) > 1 and topic not in situation.history.chosen:
            self._record(Chosen(topic=topic, designer=name, wanted=wanted, why=why))
        return name

    def _choice(self, situation: Situation, asked: Sequence[str], among: Sequence[str] = ()) -> tuple[str, str]:
        members, topic = list(among or self._members), situation.topic("design")
        known = situation.history.chosen.get(topic)
        if known is not None and known.designer in self._members:
            return known.designer, ""
        if len(members) == 1:
            return members[0], "the only one that is left"
        rng = Random(f"{situation.goal.seed}/{topic}/who")
        choice = choose(situation.history, members, situation.generation, asked, rng)
        return choice.designer, choice.why

    def _talk(self, member: str, situation: Situation, kind: str, wanted: int) -> Talk:
        reasons = kind == "reason"
        return Talk.about(
            situation,
            self._home,
            wanted,
            connection=self._members[member],
            record=self._record,
            style=self._style,
            kind=kind,
            tools=REASON if reasons else DESIGN,
            most_calls=REASON_CALLS if reasons else DESIGN_CALLS * wanted,
        )

    def _hold(self, talks: Sequence[Talk]) -> None:
        """Hold conversations: those with servers at once, those with models in this process one after the other."""
        self._record.stage("search", ", ".join(f"{t.connection.name} is being asked ({t.topic})" for t in talks))
        apart = [talk for talk in talks if talk.connection.hosted]
        here = [talk for talk in talks if not talk.connection.hosted]

        def in_turn() -> None:
            for talk in here:
                talk.hold()

        work = [*(talk.hold for talk in apart), *([in_turn] if here else [])]
        if len(work) == 1:
            work[0]()
        else:
            self._turns.all(work)
        self._record.stage("search", ", ".join(f"{t.connection.name} was asked ({t.topic})" for t in talks))

    def _signed(self, talk: Talk) -> list[Child]:
        """With their designer, the template they answer, and the thoughts of this generation that led to them."""
        situation = talk.step.situation
        thoughts = situation.history.thoughts.values()
        own = tuple(t.id for t in thoughts if t.generation == situation.generation and t.kind == "hypothesis")
        template = str(draw_template(situation)) if self._style is Style.CHAIN else ""
        name = talk.connection.name
        return [replace(draft, designer=name, template=template, thoughts=own) for draft in talk.step.drafts]

    def _given_up(self, situation: Situation) -> bool:
        """Whether the last generations were all left to the builtin operators."""
        history, last = situation.history, situation.generation - 1
        recent = [history.generation(g) for g in range(last, last - SILENT_GENERATIONS, -1) if g >= 1]
        silent = not any(c.designer in self._members for g in recent for c in g)
        return len(recent) == SILENT_GENERATIONS and silent


def divided(count: int, parts: int) -> list[int]:
    """So many candidates dealt to at most so many conversations: 6 to 4 are 2, 2, 1 and 1."""
    parts = max(1, min(count, parts))
    return [count // parts + (part < count % parts) for part in range(parts)]
