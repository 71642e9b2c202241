"""The entries of a conversation as widgets. Each is cheap: one widget, two where Markdown flows."""

from __future__ import annotations

import textwrap

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.reactive import Reactive
from textual.widget import Widget
from textual.widgets import Markdown, Static

from tui.app.view import THINKING, Earlier, Ending, Entry, Generation, RunView, Speech, Words
from tui.app.widgets.folded import told_in_a_line, told_in_full
from tui.app.widgets.links import ids, linked
from tui.app.widgets.prose import prose
from tui.text.thought import folded

LABEL = 12
YOURS = ("you", "to models")
SPOKEN = (*YOURS, "secateur", "models", "error")
"""Labels of what somebody said; the rest is log."""


class Line(Static):
    """Words, a generation or an earlier run: one line, or opened with all of it."""

    DEFAULT_CSS = """
    Line { height: auto; padding: 0 1 0 2; }
    Line.dim { color: $text-muted; }
    Line.you { background: $boost; margin: 1 0 0 0; }
    Line.ending { border: round $success; padding: 0 1; margin: 1 1 0 1; }
    Line.error { color: $text-error; }
    Line.cursor { background: $accent 20%; }
    """

    def __init__(self, entry: Words | Generation | Earlier | Ending) -> None:
        super().__init__(markup=False)
        self.entry = entry
        self.toggled = False
        """Whether the person opened what would be closed, or the other way round."""
        self._view: RunView | None = None
        self._width = 0
        self._drawn: Content | None = None

    def on_resize(self) -> None:
        """Lines are wrapped here, so another width means another text."""
        if self._view is not None and self._width != self.size.width:
            self.call_after_refresh(self.show, self._view)  # the height of this layout is already decided

    def show(self, view: RunView, width: int = 0) -> None:
        """Draw the entry as the view knows it now; `width` is what it will have, where it has none yet."""
        self._view, self._width = view, self.size.width or width
        content = self._content(view)
        if content != self._drawn:  # drawing the same again would lay out the whole conversation
            self._drawn = content
            self.update(content)

    def _content(self, view: RunView) -> Content:
        match self.entry:
            case Words(label=label, text=text) if label == THINKING:
                self.add_class("dim")
                return self._thought(text)
            case Words() as words:
                self.add_class("you" if words.label in YOURS else "error" if words.label == "error" else "other")
                self.set_class(words.label not in SPOKEN, "dim")
                return linked(Content.assemble(_label(words.label), self._told(words)))
            case Generation() as generation:
                return told_in_full(generation, view, self._width) if self.toggled else told_in_a_line(generation, view)
            case Ending() as ending:
                self.add_class("ending")
                return self._ending(ending)
            case Earlier(run=run, goal=goal, state=state):
                self.add_class("dim")
                return Content.assemble((f"▸ run {run}", "bold"), f"   {goal}, {state}: Enter shows it again")

    def _told(self, words: Words) -> Content | str:
        """Its text beside the label; what the program says may be Markdown, as language models write."""
        if words.label == "secateur":
            return prose(words.text, self._width - LABEL, LABEL)
        return self._hanging(words.text)

    def _thought(self, text: str) -> Content:
        """One line, or all of it."""
        if self.toggled:
            return Content.assemble((f"▾ {THINKING}\n", "bold"), "\n".join(_wrapped(text, max(20, self._width - 2))))
        return Content.assemble((f"▸ {THINKING}  ", "bold"), folded(text, max(20, self._width - LABEL)))

    def _ending(self, ending: Ending) -> Content:
        rows = [line[:LABEL] + self._hanging(line[LABEL:]) for line in ending.text.splitlines()]
        head = f"run {ending.run} is finished\n"
        return linked(Content.assemble((head, "bold"), "\n".join(rows), ("\n\nEnter: what next?", "bold")))

    def _hanging(self, text: str, indent: int = LABEL) -> str:
        """The text wrapped so that it stands beside its label."""
        width = self._width - indent
        if width < 20:  # not laid out yet, or too narrow for two columns
            return f"\n{' ' * indent}".join(text.splitlines())
        return f"\n{' ' * indent}".join(_wrapped(text, width))

    @property
    def copied(self) -> str:
        """What copying this entry gives: the formulas of a generation, the words of anything else."""
        match self.entry:
            case Words(text=text):
                return text
            case Generation() as generation:
                return "\n".join(card.candidate.recipe.metric for card in generation.cards)
            case Earlier(run=run):
                return run
            case Ending(text=text):
                return text

    @property
    def opens(self) -> list[str]:
        """The ids that its text names; the result, where it is a use of a tool."""
        words = self.entry
        if isinstance(words, Words) and words.label == "tool" and words.source:
            return [words.source]
        return ids(words.text) if isinstance(words, Words) and words.label not in (*YOURS, THINKING) else []


def _wrapped(text: str, width: int) -> list[str]:
    return [part for line in text.splitlines() for part in textwrap.wrap(line, width) or [""]]


def _label(text: str) -> tuple[str, str]:
    """A line of a tool has none: it says itself what it is."""
    return f"{'' if text == 'tool' else text:<{LABEL - 1}} ", "bold"


class Said(Vertical):
    """What the designer's LLM says: its reasoning, dim and folded once it is done, and its answer as Markdown.

    A paragraph becomes Markdown when it is complete. The one that is being spoken is plain text, as Markdown that
    changes several times a second costs the better part of a core.
    """

    DEFAULT_CSS = """
    Said { height: auto; padding: 0 1 0 2; }
    Said > Static { height: auto; text-wrap: nowrap; }
    Said > .reasoning { color: $text-muted; }
    Said > .tail { padding: 0 0 0 2; }
    Said Markdown { height: auto; margin: 0; padding: 0 0 0 2; background: transparent; }
    Said.cursor { background: $accent 20%; }
    """

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False)
    """Nothing here scrolls: another size must not lay everything out a second time."""

    def __init__(self, entry: Speech) -> None:
        super().__init__()
        self.entry = entry
        self.toggled = False
        self._written = ""
        """What is Markdown already."""
        self._reasoning, self._tail = Flow(classes="reasoning"), Flow(classes="tail")
        self._markdown = Markdown()

    def compose(self) -> ComposeResult:
        """Reasoning, finished Markdown, and the paragraph that still grows."""
        yield self._reasoning
        yield self._markdown
        yield self._tail

    @property
    def copied(self) -> str:
        """Its answer; its reasoning where there is no answer."""
        return self.entry.text or self.entry.thinking

    async def show(self, view: RunView) -> None:
        """Write what came since the last time; Markdown that is there is not drawn again."""
        entry = self.entry
        if not self.is_mounted:
            return
        opened = entry.done == self.toggled
        shown = bool(entry.text) and (opened or not entry.done or not entry.thinking)
        what = f"{'▾' if opened else '▸'} thinking" if entry.thinking else "designer"
        preview = "" if shown or opened else "  " + " ".join((entry.text or entry.thinking).split())
        head = f"{what}  {entry.call}{preview}"[: max(20, self.size.width - 4)]
        self._reasoning.write(head, entry.thinking if opened else "")
        complete = entry.text if entry.done else entry.text[: entry.text.rfind("\n\n") + 1]
        self._markdown.display = shown and bool(complete)
        self._tail.display = shown and complete != entry.text
        self._tail.write("", entry.text[len(complete) :].strip("\n"))
        if shown and complete != self._written:
            if complete.startswith(self._written):
                await self._markdown.append(complete[len(self._written) :])
            else:
                await self._markdown.update(complete)
            self._written = complete


class Flow(Static):
    """Text that grows: wrapped here, so that only another number of lines makes a new layout."""

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False)

    def __init__(self, *, classes: str) -> None:
        super().__init__(markup=False, classes=classes)
        self._lines: list[str] = []

    def write(self, head: str, text: str) -> None:
        """`head` is a line of its own, if it is any."""
        width = max(20, self.parent.size.width - 4 if isinstance(self.parent, Widget) else 20)
        lines = [*([head] if head else []), *_wrapped(text, width)]
        if lines != self._lines:
            self.update(Content("\n".join(lines)), layout=len(lines) != len(self._lines))
            self._lines = lines


def widget_of(entry: Entry) -> Line | Said:
    """The widget of an entry."""
    return Said(entry) if isinstance(entry, Speech) else Line(entry)
