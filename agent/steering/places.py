"""Which blocks words name, and whether they can be spared."""

from __future__ import annotations

import re

from agent.steering.rules import Ground, blocks
from tools.recipe import Structured

MOST = 0.95
"""The largest share that the blocks which are not spared may have to give."""
_SPARE = r"(?:spare|keep|protect|leave|preserve|do not touch|don't touch|do not prune|don't prune|prune|release|free)"
_ENDS = r"(?:the\s+)?(?:very\s+)?(?:first|last)(?:\s+(?:\d+|two|three|four))?"
_NUMBERED = r"(?:blocks?|layers?)\s+(?P<numbers>\d+(?:\s*(?:,|and|to|-|–|\s)\s*\d+)*)"
_NAMED = re.compile(
    rf"\b{_SPARE}\s+(?:only\s+)?(?:the\s+)?(?:{_NUMBERED}|(?P<ends>{_ENDS}(?:\s+(?:blocks?|layers?))?"
    rf"(?:\s+and\s+{_ENDS})?\s+(?:blocks?|layers?))|(?P<all>(?:all|every|any) blocks?))"
    r"(?:\s+(?:alone|whole|dense|untouched|as (?:it is|they are)|again|from here on|please))*",
    re.I,
)
_FREED = re.compile(rf"\b{_NUMBERED}\s+(?:may|can)\s+(?:fall|be pruned|go)(?:\s+again)?", re.I)
_COUNTS = {"two": 2, "three": 3, "four": 4}


def places(text: str, how: str, ground: Ground) -> tuple[frozenset[int], str, str] | None:
    """The blocks that are named, the words that are left, and why they cannot be spared; None where none is named."""
    found = _NAMED.search(text) or _FREED.search(text)
    if found is None:
        return None
    again = how == "again" or found.re is _FREED
    if not again and re.match(r"(prune|release|free)\b", found[0], re.I):
        return None
    rest = f"{text[: found.start()]} {text[found.end() :]}".strip()
    rest = re.sub(r"^(\s*(no need to|do not|don't|ok(ay)?|fine|may|again)\b)+", "", rest) if again else rest
    named = found.groupdict()
    if named.get("all"):
        return frozenset(), rest, "" if again else "not every block can be spared"
    if named["numbers"]:
        numbers, refusal = _numbers(named["numbers"]), ""
    else:
        numbers, refusal = _ends(named["ends"], len(ground.sizes))
    return numbers, rest, refusal or ("" if again else _beyond(numbers, ground))


def _numbers(text: str) -> frozenset[int]:
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:\s*(?:to|-|–)\s*(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _ends(text: str, count: int) -> tuple[frozenset[int], str]:
    found: set[int] = set()
    for end, number in re.findall(r"(first|last)(?:\s+(\d+|two|three|four)\b)?", text.lower()):
        many = _COUNTS.get(number) or int(number or 1)
        if end == "last" and not count:
            return frozenset(), "which block is the last one is known once the model is open: say it again then"
        found |= set(range(many) if end == "first" else range(max(0, count - many), count))
    return frozenset(found), ""


def _beyond(numbers: frozenset[int], ground: Ground) -> str:
    """Why these blocks cannot be spared."""
    pattern, sizes, sparsity = ground.goal.pattern, ground.sizes, ground.goal.sparsity
    if not pattern.allocates:
        return f"{pattern} takes the same share of every block: none can be spared"
    if pattern.even:
        free = f": {pattern.kind}/free can spare some, in a run of its own" if isinstance(pattern, Structured) else ""
        return f"{pattern} makes all blocks alike{free}"
    if pattern.timed is not None:
        return "a target of time is spread by what was timed: no block can be spared"
    if not sizes:
        return ""
    if absent := [n for n in sorted(numbers) if n >= len(sizes)]:
        return f"there is no {blocks(absent)}: the model has blocks 0 to {len(sizes) - 1}"
    rest = sum(size for n, size in enumerate(sizes) if n not in numbers)
    needed = sparsity * sum(sizes)
    if needed > MOST * rest:
        return f"without {blocks(numbers)}, {100 * sparsity:.3g} % takes more than {100 * MOST:.0f} % of the others"
    return ""
