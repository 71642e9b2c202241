"""What a language model thought before it answered, on one line."""

from __future__ import annotations

from runs.plain import plain

LABEL = "thinking"


def folded(text: str, width: int) -> str:
    """All of it on one line, cut to the width."""
    line = " ".join(plain(text).split())
    return line if len(line) <= width else f"{line[: max(1, width - 1)]}…"
