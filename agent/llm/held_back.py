"""What of a text that is still being written may be shown: calls of tools are no speech, however they are wrapped.

What may become a call is held back from its first character on (the brace, or the fence, tag or bracket around it),
and shown once it is sure to be none.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from agent.llm.plain_calls import called, object_at

AROUND = 200
"""Characters around a call that are looked at."""
_OPENING = re.compile(r"(?:(?:`{3,}|~{3,})[\w-]*+\s*+|<[^<>\n]{1,30}+>\s*+|\[\w*+\]?\s*+)+\Z")
"""What stands before a call: fence, tag, list, or a marker as [TOOL_CALLS]."""
_BEGUN = re.compile(r"(?:(?:`++|~++)[\w-]*+\s*+|<[^<>\n]{0,30}+>?\s*+|\[\w*+\]?\s*+)+\Z")
"""Every beginning of that."""
_CLOSING = re.compile(r"(?:[\s,;\]]|`{3,}(?![\w`])|~{3,}(?![\w~])|<[^<>\n]{1,30}+>(?!\s*+\{))*")
"""What stands behind a call; a fence with a word, and a tag before a brace, belong to the next one."""
_ENDING = re.compile(r"(?:[\s,;\]`~]|<[^<>\n]{0,30}+>?)*+")
"""Every beginning of that."""


def parted(text: str, known: Collection[str], *, whole: bool) -> tuple[str, str]:
    """What of a text is said, without the calls of known tools, and the rest, which is to be asked about again.

    Args:
        whole: whether nothing follows; then nothing is held back.

    However a text is cut into pieces, the pieces of speech together are what is said of the whole.
    """
    said, place, start = "", 0, text.find("{")
    while start >= 0:
        value, end = object_at(text, start)
        if end == 0:
            if not whole:
                return _up_to(said, text, place, start)
            end = start + 1
        if value is not None and called(value, known):
            opening = _OPENING.search(text, max(place, start - AROUND), start)
            begin = opening.start() if opening else start
            if not whole and _ENDING.fullmatch(text, end):
                return _up_to(said, text, place, start)
            said += text[place:begin]
            closing = _CLOSING.match(text, end)
            place = end = closing.end() if closing else end
        start = text.find("{", end)
    return (said + text[place:], "") if whole else _up_to(said, text, place, len(text))


def _up_to(said: str, text: str, place: int, end: int) -> tuple[str, str]:
    """Everything before `end`, but for what may be around a call that begins there."""
    begun = _BEGUN.search(text, max(place, end - AROUND), end)
    cut = begun.start() if begun else end
    return said + text[place:cut], text[cut:]
