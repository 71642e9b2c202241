"""Text that a terminal only shows."""

from __future__ import annotations

_CONTROLS = {code: "?" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"} | {ord("\r"): None}


def plain(text: str) -> str:
    """The text with `?` for what is no character, or commands a terminal."""
    return text.encode("utf-8", "replace").decode().translate(_CONTROLS)
