"""A conversation in plain lines: what a person says is read, planned, confirmed, done and answered.

Nothing here knows where the lines come from: `say` takes one and returns what to print, so a terminal, a pipe and a
test talk alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.designers.choose import listens
from agent.session.goal import build
from agent.session.options import Wish
from agent.session.settings import Settings, Values, load
from agent.session.start import start
from agent.session.talk import advice, rules
from agent.session.talk.examiner import Examiner
from agent.session.talk.intents import Evaluate, Export, GoOn, Intent, Leave, Prune, Question, Resume, Stop
from agent.session.talk.past import export, newest
from agent.session.talk.plan import planned
from agent.session.told import told
from runs.budget import BudgetSpent
from runs.events import Extended, Replied
from runs.fold.history import History
from runs.goal import Goal
from runs.run import Run, Status

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

HELP = """You can say, for example:
  prune smollm2-135m to 50 %            prune ./my-model to 2:4, keep perplexity within 10 %
  why not 2:4?      explain c-12        what did you learn?
  go on for ten more minutes            continue what we did on smollm2 yesterday
  how good is it on HellaSwag?          evaluate it on piqa and arc easy with 100 samples
  export it to ./pruned                 stop      bye"""

DEAF = 'Designer {} goes by measurements alone and does not listen; "stop" ends the search after this step.'

Carry = Callable[[Run], str]
"""Works on a run, or lets it be worked on; returns what to say of it. Raises KeyboardInterrupt where the person breaks
it off."""


class Talk:
    """The state of one conversation: the run it is about, and what waits for a word."""

    def __init__(self, settings: Settings, carry: Carry, *, model: str = "", yes: bool = False) -> None:
        self.settings = settings
        self.over = False
        self.run: Run | None = None
        self._carry = carry
        self._yes = yes
        self._named = model
        self._waiting: Prune | None = None
        self._plan: Callable[[], str] | None = None
        self._before: list[str] = []
        self.listener: BaseChatModel | None = None
        self._unheard = ""
        """Why the language model did not read the last line."""

    @property
    def asks(self) -> bool:
        """Whether a plan waits for a yes."""
        return self._plan is not None

    def say(self, text: str) -> str:
        """Take one line; returns the answer."""
        try:
            reply = self._answer(text)
        except Exception as error:  # a conversation goes on, and no traceback shows what is in memory
            reply = told(error)
        self._before.append(text)
        self._remember(text, reply)
        return reply

    def _answer(self, text: str) -> str:
        if self._plan is not None:
            plan, self._plan = self._plan, None
            if text.strip().lower() in ("y", "yes", "ok", "go", "sure", "do it"):
                return self._do(plan)
            if text.strip().lower() in ("n", "no"):
                return "Nothing was started."
        intent, problem = self._read(text)
        news, self._unheard = problem and problem != self._unheard, problem
        reply = self._act(intent, text)
        return f"({problem}: rules read what you say)\n{reply}" if news else reply

    def _do(self, plan: Callable[[], str]) -> str:
        try:
            return plan()
        except KeyboardInterrupt:
            return "Interrupted. What is done is kept: the same words go on from there."

    def _read(self, text: str) -> tuple[Intent, str]:
        """What is meant, and why a language model could not tell where one listens."""
        if self.listener is None:
            return rules.read(text), ""
        from agent.session.talk import language

        return language.read(text, self._before, self.listener)

    def _act(self, intent: Intent, text: str) -> str:
        if self.run is not None and self.run.engine is not None and not isinstance(intent, Leave):
            return self._beside(self.run, intent, text)
        match intent:
            case Prune():
                return self._prune(intent)
            case GoOn():
                return self._go_on(intent)
            case Resume():
                return self._resume(intent)
            case Question():
                return self._about(intent.text)
            case Evaluate():
                return self._evaluate(intent)
            case Export():
                return self._export(intent.folder)
            case Stop():
                return "Nothing is running."
            case Leave():
                self.over = True
                return "Bye." + (f" `secateur chat --run {self.run.id}` takes this up again." if self.run else "")
            case _:
                return self._completed(text) or HELP

    def say_beside(self, run: Run, text: str) -> str:
        """Take one line while this process works on a run: rules read it, so that nothing waits for a server."""
        try:
            return self._beside(run, rules.read(text), text)
        except Exception as error:  # what is said beside the work does not end it
            return told(error)

    def _beside(self, run: Run, intent: Intent, text: str) -> str:
        """A word while an engine works: it goes to the designer, and a question is answered from what is measured."""
        if isinstance(intent, Stop):
            run.stop()
            return "It ends after this step and concludes with the best so far."
        run.say(text)
        match intent:
            case Question():
                return self._about(intent.text)
            case Evaluate():
                known = Examiner(self.settings, intent, run).known(History.of(run.journal.read()))
                return known or "That is measured when the run is over: two at a time would take each other's cores."
            case _ if listens(run.goal):
                return "The designer hears it at its next step."
            case _:
                return DEAF.format(run.goal.designer)

    def _completed(self, text: str) -> str | None:
        """A bare word answers the question for the model."""
        if self._waiting is not None and not self._waiting.model and len(text.split()) == 1:
            return self._prune(Prune(model=text.strip()))
        return None

    def _prune(self, said: Prune) -> str:
        wanted = _joined(self._waiting, said)
        model = wanted.model or self._named or (self.run.goal.model if self.run and self._waiting is None else "")
        wanted = wanted.model_copy(update={"model": model})
        self._waiting = wanted
        if not model:
            return "Which model? A folder, a GGUF file, a hub id, or the sample smollm2-135m."
        says_how_much = wanted.sparsity or wanted.speedup or re.fullmatch(r"\d+:\d+", wanted.pattern or "")
        if not says_how_much:
            return "How much of it shall go? For example 50 %, the pattern 2:4, or 1.4 times faster."
        self._waiting = None
        goal = self._goal(wanted)
        return self._confirm(planned(goal, self.settings), lambda: self._begin(goal))

    def _goal(self, wanted: Prune) -> Goal:
        """The goal of what was said; what the command line said holds where nothing else was."""
        given = {name: self.settings.given(name) for name in Values.model_fields}
        given |= {name: value for name in ("candidates", "minutes") if (value := getattr(wanted, name)) is not None}
        wish = Wish(**wanted.model_dump(exclude={"model", "candidates", "minutes"}))
        return build(load(self.settings.home, given), wanted.model, wish)

    def _confirm(self, plan: str, do: Callable[[], str]) -> str:
        if self._yes:
            return f"{plan}\n{do()}"
        self._plan = do
        return f"{plan}\nStart? yes or no"

    def _begin(self, goal: Goal) -> str:
        self.run = start(self.settings, goal)
        return self._work(self.run)

    def _work(self, run: Run) -> str:
        try:
            return self._carry(run)
        except KeyboardInterrupt:
            return f'Interrupted. "resume {run.id}" goes on where it stopped.'

    def _go_on(self, said: GoOn) -> str:
        run = self.run
        if run is None:
            return 'There is no run to go on with: "continue what we did on MODEL" takes one up.'
        if run.status() is not Status.FINISHED:
            return self._confirm(f"Run {run.id} is not finished; it goes on where it stopped.", lambda: self._work(run))
        if not run.goal.searches:
            return (
                f'Run {run.id} applies a recipe, nothing is searched: "prune {run.goal.model} to 50 %" starts a search.'
            )
        try:
            run.history().ledger.check(("tokens", "money"))
        except BudgetSpent as spent:
            return f"{spent}: start a run with a larger one."
        minutes = said.minutes if said.minutes or said.candidates else 10.0
        parts = [f"{minutes:g} minutes"] if minutes else []
        parts += [f"{said.candidates} candidates"] if said.candidates else []
        more = " and ".join(parts)

        def extend() -> str:
            run.journal.append(Extended(candidates=said.candidates, minutes=minutes))
            return self._work(run)

        warning = "The test text will be read again for a new winner, which the report tells."
        return self._confirm(f"Plan: run {run.id} goes on for {more} more. {warning}", extend)

    def _resume(self, said: Resume) -> str:
        run = newest(self.settings.home, said)
        if run is None:
            return "No run fits that. `secateur runs` lists them."
        self.run = run
        history = run.history()
        status = run.status(history)
        told = f"Run {run.id}: {run.goal}, {status}.\n{advice.answer('how does it stand', history)}"
        if status in (Status.INTERRUPTED, Status.FAILED, Status.NEW):
            return self._confirm(told, lambda: self._work(run))
        return f'{told}\nSay "go on for ten minutes" to search further.'

    def _about(self, question: str) -> str:
        from memory.index import Memory

        history = History() if self.run is None else History.of(self.run.journal.read())
        return advice.answer(question, history, Memory(self.settings.home).all())

    def _evaluate(self, asked: Evaluate) -> str:
        """How good a model is on tasks: known, or for a price that is told first."""
        examiner = Examiner(self.settings, asked, self.run, self._named if self.run is None else "")
        if self.run is not None and (known := examiner.known(History.of(self.run.journal.read()))):
            return known
        plan, costs = examiner.plan()
        return self._confirm(plan, examiner.answer) if costs else examiner.answer()

    def export(self, folder: str) -> str:
        """Copy the pruned model to a folder, and keep that with the run as if it had been said."""
        reply = self._export(folder)
        self._remember(f"export it to {folder}", reply)
        return reply

    def _export(self, folder: str | None) -> str:
        """Copy the pruned model to a folder, or say where it is."""
        if self.run is None or not self.run.model_folder.exists():
            return "There is no pruned model yet."
        return export(self.run, folder)

    def _remember(self, text: str, reply: str) -> None:
        """Keep both with the run, so that the conversation can be read and taken up again."""
        if self.run is None or self.run.engine is not None or self.run.status() is Status.NEW:
            return
        self.run.say(text)
        for said in self.run.unheard(History.of(self.run.journal.read())):
            self.run.journal.append(said)
        self.run.journal.append(Replied(text=reply))


def _joined(before: Prune | None, now: Prune) -> Prune:
    """What was said before, with what is said now."""
    if before is None:
        return now
    said = {name: value for name, value in now.model_dump().items() if value}
    return before.model_copy(update=said)
