"""The entries of a conversation as widgets. Each is cheap: one widget, two where Markdown flows."""

from __future__ import annotations

import json
import textwrap

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.reactive import Reactive
from textual.widget import Widget
from textual.widgets import Markdown, Static

from runs.candidate import Candidate
from runs.fold.summary import describe
from runs.fold.thoughts import gain_over_parent
from runs.fold.words import number
from tui.app.view import Card, Earlier, Entry, RunView, Speech, ToolLine, Words

LABEL = 12
_LONGEST = 4000
"""Characters of an opened result; the journal has it whole."""


class Line(Static):
    """Words, a tool or a candidate: one line, or opened with all of it."""

    DEFAULT_CSS = """
    Line { height: auto; padding: 0 1 0 2; }
    Line.dim { color: $text-muted; }
    Line.you { background: $boost; margin: 1 0 0 0; }
    Line.error { color: $text-error; }
    Line.card { border: round $primary-darken-1; padding: 0 1; margin: 0 1 0 1; }
    Line.cursor { background: $accent 20%; }
    """

    def __init__(self, entry: Words | ToolLine | Card | Earlier) -> None:
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

    def show(self, view: RunView) -> None:
        """Draw the entry as the view knows it now."""
        self._view, self._width = view, self.size.width
        content = self._content(view)
        if content != self._drawn:  # drawing the same again would lay out the whole conversation
            self._drawn = content
            self.update(content)

    def _content(self, view: RunView) -> Content:
        match self.entry:
            case Words() as words:
                self.add_class(words.label if words.label in ("you", "error") else "other")
                self.set_class(words.label not in ("you", "secateur", "error"), "dim")
                return Content.assemble(_label(words.label), self._hanging(words.text))
            case ToolLine() as tool:
                self.add_class("dim")
                return _tool(tool, self.toggled)
            case Earlier(run=run, goal=goal, state=state):
                self.add_class("dim")
                return Content.assemble((f"▸ run {run}", "bold"), f"   {goal}, {state}: Enter shows it again")
            case Card() as card:
                live = view.state == "working" and card.candidate.generation >= view.generation
                opened = live != self.toggled
                self.set_class(opened, "card")
                return _card(card, view) if opened else self._folded(card.candidate, view)

    def _hanging(self, text: str, indent: int = LABEL) -> str:
        """The text wrapped so that it stands beside its label."""
        width = self._width - indent
        if width < 20:  # not laid out yet, or too narrow for two columns
            return text
        return f"\n{' ' * indent}".join(_wrapped(text, width))

    def _folded(self, candidate: Candidate, view: RunView) -> Content:
        name, found = candidate.id, view.history.divergences.get(candidate.id)
        what = describe(candidate.recipe)
        state = f"KL {number(found[max(found)].value)}" if found else "KL -"
        if name in view.history.rejected:
            state, what = "rejected", f"{view.history.rejected[name]}: {what}"
        mark = "★" if view.leader == name else " "
        what = self._hanging(what, LABEL + 10)
        return Content.assemble(_label(f"{mark} {name}"), f"{state:<10}{what}")

    @property
    def copied(self) -> str:
        """What copying this entry gives: the formula of a candidate, the words of anything else."""
        match self.entry:
            case Words(text=text):
                return text
            case ToolLine(result=result):
                return result
            case Earlier(run=run):
                return run
            case Card(candidate=candidate):
                return candidate.recipe.metric


def _wrapped(text: str, width: int) -> list[str]:
    return [part for line in text.splitlines() for part in textwrap.wrap(line, width) or [""]]


def _label(text: str) -> tuple[str, str]:
    return f"{text:<{LABEL - 1}} ", "bold"


def _tool(tool: ToolLine, opened: bool) -> Content:
    sign = "▾" if opened else "▸"
    lines = tool.result.splitlines() or [""]
    if not opened:
        more = f" … {len(lines)} lines" if len(lines) > 1 else ""
        head = f"{sign} {tool.call}"
        return Content.assemble((head, "bold"), f"   {lines[0][:80]}{more}   {tool.seconds:.1f} s")
    try:
        arguments = json.dumps(json.loads(tool.arguments), indent=2, ensure_ascii=False)
    except ValueError:
        arguments = tool.arguments
    return Content.assemble((f"{sign} {tool.name}", "bold"), f"  {arguments}\n{tool.result[:_LONGEST]}")


def _saved(card: Card, view: RunView) -> str:
    """What it saved against its parent: an arrow, so that colour need not say it."""
    saved = gain_over_parent(card.candidate, view.history.candidates, view.history.divergences)
    if saved is None:
        return ""
    return f"{'▼' if saved >= 0 else '▲'} {abs(saved):.4f} {'less' if saved >= 0 else 'more'} than its parent"


def _card(card: Card, view: RunView) -> Content:
    candidate = card.candidate
    parents = f"child of {', '.join(candidate.parents)}" if candidate.parents else candidate.operator
    best = "   ★ leads" if view.leader == candidate.id else ""
    rows = [f"\n{describe(candidate.recipe)}"]
    rows += [f"\nwhy  {candidate.why}"] if candidate.why else []
    rows.append(f"\n{view.outcome(candidate.id)}   {_saved(card, view)}".rstrip())
    return Content.assemble((candidate.id, "bold"), f"   {parents}{best}", *rows)


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
