"""The conversation as the app holds it: one thread over all runs, spoken to from the screen and answered beside it.

One line is answered at a time; others wait in their order and are shown. An order to stop waits for nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.session.settings import Settings
from agent.session.talk.session import Carry, Use
from agent.session.told import told
from runs.run import Run
from tui.app.face import Face
from tui.app.view import THINKING, Words

if TYPE_CHECKING:
    from agent.session.talk.conversation import Talk

Question = Callable[["Talk"], str]
OFFER = "Enter starts, no does not"
SHORT = 0.3
"""Seconds that an answer may take before a sign says that one is under way."""
MODELS, TO_MODELS = "models", "to models"
"""Who speaks, in a talk to the models: as the thread of words calls them."""
KEPT = 400
"""Words of the thread that are shown again."""


@dataclass(frozen=True)
class Turn:
    """What was said, and how it is answered."""

    text: str
    question: Question
    to_models: bool = False
    """Whether the prompt said, when it was typed, that models listen."""
    early: bool = False
    """Whether it says yes or no, and no plan was there when it was typed."""


@dataclass(frozen=True)
class Answer:
    """What came of a turn, read in the thread that answered."""

    label: str
    text: str
    asks: bool = False
    over: bool = False
    run: Run | None = None
    """The run that is talked about now."""
    models: str = ""
    """The models that the next line goes to, where it is not for the program."""


class Dialogue:
    """Lines that wait, the one that is answered, and what is heard of its answer; all but the answering in the thread
    of the screen."""

    def __init__(self, app: Face, settings: Settings, carry: Carry) -> None:
        self._app, self._settings, self._carry = app, settings, carry
        self._made: Talk | None = None
        self._about: list[Run | None] = []
        """The run that it is about once it is made, where one was opened before anything was said."""
        self._making = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._turn: Turn | None = None
        self._since = 0.0
        self._pieces: deque[str | Use | Words] = deque()
        """What is heard in the thread that answers, until the screen takes it."""
        self._spoken: list[Words] = []
        """The parts of the answer so far; uses of tools stand between them."""
        self._speaking = False
        self._using: Words | None = None
        """The line of the tool that works."""
        self.asks = False
        """Whether a plan waited for a yes when the last answer ended."""
        self.models = ""
        """The models that lines go to; empty where they are for the program."""

    @property
    def talk(self) -> Talk:
        """The conversation's mind; made when it is needed, in the thread that needs it, as its import takes a while."""
        with self._making:
            if self._made is None:
                from agent.session.talk.conversation import Talk
                from agent.session.talk.speaker import warmed

                made = Talk(self._settings, self._carry)
                made.session.hear = made.session.use = self._take
                made.session.note = lambda text: self._take(Words("note", text, said=True))
                made.session.think = lambda text: self._take(Words(THINKING, text, said=True))
                made.speaker = warmed(self._settings, made.session)
                self._made = made
                for run in self._about:
                    made.run = run
            return self._made

    def warm(self) -> None:
        """Import what answers, in a worker, so that the first answer takes no longer than any other."""
        designer = self._settings.values.designer
        with self._making:  # threads that import the same modules in another order would meet half of them
            from langgraph.checkpoint.memory import InMemorySaver

            from agent.session.talk import conversation, grammar, speaker  # noqa: F401 (only imported)
            from agent.session.talk.graph import build

            grammar.quick("stop")
            build(InMemorySaver())  # the first one takes twice the time of any other
            if designer.startswith("openai:"):
                import agent.llm.openai  # noqa: F401 (only imported)
        if ":" in designer and not designer.startswith("replay:"):
            _ = self.talk  # a model on a slow machine begins to read

    def about(self, run: Run | None) -> None:
        """Talk of another run from now on."""
        self._about = [run]
        if self._made is not None:
            self._made.run = run

    @property
    def exists(self) -> bool:
        """Whether something was said in this home before."""
        return (self._settings.home / "conversations.sqlite").exists()

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self._turn is not None

    def say(self, text: str) -> None:
        """Take a line of the person: an order to stop is done at once, yes and no go before all that waits."""
        if self.busy and self._stops(text):
            self._app.tell("you", text)
            self.stop()
            return
        listening = bool(self.models)
        early = self.busy and not self.asks and not listening and _decides(text)
        turn = Turn(text, lambda talk: talk.say(text, aside=not listening), listening, early)
        if self.busy and self.models and _returns(text):
            self.stop(quietly=True)
            self._waiting.clear()
            self._waiting.append(turn)
        elif self.busy and self.asks and _decides(text):
            self.stop(quietly=True)
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        self._next()

    def go_on(self) -> None:
        """Do what was to follow the run that has just ended."""
        if self._made is not None and self._made.later:
            self._waiting.append(Turn("", lambda talk: talk.go_on()))
            self._next()

    def ask_beside(self, text: str, question: Question) -> None:
        """Show what the person asked and answer it, whatever else is under way."""
        self._app.tell("you", text)
        self._app.run_worker(lambda: self._answer_beside(question), thread=True, group="beside")

    def stop(self, *, quietly: bool = False) -> None:
        """End the answer that is under way, now; those that wait are dropped, too, unless the person only decides."""
        if self._made is not None:
            self._made.stop()
        if quietly:
            return
        dropped = f", and {len(self._waiting)} that waited" if self._waiting else ""
        self._waiting.clear()
        run = self._app.attached
        more = '; the run goes on: "stop" again ends its search' if run is not None and run.working else ""
        self._app.tell("note", f"stopped the answer{dropped}{more}")

    def close(self) -> None:
        """Nobody waits for an answer any more; the thread of words is safe in its file, and models are let go."""
        if self._made is not None:
            self._made.stop()
            self._made.session.leave_models()

    def restore(self) -> None:
        """Show the words of the thread again, in a worker: whoever types meanwhile waits for them."""
        self._turn, self._since = Turn("", lambda talk: ""), time.monotonic()
        self._app.run_worker(self._restore, thread=True, group="talk")

    def _restore(self) -> None:
        try:
            talk = self.talk
            words, plan = [*talk.words[-KEPT:], *(("note", line) for line in talk.gone)], talk.plan
            answer = Answer("secateur", "", asks=bool(plan), run=talk.run)
        except Exception as error:  # the app is of use without it
            words, plan, answer = [], "", Answer("error", told(error))
        self._app.call_from_thread(self._restored, words, plan, answer)

    def _restored(self, words: Sequence[tuple[str, str]], plan: str, answer: Answer) -> None:
        if plan and words and words[-1] == ("secateur", plan):
            words = words[:-1]
        self._app.recall(words)
        self._ended(answer)
        if plan:  # below what is shown of the run, which may be long
            self._app.tell("secateur", f"{plan}\nThis still waits: start? yes or no")

    # One turn after the other

    def _next(self) -> None:
        if self.busy or not self._waiting:
            return
        if self._waiting[0].to_models and not self.models:
            left = self._waiting.popleft()
            self._app.tell("note", f'"{left.text}" was for the models, which are let go: nobody heard it')
            self._next()
            return
        if self._waiting[0].early and self.asks:
            left = self._waiting.popleft()
            self._app.tell("note", f'"{left.text}" was typed before that plan was there: say it again')
            self._next()
            return
        self._turn = turn = self._waiting.popleft()
        self._since = time.monotonic()
        self._spoken, self._speaking = [], False
        if turn.text:
            self._app.tell(TO_MODELS if turn.to_models else "you", turn.text)
        self._app.run_worker(lambda: self._answer(turn), thread=True, group="talk")

    def _answer(self, turn: Turn) -> None:
        try:
            talk = self.talk
            label = MODELS if turn.to_models else "secateur"
            answer = Answer(label, turn.question(talk), talk.asks, talk.over, talk.run, talk.to_models)
        except Exception as error:  # such as a designer that is not to be had; textual would show what is in memory
            answer = Answer("error", told(error), self.asks, models=self.models)
        self._app.call_from_thread(self._ended, answer)

    def _answer_beside(self, question: Question) -> None:
        try:
            label, reply = "secateur", question(self.talk)
        except Exception as error:
            label, reply = "error", told(error)
        self._app.call_from_thread(self._tell_beside, label, reply)

    def _tell_beside(self, label: str, reply: str) -> None:
        if not self._app.view.brought(reply):
            self._app.tell(label, reply)

    def _ended(self, answer: Answer) -> None:
        """The whole answer takes the place of its pieces."""
        self.hear()
        self._turn, self.asks, self.models = None, answer.asks and not answer.models, answer.models
        talks = f"you talk to {answer.models}: /back returns"
        self._app.offer(talks if answer.models else OFFER if answer.asks else "", to_models=bool(answer.models))
        self._conclude(answer)
        if answer.over:
            self._app.exit()
            return
        self._app.call_later(self._app.show_heard)
        self._app.talked_of(answer.run)
        self._next()

    def _conclude(self, answer: Answer) -> None:
        """Parts that stand between uses of tools stay where the answer holds them; the last one becomes the rest."""
        brought = self._app.view.brought(answer.text, self._spoken)
        rest, last = "" if brought else answer.text, self._spoken.pop() if self._speaking else None
        for part in self._spoken:
            if rest.lstrip().startswith(part.text.strip()):
                rest = rest.lstrip()[len(part.text.strip()) :].lstrip("\n")
            else:
                self._app.view.reword(part, Words(part.label, "", said=True))
        if last is not None:
            self._app.view.reword(last, Words(answer.label, rest, said=True))
        elif rest:
            self._app.tell(answer.label, rest)
        self._spoken, self._speaking = [], False

    def _take(self, piece: str | Use | Words) -> None:
        """A piece of an answer, a use of a tool, or a note; what nobody sees a beginning of yet is shown at once."""
        first = not self._pieces and not (isinstance(piece, str) and self._speaking)
        self._pieces.append(piece)
        if first:
            self._app.call_later(self._app.show_heard)

    def hear(self) -> None:
        """Show what came of the answer since the last time."""
        text = ""
        while self._pieces:
            piece = self._pieces.popleft()
            if isinstance(piece, str):
                text += piece
                continue
            self._speak(text)
            text, self._speaking = "", False
            if isinstance(piece, Use):
                self._show_use(piece)
            else:
                self._app.tell(piece.label, piece.text)
        self._speak(text)

    def _speak(self, text: str) -> None:
        if not text or self._turn is None:
            return
        label = MODELS if self._turn.to_models else "secateur"
        if self._speaking:
            last = self._spoken[-1]
            self._app.view.reword(last, Words(label, last.text + text, said=True))
        elif text.strip():
            self._app.tell(label, text.lstrip())
            self._spoken.append(self._app.view.last_words)
            self._speaking = True

    def _show_use(self, use: Use) -> None:
        """One line, while a tool works and when it has ended."""
        if use.seconds is None:
            self._app.tell("tool", str(use))
            self._using = self._app.view.last_words
        elif self._using is not None:
            self._app.view.reword(self._using, Words("tool", str(use), source=use.result, said=True))
            self._using = None

    def result(self, name: str) -> str:
        """A result of a tool of this conversation, by its id; empty where there is none."""
        return "" if self._made is None else self._made.result(name)

    @property
    def sign(self) -> str:
        """What stands above the prompt while an answer is under way: since when, and what waits behind it."""
        seconds = time.monotonic() - self._since
        if not self.busy or (seconds < SHORT and not self._waiting):
            return ""
        doing = self._doing
        lines = [f"● {doing}   {seconds:.0f} s   Esc stops it", *(f"  waits: {turn.text}" for turn in self._waiting)]
        return "\n".join(lines)

    @property
    def _doing(self) -> str:
        if self._using is not None:
            return "working"
        return "answering" if self._speaking else "thinking"

    def _stops(self, text: str) -> bool:
        if self._made is None:  # it is being made in another thread, and the screen must not wait for its imports
            return False
        from agent.session.talk.grammar import quick
        from agent.session.talk.tools.run import Stop

        return isinstance(quick(text), Stop)


def _returns(text: str) -> bool:
    """Whether a line ends a talk to the models."""
    from agent.session.exchange import returns

    return returns(text)


def _decides(text: str) -> bool:
    """Whether a line says yes or no to a plan."""
    from agent.session.talk.waiting import ALWAYS, NO, YES

    return text.lower().rstrip(".! ") in YES | NO | ALWAYS
