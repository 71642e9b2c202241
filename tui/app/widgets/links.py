"""Ids in text (c-12, t-3, m-7, calls as 3/design/2) that open what they name."""

from __future__ import annotations

import re

from textual.content import Content
from textual.style import Style

_ID = re.compile(r"\b[ctm]-\d+\b|\b\d+/(?:reason|design)(?:-\d+)?/\d+\b")


def ids(text: str) -> list[str]:
    """The ids that a text names, each once, in their order."""
    return list(dict.fromkeys(_ID.findall(text)))


def linked(content: Content) -> Content:
    """The same content, whose ids open with a click."""
    for found in _ID.finditer(content.plain):
        style = Style.from_meta({"@click": f"app.open_id('{found.group()}')"}) + Style(underline=True)
        content = content.stylize(style, *found.span())
    return content
