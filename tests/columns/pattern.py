"""A kind of pattern that no program has: whole columns of every matrix become zero."""

from __future__ import annotations

from typing import ClassVar, Literal

from tools.recipe.pattern import Pattern


class Columns(Pattern):
    """Whole columns of every matrix become zero."""

    kind: Literal["columns"] = "columns"

    fells: ClassVar[str] = "columns"


PATTERN = Columns
