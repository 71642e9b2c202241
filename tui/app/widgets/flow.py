"""Parts side by side, broken only between them: a number stays with its name and its unit."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len

GAP = "   "


def flow(parts: Iterable[str], width: int) -> str:
    """The parts in lines of at most `width` columns; a part that is longer has a line of its own."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{GAP}{part}" if lines else part
        if lines and cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)
