"""A generation in one line, or with all that was thought, used, proposed and measured in it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from textual.content import Content

from runs.candidate import Candidate
from runs.fold.summary import describe
from runs.fold.thoughts import gain_over_parent
from runs.fold.words import number
from tui.app.view import Card, Generation, RunView, Speech, ToolLine, Words
from tui.app.widgets.links import linked

LABEL = 12
"""Columns of a label."""
LEAST = 40
"""Columns that text is never wrapped below."""


def told_in_a_line(generation: Generation, view: RunView) -> Content:
    """What it came to, and while it is worked on, what goes on."""
    names = [card.candidate.id for card in generation.cards]
    measured = [name for name in names if name in view.history.divergences]
    rejected = sum(name in view.history.rejected for name in names)
    parts = [
        f"{len(names)} design{'' if len(names) == 1 else 's'}" if names else "",
        f"{len(measured)} measured" if measured else "",
    ]
    parts += [f"{rejected} rejected" if rejected else "", _best(measured, view), _now(generation, names, view)]
    head = f"▸ generation {generation.number}"
    return linked(Content.assemble((head, "bold"), *(f"   {part}" for part in parts if part)))


def _best(names: list[str], view: RunView) -> str:
    if not names:
        return ""
    best = min(names, key=view.history.fitness)
    return f"best {'★ ' if view.leader == best else ''}{best} {_kl(best, view)}"


def _kl(name: str, view: RunView) -> str:
    """The divergence over most tokens; in brackets where others were measured over more."""
    found = view.history.divergences[name]
    text = number(found[max(found)].value)
    return f"KL {text}" if max(found) == max(view.history.lowest) else f"KL ({text})"


def _now(generation: Generation, names: list[str], view: RunView) -> str:
    """What goes on in it."""
    if view.state != "working" or generation.number < view.generation:
        return ""
    waiting = [name for name in names if name not in view.history.divergences and name not in view.history.rejected]
    return f"● {view.doing} {waiting[0]}" if waiting and view.doing == "measuring" else f"● {view.doing}"


def told_in_full(generation: Generation, view: RunView, width: int) -> Content:
    """A line or two for each of its members; ids open with a click."""
    lines = [Content.assemble((f"▾ generation {generation.number}", "bold"))]
    for member in generation.members:
        lines += _member(member, view, max(LEAST, width))
    return linked(Content("\n").join(lines))


def _member(member: Words | ToolLine | Card | Speech, view: RunView, width: int) -> Iterator[Content]:
    match member:
        case Card(candidate=candidate):
            yield from _candidate(candidate, view, width)
        case ToolLine() as tool:
            first, *more = tool.result.splitlines() or [""]
            count = f" … {len(more) + 1} lines" if more else ""
            yield Content.styled(_cut(f"  {tool.line}   {first}{count}", width), "dim")
        case Speech() as speech:
            said = " ".join((speech.text or speech.thinking).split())
            what = "thinking" if speech.thinking else "designer"
            yield Content.styled(_cut(f"  ▸ {what} {speech.call}   {said}", width), "dim")
        case Words(label=label, text=text):
            yield _hanging(f"  {label}", " ".join(text.split()), width)


def _candidate(candidate: Candidate, view: RunView, width: int) -> Iterator[Content]:
    name, history = candidate.id, view.history
    found, mark = history.divergences.get(name), "★" if view.leader == name else " "
    state = _kl(name, view) if found else "rejected" if name in history.rejected else "KL -"
    by = f"   by {candidate.designer}" if history.chosen and candidate.generation else ""
    why = f": {history.rejected[name]}" if name in history.rejected else ""
    saved = gain_over_parent(candidate, history.candidates, history.divergences)
    gain = "" if saved is None else f"   {'▼' if saved >= 0 else '▲'} {abs(saved):.4f} against its parent"
    yield _hanging(f"{mark} {name}", f"{state}{why}   {describe(candidate.recipe)}{by}{gain}", width)
    if candidate.why:
        yield Content.styled(_cut(f"{' ' * LABEL}why {' '.join(candidate.why.split())}", width), "dim")


def _hanging(label: str, text: str, width: int) -> Content:
    wrapped = textwrap.wrap(text, width - LABEL) or [""]
    return Content.assemble((f"{label:<{LABEL - 1}} ", "bold"), f"\n{' ' * LABEL}".join(wrapped))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
