"""What a language model thought before it answered: one dim line."""

from __future__ import annotations

import shutil

from runs.plain import plain

LABEL = "thinking"
_DIM, _OFF = "\x1b[2m", "\x1b[0m"


def folded(text: str, width: int) -> str:
    """All of it on one line, cut to the width."""
    line = " ".join(plain(text).split())
    return line if len(line) <= width else f"{line[: max(1, width - 1)]}…"


def thought_line(text: str, *, color: bool) -> str:
    """As the conversation in plain lines shows it.

    Args:
        color: whether a terminal reads it, which can show it dim.
    """
    line = folded(f"{LABEL}  {text}", shutil.get_terminal_size().columns)
    return f"{_DIM}{line}{_OFF}" if color else line
