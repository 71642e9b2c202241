"""An answer as a person reads it: the little Markdown that models write, set in lines of a width.

Only what cannot be meant otherwise is Markdown: a single star is a product in the formulas of this program.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from textual.content import Content

_BOLD_ON, _BOLD_OFF, _CODE_ON, _CODE_OFF = "\ue000", "\ue001", "\ue002", "\ue003"
"""Signs for the beginning and the end of a style while lines are broken; no text has them."""
_MARKS = (("bold", _BOLD_ON, _BOLD_OFF), ("$text-accent", _CODE_ON, _CODE_OFF))
_SIGNS = re.compile("[\ue000-\ue003]")
_CODE = re.compile(r"(?<![`\w])`([^`\n]+)`(?![`\w])")
_BOLD = re.compile(r"(?<![*\w])\*\*(?=[^\s*])([^\n]+?)(?<=[^\s*])\*\*(?![*\w])")
_HEADING = re.compile(r"#{1,6} +(.+?) *#*")
_ITEM = re.compile(r"( *)(?:[-*+•]|(\d{1,3}[.)])) +(.*)")
_FENCE = re.compile(r" *(?:```|~~~)[\w-]*\s*")
LEAST = 20
"""Columns that text is never wrapped below."""


def prose(text: str, width: int, indent: int) -> Content:
    """The text in lines of `width` columns; every line but the first is moved in by `indent`."""
    lines = list(_lines(_SIGNS.sub("", text), width))
    return _styled(f"\n{' ' * indent}".join(lines))


def _lines(text: str, width: int) -> Iterator[str]:
    code, rows = False, text.splitlines()
    fences = sum(_FENCE.fullmatch(row) is not None for row in rows)
    for row in rows:
        if _FENCE.fullmatch(row) and (code or fences > 1):
            code, fences = not code, fences - 1
        elif code:
            step = max(width, LEAST)
            yield from (f"{_CODE_ON}{row[at : at + step]}{_CODE_OFF}" for at in range(0, len(row) or 1, step))
        else:
            yield from _broken(row, width)


def _broken(row: str, width: int) -> list[str]:
    """A line of Markdown, broken where it is too long; what belongs to an item stands below its first word."""
    if heading := _HEADING.fullmatch(row):
        return _wrapped(f"{_BOLD_ON}{heading[1]}{_BOLD_OFF}", width, "")
    item = _ITEM.fullmatch(row)
    if item is None:
        return _wrapped(_marked(row), width, "")
    sign = f"{item[1]}{item[2] or '•'} "
    first, *more = _wrapped(_marked(item[3]), max(LEAST, width - len(sign)), "")
    return [f"{sign}{first}", *(f"{' ' * len(sign)}{line}" for line in more)]


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    if width < LEAST:  # not laid out yet, or too narrow for two columns
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=indent) or [""]


def _marked(text: str) -> str:
    """Bold and code with signs around them; nothing within code is bold."""
    found: list[str] = []
    for place, part in enumerate(_CODE.split(text)):
        found.append(f"{_CODE_ON}{part}{_CODE_OFF}" if place % 2 else part)
    return _BOLD.sub(rf"{_BOLD_ON}\1{_BOLD_OFF}", "".join(found))


def _styled(text: str) -> Content:
    content = Content(_SIGNS.sub("", text))
    for style, on, off in _MARKS:
        for span in re.finditer(f"{on}([^{off}]*){off}", text):
            start = span.start() - len(_SIGNS.findall(text[: span.start()]))
            content = content.stylize(style, start, start + len(_SIGNS.sub("", span[1])))
    return content
