"""Runs: begun, continued, steered, ended."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field

from agent.session.engines import pause
from agent.session.goal import build
from agent.session.options import Wish
from agent.session.settings import Values, load
from agent.session.start import start
from agent.session.talk.known import advice
from agent.session.talk.known.estimate import estimate, from_here, planned
from agent.session.talk.known.past import newest, none_fits
from agent.session.talk.session import Session
from agent.session.talk.tools.model import block_sizes
from agent.session.talk.tools.subjects import subject
from agent.session.talk.tools.tool import Group, SessionTool
from agent.steering.reply import NOT_OBEYED, foreseen
from runs.budget import BudgetSpent
from runs.events import Extended
from runs.fold.history import History
from runs.goal import Goal
from runs.run import Run, Status
from tools.io.errors import SecateurError, UsageError
from tools.model.checkpoint import ahead
from tools.prune.reach import check_here

MINUTES = 10.0
"""For which a search goes on where nobody says how long."""
DECIDED = ("finalists", "test", "save")
"""Stages in which nothing is searched any more."""
OWN = ("candidates", "minutes", "designer", "seed", "device", "calibration")
"""Of what is said of a prune, what settings are."""


class Prune(SessionTool):
    """Start pruning a model: a search for the best recipe, or a named method. Leave out what was not said."""

    group: ClassVar[Group] = "run"
    alone: ClassVar[bool] = True

    model: str = Field(
        default="",
        max_length=300,
        description="Hub id, folder, GGUF file or sample, as said; `result`: this run's result, further.",
    )
    sparsity: float | None = Field(default=None, gt=0, lt=1, description="Share to remove: 50 % is 0.5.")
    pattern: str | None = Field(
        default=None,
        max_length=40,
        description="unstructured, N:M as 2:4; for a smaller model width, depth, width+depth; experts, experts+width.",
    )
    speedup: float | None = Field(default=None, gt=1, description="How many times faster it shall be: 1.4.")
    method: str | None = Field(default=None, max_length=40, description="A named method, not a search: wanda.")
    max_perplexity: float | None = Field(default=None, gt=1, description="Perplexity to stay under.")
    max_rise: float | None = Field(default=None, gt=0, description="Largest rise of perplexity: 0.1 is 10 %.")
    candidates: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    designer: str | None = Field(
        default=None, max_length=200, description="builtin, openai:NAME, local:PATH, self; openai:A,openai:B."
    )
    seed: int | None = None
    device: str | None = Field(default=None, description="cpu or cuda.")
    calibration: str | None = Field(default=None, description="c4, wikitext2 or a file.")
    rules: tuple[str, ...] = Field(default=(), description="no OBS, spare block 0.")
    left_out: tuple[str, ...] = Field(default=(), description="Asked for, not done, and why.")

    def plan(self, session: Session) -> str:
        """What is searched, how far it reaches and how long it takes; a model that is not there is refused here."""
        goal = self._goal(session)
        first = ahead(goal.model, session.settings.cache)
        check_here(goal.model, session.settings.cache, goal.pattern, goal.sparsity)
        told = [planned(goal, session.settings), self._beside(), *self._kept(goal, session)]
        told += [from_here(session, goal), first]
        return "\n".join([*filter(None, told), *(f"Left out: {what}." for what in self.left_out)])

    def work(self, session: Session) -> str:
        """Begin it, and tell it first what it must keep to."""
        run = start(session.settings, self._goal(session))
        for rule in self.rules:
            run.say(rule)
        return session.worked(run)

    def _beside(self) -> str:
        """What was chosen that the plan's first line does not tell."""
        said = {"calibrated on": self.calibration, "seed": self.seed, "on": self.device}
        told = ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)
        return f"As you say: {told}." if told else ""

    def _kept(self, goal: Goal, session: Session) -> list[str]:
        """What the rules change, a line each.

        Raises:
            UsageError: one cannot be obeyed, which is no run that was asked for.
        """
        sizes = block_sizes(goal.model, session.settings.cache) if self.rules else ()
        told = [(rule, foreseen(rule, goal, History(), sizes)) for rule in self.rules]
        for rule, answer in told:
            if NOT_OBEYED in answer.lower():
                raise UsageError(f'"{rule}" cannot be kept, so that is not planned. {answer}')
        return [f"{answer[:-1]}." for _, answer in told]

    def _goal(self, session: Session) -> Goal:
        """The goal of what was said; what the command line said holds where nothing else was.

        Raises:
            UsageError: which model, or how much, was not said; or it cannot be meant.
        """
        model = subject(session, self.model) if self.model else session.home_model
        if not model:
            session.unfinished = ("prune", self.model_dump(exclude_defaults=True))
            raise UsageError("Which model? A folder, a GGUF file, a hub id, or the sample smollm2-135m.")
        if not (self.sparsity or self.speedup or re.fullmatch(r"\d+:\d+", self.pattern or "")):
            session.unfinished = ("prune", self.model_dump(exclude_defaults=True))
            raise UsageError("How much of it shall go? For example 50 %, the pattern 2:4, or 1.4 times faster.")
        settings = session.settings
        given = {name: settings.given(name) for name in Values.model_fields}
        said = {name: getattr(self, name) for name in OWN}
        said["designer"] = self.designer or session.designer or None
        given |= {name: value for name, value in said.items() if value is not None}
        wish = Wish(**self.model_dump(exclude={"model", "rules", "left_out", "short", *OWN}))
        return build(load(settings.home, given), model, wish)


class Foresee(Prune):
    """What pruning a model would take, time, memory and money, and how far it reaches, without starting it."""

    alone: ClassVar[bool] = False

    short: bool = Field(default=False, description="True for time, memory and money alone.")

    def plan(self, session: Session) -> str:
        """It starts nothing."""
        return ""

    def work(self, session: Session) -> str:
        """The plan of the same words, as an answer."""
        if self.short:
            return estimate(self._goal(session), session.settings.home)
        return f'{super().plan(session)}\nNothing is started: the order itself ("prune …") does that.'


class GoOn(SessionTool):
    """Let the search of this run go on, for so many minutes or candidates more."""

    group: ClassVar[Group] = "run"

    minutes: float | None = Field(default=None, gt=0)
    candidates: int | None = Field(default=None, ge=1)

    def plan(self, session: Session) -> str:
        """For how long; what cannot go on is refused with the reason."""
        run = session.run
        if run is None:
            raise UsageError('There is no run to go on with: "continue what we did on MODEL" takes one up.')
        if session.working:
            more = 'another limit is said as "at most 40 candidates" or "at most 30 minutes"'
            raise UsageError(f"Run {run.id} is at work already; {more}.")
        if run.status() is not Status.FINISHED:
            return f"Run {run.id} is not finished; it goes on where it stopped."
        if not run.goal.searches:
            raise UsageError(
                f'Run {run.id} applies a recipe, nothing is searched: "prune {run.goal.model} to 50 %" starts a search.'
            )
        try:
            run.history().ledger.check(("tokens", "money"))
        except BudgetSpent as spent:
            raise UsageError(f"{spent}: start a run with a larger one.") from None
        parts = [f"{self._minutes:g} minutes"] if self._minutes else []
        parts += [f"{self.candidates} candidates"] if self.candidates else []
        more = " and ".join(parts)
        warning = "The test text will be read again for a new winner, which the report tells."
        return f"Plan: run {run.id} goes on for {more} more. {warning}"

    @property
    def _minutes(self) -> float | None:
        return self.minutes if self.minutes or self.candidates else MINUTES

    def work(self, session: Session) -> str:
        """Extend it and have it carried out."""
        run = session.present()
        if run.status() is Status.FINISHED:
            run.journal.append(Extended(candidates=self.candidates, minutes=self._minutes))
        return session.worked(run)


class Resume(SessionTool):
    """Open an earlier run, named by its id, its model or its day; one that was interrupted goes on."""

    group: ClassVar[Group] = "run"

    words: str = Field(default="", max_length=200)
    day: Literal["today", "yesterday", "any"] = "any"

    def plan(self, session: Session) -> str:
        """How it stands, where work would go on."""
        run = self._found(session)
        history = run.history()
        status = run.status(history)
        if status not in (Status.INTERRUPTED, Status.FAILED, Status.NEW):
            return ""
        return f"Run {run.id}: {run.goal}, {status}.\n{advice.standing(history)}\nIt goes on where it stopped."

    def work(self, session: Session) -> str:
        """Open it, and go on where there is work left."""
        run = session.run = self._found(session)
        history = run.history()
        status = run.status(history)
        if status in (Status.INTERRUPTED, Status.FAILED, Status.NEW):
            return session.worked(run)
        more = "" if status is Status.WORKING else '\nSay "go on for ten minutes" to search further.'
        return f"Run {run.id}: {run.goal}, {status}.\n{advice.standing(history)}{more}"

    def _found(self, session: Session) -> Run:
        run = newest(session.settings.home, self.words, self.day)
        if run is None:
            raise SecateurError(none_fits(session.settings.home, self.words, self.day))
        return run


class Steer(SessionTool):
    """Tell the designer of the run that works now what to do otherwise: which patterns or methods to leave or prefer,
    which blocks to spare."""

    group: ClassVar[Group] = "run"

    words: str = Field(min_length=1, max_length=1000, description="In the person's words.")

    def work(self, session: Session) -> str:
        """Put it into the inbox; says what will change, or why it cannot be obeyed."""
        run = session.present()
        if not session.working:
            raise UsageError("Nothing is running that could be steered.")
        history = run.history()
        if history.stages.step is not None and history.stages.step.name in DECIDED:
            raise UsageError('The search is over and the finalists are chosen: "go on" afterwards searches further.')
        run.say(self.words)
        return f"Read before the next candidate or call. {foreseen(self.words, run.goal, history)}"


class Pause(SessionTool):
    """Let the run that works now stop where it is, without a conclusion; "resume" goes on from there."""

    group: ClassVar[Group] = "run"

    def work(self, session: Session) -> str:
        """Tell the engine, which is a process of its own."""
        if not session.working:
            return "Nothing is running."
        run = session.present()
        if session.beside:
            raise UsageError('This program itself works on the run: Ctrl+C pauses it, "stop" concludes it.')
        pause(run)
        return f'Run {run.id} pauses as soon as it can; "resume {run.id}" goes on where it stopped.'


class Stop(SessionTool):
    """End the search that works now after this step; it concludes with the best so far."""

    group: ClassVar[Group] = "run"

    def work(self, session: Session) -> str:
        """Say so to the engine."""
        if not session.working:
            return "Nothing is running."
        session.present().stop()
        return "It ends after the measurement under way and concludes with the best so far."
