"""What a screen shows of a run: its history, and its events as a conversation. It knows no widgets, so it is tested
without a terminal.

The conversation is a list of entries that only grows; an entry may still change (a reply being spoken, a candidate
being measured). `drain` says which entries changed since it was asked last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runs.budget import Budget, Spent
from runs.candidate import Candidate
from runs.events import (
    PLANNED,
    Answered,
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Event,
    FinalMeasured,
    Note,
    Replied,
    RunFailed,
    RunFinished,
    RunInterrupted,
    Said,
    Selected,
    Spoke,
    TasksAnswered,
    Thought,
    ToolUsed,
)
from runs.fold.history import History
from runs.fold.stages import Step as Stage
from runs.fold.summary import summary
from runs.fold.words import number
from runs.used import called, use_line
from tools.measure.tasks.words import shown
from tui.text.ending import Step, card, steps

DOING = {"model": "opening", "statistics": "surveying", "times": "timing", "memory": "recalling", "search": "measuring"}
"""What is said of a stage while it runs; the others are called by their names."""


THINKING = "thinking"
"""Label of what a language model thought in the conversation, which is folded until somebody opens it."""


@dataclass
class Words:
    """A line or a few: of the person, of the program, or a fact."""

    label: str
    """`you`, `secateur`, `note`, `error`, `tool`, a kind of thought, or the name of a stage."""
    text: str
    source: str = ""
    """Id of the thought that it tells, or of the result that a tool found."""
    said: bool = False
    """Whether it belongs to the conversation, which goes on over all runs, and not to what one run logs."""


@dataclass
class Speech:
    """What the designer's LLM says in one call, while it says it."""

    call: str
    thinking: str = ""
    """Reasoning beside the answer."""
    text: str = ""
    done: bool = False


@dataclass
class ToolLine:
    """One use of a tool."""

    name: str
    arguments: str
    """JSON."""
    result: str
    seconds: float

    @property
    def line(self) -> str:
        """In one line, as wherever a tool is used."""
        return use_line(called(self.name, self.arguments), self.seconds)


@dataclass
class Card:
    """A candidate; its numbers are in the view's history."""

    candidate: Candidate


@dataclass
class Generation:
    """All that happens while one generation is designed and measured: one line, or all of it."""

    number: int
    members: list[Words | ToolLine | Card | Speech] = field(default_factory=list)

    @property
    def cards(self) -> list[Card]:
        """Its candidates."""
        return [member for member in self.members if isinstance(member, Card)]


@dataclass
class Earlier:
    """A run that was shown before the one that is shown now."""

    run: str
    goal: str
    state: str


@dataclass
class Ending:
    """A run came to its end: what it came to, and what can be done from there."""

    run: str
    text: str
    steps: list[Step]


Entry = Words | Speech | Generation | Earlier | Ending


def _of_talk(entry: Entry) -> bool:
    """Whether an entry stays in the conversation when another run is shown."""
    return isinstance(entry, Earlier) or (isinstance(entry, Words) and entry.said)


@dataclass
class RunView:
    """Everything a screen knows of one run."""

    history: History = field(default_factory=History)
    entries: list[Entry] = field(default_factory=list)
    reworded: bool = False
    """Whether an answer came further, which is drawn sooner than what a run does."""
    _changed: set[int] = field(default_factory=set)
    _speech: dict[str, int] = field(default_factory=dict)
    _cards: dict[str, int] = field(default_factory=dict)
    """Candidate -> the entry of its generation."""
    _open: Generation | None = None
    _place: int = 0
    """Where it stands among the entries."""
    _echoed: list[str] = field(default_factory=list)

    @property
    def run(self) -> str:
        """Its id; empty while nothing has happened."""
        return self.history.run

    @property
    def state(self) -> str:
        """`new`, `working`, `interrupted`, `finished` or `failed`."""
        return self.history.state

    @property
    def spent(self) -> Spent:
        """Time, candidates, tokens and money so far."""
        return self.history.ledger.spent

    @property
    def budget(self) -> Budget:
        """What may be spent on the whole, with what a person allowed since."""
        return self.history.ledger.budget

    @property
    def over(self) -> bool:
        """Whether the run came to an end of its own."""
        return self.state in ("finished", "failed")

    @property
    def leader(self) -> str | None:
        """The winner, or who leads the search."""
        return self.history.winner or self.history.best

    @property
    def generation(self) -> int:
        """The generation that is worked on: one after the last that was selected from."""
        return max(self.history.selected, default=-1) + 1

    @property
    def doing(self) -> str:
        """What goes on, in a word."""
        step = self.history.stages.step
        if self.state != "working":
            return self.state
        name = "starting" if step is None else DOING.get(step.name, step.name)
        return "designing" if self.history.asking else name

    def drain(self) -> list[int]:
        """Entries that are new or changed since the last call, in order."""
        found, self._changed, self.reworded = sorted(self._changed), set(), False
        return found

    def echo(self, words: Words) -> None:
        """Show words at once; the journal may bring them later, and then they are not shown again."""
        self._add(words)
        self._echoed.append(words.text)

    def brought(self, answer: str, heard: Sequence[Words] = ()) -> bool:
        """Whether the journal brought an answer, which is not what was heard, before who asked for it could show it."""
        for entry in reversed(self.entries):
            if isinstance(entry, Words) and entry.label == "you":
                break
            if isinstance(entry, Words) and entry.said and entry.text == answer:
                return not any(entry is one for one in heard)
        return False

    def restore(self, words: Iterable[tuple[str, str]]) -> None:
        """Show what was said in the conversation before the program was started: who, and what."""
        for label, text in words:
            self.echo(Words(label, text, said=True))

    def echo_again(self, entries: Iterable[Entry]) -> None:
        """Show the words among entries of another view."""
        for entry in entries:
            if isinstance(entry, Words) and entry.said:
                self.echo(entry)

    def reword(self, old: Words, new: Words) -> None:
        """An answer that was heard in pieces has come further, or is whole."""
        self._echoed = [new.text if text == old.text else text for text in self._echoed]
        old.label, old.text, old.source = new.label, new.text, new.source or old.source
        self._changed |= {index for index, entry in enumerate(self.entries) if entry is old}
        self.reworded = True

    @property
    def last_words(self) -> Words:
        """What was said last."""
        return next(entry for entry in reversed(self.entries) if isinstance(entry, Words))

    def follow_on(self, other: RunView) -> None:
        """Begin with what was said before; the run that was shown then is a line that opens it."""
        place = max((index for index, entry in enumerate(other.entries) if not _of_talk(entry)), default=-1)
        for index, entry in enumerate(other.entries):
            if _of_talk(entry):
                self.entries.append(entry)
            elif index == place and other.run:
                self.entries.append(Earlier(other.run, str(other.history.goal), other.state))
        self._echoed += [entry.text for entry in self.entries if isinstance(entry, Words)]

    def observe(self, event: Event) -> None:
        """Take one event."""
        step = self.history.stages.step
        self.history.observe(event)
        if step is not None and step.seconds is not None:
            self._tell(step)
        self._converse(event)

    def _converse(self, event: Event) -> None:
        """An event as an entry of the conversation."""
        match event:
            case Said(text=text) | Replied(text=text) if (known := self._known(text)) is not None:
                self._echoed.remove(known)
            case Said(text=text) | Replied(text=text) if text != PLANNED:
                self._add(Words("you" if isinstance(event, Said) else "secateur", text, said=True))
            case Spoke():
                self._hear(event)
            case Note(text=text):
                self._log(Words("note", text))
            case Thought(kind=kind, text=text, id=name):
                self._log(Words(kind, text, source=name))
            case ToolUsed(name=name, arguments=arguments, result=result, seconds=seconds):
                self._log(ToolLine(name, arguments, result, seconds))
            case Answered():
                self._answered(event)
            case _:
                self._conclude(event)

    def _known(self, text: str) -> str | None:
        """Words that stand here already; a thread has in parts, or with a plan below it, what a journal has as one."""
        begins = (said for said in self._echoed if f"{text}\n".startswith(f"{said}\n") or said.startswith(f"{text}\n"))
        return next(begins, None)

    def _conclude(self, event: Event) -> None:
        """The run ends, for good or not; the model is saved."""
        match event:
            case RunFailed(reason=reason):
                self._add(Words("error", reason))
            case RunInterrupted():
                self._add(Words("note", f"interrupted; /resume {self.run} goes on where it stopped"))
            case RunFinished():
                self._changed |= {*self._cards.values()}
                found = summary(self.history)
                self._add(Ending(self.run, card(found), steps(found)))
            case _:
                self._judge(event)

    def _judge(self, event: Event) -> None:
        """Candidates come, are measured, fall, live on."""
        match event:
            case CandidateProposed(candidate=candidate):
                self._log(Card(candidate))
                self._cards[candidate.id] = self._place
            case CandidateMeasured(candidate_id=name) | CandidateRejected(candidate_id=name) | FinalMeasured(name=name):
                self._touch(name)
            case Selected(generation=generation, population=population, best=best):
                alive = ", ".join(population)
                self._log(Words("selected", f"generation {generation} is over, {best} leads; what lives on: {alive}"))
                self._open = None
            case TasksAnswered(name=name, scores=scores):
                told = ", ".join(f"{task} {shown(score)}" for task, score in scores.tasks.items())
                part = " (judging part)" if scores.protocol.plan.part == "judge" else ""
                self._add(Words("tasks", f"{name}{part}: {told}"))
            case _:
                pass

    def _touch(self, candidate: str) -> None:
        if candidate in self._cards:
            self._changed.add(self._cards[candidate])

    def _log(self, entry: Words | ToolLine | Card) -> None:
        """Part of a generation, where one is designed or measured; a line of its own before and after the search."""
        step = self.history.stages.step
        searching = self.history.candidates or isinstance(entry, ToolLine) or self.history.asking
        elsewhere = not searching or (step is not None and step.name not in ("search", "memory"))
        if isinstance(entry, Words) and elsewhere and not entry.source:
            self._add(entry)
            return
        self._now().members.append(entry)

    def _now(self) -> Generation:
        """The generation that is designed or measured, which changes."""
        if self._open is None:
            self._open, self._place = Generation(self.generation), len(self.entries)
            self._add(self._open)
        self._changed.add(self._place)
        return self._open

    @property
    def next_steps(self) -> list[Step]:
        """What can be done with the run that came to its end; nothing before."""
        endings = (entry.steps for entry in reversed(self.entries) if isinstance(entry, Ending))
        return next(endings, []) if self.state == "finished" else []

    def visible(self, index: int) -> bool:
        """Whether an entry has a place of its own: speech that is over is part of its generation, and words of an
        answer that came to something else are none."""
        entry = self.entries[index]
        spoken = isinstance(entry, Words) and entry.said and not entry.text
        return not spoken and not (isinstance(entry, Speech) and entry.done)

    def _add(self, entry: Entry) -> None:
        self._changed.add(len(self.entries))
        self.entries.append(entry)

    def _tell(self, step: Stage) -> None:
        if step.name not in ("search", "save") and step.text:
            self._add(Words(step.name, f"{step.text}   {step.seconds or 0.0:.1f} s"))

    def _said(self, call: str) -> Speech:
        """The speech of a call, which begins with its first word."""
        if call not in self._speech:
            self._speech[call] = len(self.entries)
            self._add(Speech(call))
        index = self._speech[call]
        self._changed.add(index)
        entry = self.entries[index]
        assert isinstance(entry, Speech)
        return entry

    def _hear(self, event: Spoke) -> None:
        speech = self._said(event.call)
        if speech.done:  # a resumed run is asked again, and speaks again
            speech.thinking, speech.text, speech.done = "", "", False
        if event.thinking:
            speech.thinking += event.text
        else:
            speech.text += event.text

    def _answered(self, event: Answered) -> None:
        """The whole answer replaces its pieces, some of which may not have come."""
        if event.problem:
            self._add(Words("error", event.problem))
        if event.text or event.thinking or event.call in self._speech:
            speech = self._said(event.call)
            speech.thinking, speech.text, speech.done = event.thinking, event.text, True
            generation = self._now()
            if not any(member is speech for member in generation.members):
                generation.members.append(speech)

    def outcome(self, name: str) -> str:
        """What became of a candidate, in a few words."""
        if name in (history := self.history).rejected:
            return f"rejected: {history.rejected[name]}"
        found = history.divergences.get(name, {})
        parts = [f"KL {number(found[tokens].value)} over {tokens:,} tokens" for tokens in sorted(found)]
        if name in history.selections:
            parts.append(f"perplexity {number(history.selections[name].value)} on the selection text")
        if name in history.finals:
            parts.append(f"{number(history.finals[name].measurement.value)} on the held-out text")
        return ", ".join(parts) or ("waits to be measured" if self.state == "working" else "not measured")
