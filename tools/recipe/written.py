"""Patterns as a person writes them."""

from __future__ import annotations

from tools.io.errors import UsageError
from tools.recipe.pattern import WAYS, Pattern, class_of


def parse_pattern(text: str) -> Pattern:
    """Read `unstructured` (/row, /matrix, /block), `2:4`, `experts`, `experts+width`, `width`, `depth`, `width+depth`
    (each of these three also with /free).

    Raises:
        UsageError: no kind takes it.
    """
    for kind in dict.fromkeys(map(class_of, WAYS)):
        if (found := kind.parse(text.strip())) is not None:
            return found
    *known, last = ("unstructured/matrix", "unstructured/block", "width/free", *WAYS)
    raise UsageError(f'pattern "{text}" is not known: use {", ".join(known)} or {last}')
