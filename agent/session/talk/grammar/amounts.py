"""Numbers with what they count: a share, minutes, times as fast, a limit of the perplexity, the number of a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.session.talk.grammar.tokens import Token

_BETWEEN = ("more", "filler")
"""What may stand between a number and what it counts: ten more minutes."""


def amounts(found: Sequence[Token]) -> list[Token]:
    """The tokens, with numbers and their units made one."""
    found = _loosely(found)
    for rule in (_forms, _halves, _shares, _counted, _named, _blocks, _limits):
        found = _merged(found, rule)
    return list(found)


def _loosely(found: Sequence[Token]) -> list[Token]:
    """Without what leaves the amount as it is: to `about` 50 %, to `at least` 50 %, to `at most` 50 %."""
    limited = any(token.kind in ("perplexity", "rise", "within") for token in found)
    kept = []
    for place, token in enumerate(found):
        before, after = found[place - 1].kind if place else "", found[place + 1 : place + 3]
        shared = [one.kind for one in after][:2] == ["number", "percent"] or (
            bool(after) and after[0].kind == "fraction"
        )
        loose = token.kind in _LOOSE or (token.kind == "under" and token.text.lower() in _AT_MOST)
        if not (loose and shared and before in ("to", "by") and not limited):
            kept.append(token)
    return kept


_LOOSE = ("about", "at_least")
_AT_MOST = ("at most", "no more than", "not more than", "up to")

Rule = Callable[[Sequence[Token]], tuple[Token, int] | None]
"""What the beginning of tokens comes to together, and how many of them that takes."""


def _merged(found: Sequence[Token], rule: Rule) -> list[Token]:
    made: list[Token] = []
    place = 0
    while place < len(found):
        token, used = rule(found[place:]) or (found[place], 1)
        made.append(token)
        made += [one for one in found[place + 1 : place + used] if one.kind == "more"]
        place += used
    return made


def _together(kind: str, found: Sequence[Token], used: int, value: object) -> tuple[Token, int]:
    return Token(kind, " ".join(token.text for token in found[:used]), value), used


def _unit(found: Sequence[Token], start: int = 1) -> int:
    """The place of the next token that is no word in between."""
    while start < len(found) and found[start].kind in _BETWEEN:
        start += 1
    return start


def _halves(found: Sequence[Token]) -> tuple[Token, int] | None:
    """`half an hour` is 30 minutes, `half` a share, `twice` two times."""
    first = found[0]
    if first.kind == "times_2":
        return _together("times", found, 1, 2.0)
    if first.kind != "fraction":
        return None
    place = 2 if len(found) > 1 and found[1].kind == "a" else 1
    if len(found) > place and found[place].kind == "hours":
        return _together("minutes_of", found, place + 1, 60 * float(first.value))
    return _together("share", found, 1, float(first.value))


def _forms(found: Sequence[Token]) -> tuple[Token, int] | None:
    """`2 to 4` and `2 of 4` are 2:4, where nothing is counted by them."""
    if len(found) < 3 or found[0].kind != "number" or found[2].kind != "number":
        return None
    (n, of, m), after = found[:3], found[3].kind if len(found) > 3 else ""
    kept, group = float(n.value), float(m.value)
    if of.text.lower() not in ("to", "of", "out of") or after in (*_COUNTED, "percent", "block", "more"):
        return None
    if group not in _GROUPS or not 0 < kept < group or not kept.is_integer():
        return None
    return _together("nm", found, 3, f"{kept:g}:{group:g}")


_GROUPS = (2, 4, 8, 16, 32)
"""Sizes of the groups that people mean by N:M."""


def _named(found: Sequence[Token]) -> tuple[Token, int] | None:
    """`seed 3`, `batch 4`."""
    if len(found) > 1 and found[0].kind in _NAMED and found[1].kind == "number":
        return _together(_NAMED[found[0].kind], found, 2, float(found[1].value))
    return None


_NAMED = {"seed_word": "seed_of", "batch_word": "batch_of"}


def _shares(found: Sequence[Token]) -> tuple[Token, int] | None:
    """`50 %`, and where the sign comes first."""
    kinds = [token.kind for token in found[:2]]
    if kinds == ["number", "percent"]:
        return _together("share", found, 2, float(found[0].value) / 100)
    if kinds == ["percent", "number"]:
        return _together("share", found, 2, float(found[1].value) / 100)
    return None


_COUNTED = {
    "minutes": ("minutes_of", 1.0),
    "hours": ("minutes_of", 60.0),
    "seconds": ("minutes_of", 1 / 60),
    "candidate": ("candidates_of", 1.0),
    "samples": ("samples_of", 1.0),
    "steps": ("steps_of", 1.0),
    "times_word": ("times", 1.0),
    "bytes": ("bytes_of", 1.0),
    "billion": ("billions_of", 1.0),
}


def _counted(found: Sequence[Token]) -> tuple[Token, int] | None:
    """`ten more minutes`, `an hour`, `12 candidates`, `1.4 times`."""
    if found[0].kind not in ("number", "a"):
        return None
    place = _unit(found)
    if place == len(found) or found[place].kind not in _COUNTED:
        return None
    if found[0].kind == "a" and found[place].kind not in ("minutes", "hours"):
        return None
    kind, scale = _COUNTED[found[place].kind]
    return _together(kind, found, place + 1, scale * (1.0 if found[0].kind == "a" else float(found[0].value)))


def _blocks(found: Sequence[Token]) -> tuple[Token, int] | None:
    """`block 0`, `the first block`; candidates by their number."""
    kinds = [token.kind for token in found[:3]]
    if kinds[:2] == ["block", "number"]:
        return _together("block_id", found, 2, int(found[1].value))
    if kinds[:2] in (["first", "block"], ["last", "block"]):
        return _together("block_id", found, 2, 0 if kinds[0] == "first" else -1)
    if kinds[:2] == ["candidate", "number"] and float(found[1].value).is_integer():
        return _together("candidate_id", found, 2, f"c-{found[1].value:g}")
    return None


def _limits(found: Sequence[Token]) -> tuple[Token, int] | None:
    """`under 30` is a limit, `within 10 %` a rise."""
    if len(found) < 2 or found[0].kind not in ("under", "within"):
        return None
    if found[1].kind == "number":
        return _together("limit", found, 2, float(found[1].value))
    if found[0].kind == "under" and found[1].kind in ("minutes_of", "candidates_of"):
        return _together(found[1].kind, found, 2, found[1].value)
    if found[1].kind == "share" and found[0].kind == "within":
        return _together("rise_of", found, 2, found[1].value)
    return None
