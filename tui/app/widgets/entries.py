"""The entries of a conversation as widgets. Each is cheap: one widget."""

from __future__ import annotations

import textwrap

from textual.content import Content
from textual.geometry import Size
from textual.reactive import Reactive
from textual.widgets import Static

from tui.app.view import THINKING, Earlier, Ending, Entry, Generation, RunView, Speech, Words
from tui.app.widgets.folded import told_in_a_line, told_in_full
from tui.app.widgets.links import ids, linked
from tui.app.widgets.prose import LEAST, prose
from tui.text.thought import folded

LABEL = 12
YOURS = ("you", "to models")
SPOKEN = (*YOURS, "secateur", "models", "error")
"""Labels of what somebody said; the rest is log."""


class Told(Static):
    """One entry as text that is wrapped here: only another number of rows lays the conversation out anew, which costs
    more than anything else."""

    DEFAULT_CSS = "Told { height: auto; padding: 0 1 0 2; }"
    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False)
    """Nothing here scrolls: another size must not lay everything out a second time."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.toggled = False
        """Whether the person opened what would be closed, or the other way round."""
        self._view: RunView | None = None
        self._width = 0
        self._drawn: Content | None = None

    def on_resize(self) -> None:
        """Another width means another text."""
        if self._view is not None and self._width != self.size.width:
            self.call_after_refresh(self.show, self._view)  # the height of this layout is already decided

    def show(self, view: RunView, width: int = 0) -> None:
        """Draw the entry as the view knows it now; `width` is what it will have, where it has none yet."""
        self._view, self._width = view, self.size.width or width
        content, before = self._content(view), self._drawn
        if before is None or content != before:
            self._drawn = content
            self.update(content, layout=before is None or self._rows(content) != self._rows(before))

    def _rows(self, content: Content) -> int:
        return len(content.wrap(max(1, self._width)))

    def _content(self, view: RunView) -> Content:
        raise NotImplementedError

    @property
    def copied(self) -> str:
        """What copying this entry gives."""
        raise NotImplementedError


class Line(Told):
    """Words, a generation or an earlier run: one line, or opened with all of it."""

    DEFAULT_CSS = """
    Line.dim { color: $text-muted; }
    Line.you { background: $boost; margin: 1 0 0 0; }
    Line.ending { border: round $success; padding: 0 1; margin: 1 1 0 1; }
    Line.error { color: $text-error; }
    Line.cursor { background: $accent 20%; }
    """

    def __init__(self, entry: Words | Generation | Earlier | Ending) -> None:
        super().__init__()
        self.entry = entry

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


class Said(Told):
    """What the designer's LLM says: its reasoning, dim and folded once it is done, and its answer below."""

    DEFAULT_CSS = "Said.cursor { background: $accent 20%; }"

    def __init__(self, entry: Speech) -> None:
        super().__init__()
        self.entry = entry

    @property
    def copied(self) -> str:
        """Its answer; its reasoning where there is no answer."""
        return self.entry.text or self.entry.thinking

    def _content(self, view: RunView) -> Content:
        entry, width = self.entry, max(LEAST, self._width - 2)
        opened = entry.done == self.toggled
        shown = bool(entry.text) and (opened or not entry.done or not entry.thinking)
        what = f"{'▾' if opened else '▸'} thinking" if entry.thinking else "designer"
        preview = "" if shown or opened else "  " + " ".join((entry.text or entry.thinking).split())
        reasoning = [f"{what}  {entry.call}{preview}"[:width], *(_wrapped(entry.thinking, width) if opened else [])]
        said = Content.assemble(("\n".join(reasoning), "$text-muted"))
        return Content.assemble(said, "\n  ", prose(entry.text.strip("\n"), width - 2, 2)) if shown else said


def widget_of(entry: Entry) -> Line | Said:
    """The widget of an entry."""
    return Said(entry) if isinstance(entry, Speech) else Line(entry)
