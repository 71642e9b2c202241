"""Text that a terminal or a page only shows, in the order in which it was written."""

from __future__ import annotations

_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that turn the direction of writing, so that a line reads other than it is."""
_CODES = (*range(0x20), *range(0x7F, 0xA0), *_DIRECTIONS)
_CONTROLS = {code: "?" for code in _CODES if chr(code) not in "\t\n"} | {ord("\r"): None}
_ESCAPES = {code: f"\\u{code:04x}" for code in _CODES if code > 0x20}
"""Those that JSON lets stand."""


def plain(text: str) -> str:
    """The text with `?` for what is no character, commands a terminal or turns the direction of writing."""
    return text.encode("utf-8", "replace").decode().translate(_CONTROLS)


def plain_json(text: str) -> str:
    """JSON with escapes in the place of what would command a terminal or turn the direction of writing: its values stay
    what they are."""
    return text.translate(_ESCAPES)
