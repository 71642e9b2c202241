"""Speech without the calls of tools that some models write into it."""

from __future__ import annotations

import re

_CALL = re.compile(r"(?m)^[ \t]*(?:```|~~~|<\|?tool|<function|\[?\s*\{)|\{\s*\"")
"""Where a call may begin: a fence, a tag, or a brace at the start of a line."""


def before_calls(text: str) -> str:
    """What comes before the first call; whatever follows it, the person sees when the answer is whole."""
    found = _CALL.search(text)
    return text if found is None else text[: found.start()].rstrip()
