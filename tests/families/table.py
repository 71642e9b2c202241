"""docs/families.md from what was found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

WAYS = {"weights": "single weights", "2:4": "2:4, OBS", "depth": "depth", "width": "width", "experts": "experts"}
SIGNS = {"ok": "yes", "refused": "no", "crash": "**crash**", "wrong": "**wrong**", "none": ""}

Found = dict[str, Any]

HEAD = """# What can be pruned of which family

Tiny random models of every causal language model class of transformers {version}, each pruned by single weights (Wanda,
50 %), 2:4 with OBS, depth and width (a quarter of the blocks' weights) and experts (three of ten), saved, loaded by a
process where this project is not in reach, and asked for four tokens with a cache. Written by
`python -m tests.benchmarks.families`.

*yes*: done, and what was loaded has the logits and the continuation of what was saved. *no*: refused in one line.
**crash**: ended by an error that is not one line of the product. **wrong**: done, and something else than was meant.
Empty: it holds no experts. *reach* is the share of the linear and expert weights in the blocks that single weights
reached, counted from the parameters alone, without routers, gates of a mixture, norms, embeddings, convolutions, what
drives the state of a recurrence, and what a causal pass never reads (a decoder's cross-attention without its encoder).
"""


def written(found: Sequence[Found], version: str) -> str:
    """The whole page."""
    built = [one for one in found if one["built"]]
    parts = [HEAD.format(version=version), _counts(found, built), _rows(built), _reasons(built)]
    if absent := [one for one in found if not one["built"]]:
        lines = [f"| {one['family']} | {_cell(one['why'])} |" for one in absent]
        parts.append("\n".join(["## Not built tiny", "", "| family | why |", "|---|---|", *lines]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _ends(one: Found, way: str) -> str:
    return str(one.get("ways", {}).get(way, {}).get("end", "crash"))


def _reach(one: Found) -> float | None:
    reach = one.get("ways", {}).get("weights", {}).get("reached")
    return None if reach is None else float(reach)


def _counts(found: Sequence[Found], built: Sequence[Found]) -> str:
    lines = [f"Of {len(found)} classes {len(built)} were built.", "", "| | yes | no | crash | wrong | of |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for way, name in WAYS.items():
        ends = Counter(_ends(one, way) for one in built)
        whole = len(built) - ends["none"]
        lines.append(f"| {name} | {ends['ok']} | {ends['refused']} | {ends['crash']} | {ends['wrong']} | {whole} |")
    full = sum((_reach(one) or 0) >= 0.99 for one in built if _ends(one, "weights") == "ok")
    return "\n".join([*lines, f"| single weights that reach 99 % | {full} | | | | {len(built)} |"])


def _rows(built: Sequence[Found]) -> str:
    lines = ["## Families", "", f"| family | {' | '.join(WAYS.values())} | reach | why not |"]
    lines.append("|---|" + "---|" * len(WAYS) + "--:|---|")
    for one in built:
        cells = [SIGNS[_ends(one, way)] for way in WAYS]
        reach = _reach(one)
        share = "" if reach is None else f"{100 * reach:.0f} %"
        lines.append(f"| {one['family']} | {' | '.join(cells)} | {share} | {_cell('; '.join(_why(one)))} |")
    return "\n".join(lines)


def _why(one: Found) -> list[str]:
    """Every reason once, with the ways that it is of."""
    if "died" in one:
        return [one["died"]]
    said: dict[str, list[str]] = {}
    for way in WAYS:
        if why := one["ways"].get(way, {}).get("why"):
            said.setdefault(why, []).append(way)
    lines = [f"{', '.join(ways)}: {why}" for why, ways in said.items()]
    return [*lines, f"transformers does not generate with it: {one['generates']}"] if one.get("generates") else lines


def _reasons(built: Sequence[Found]) -> str:
    """The reasons by number of families; names of classes and modules, and numbers, are left out."""
    counts: Counter[str] = Counter()
    for one in built:
        counts.update({_kind(line) for line in _why(one)})
    lines = [f"| {number} | {_cell(kind)} |" for kind, number in counts.most_common(25)]
    return "\n".join(["## Reasons", "", "| families | reason |", "|--:|---|", *lines])


def _kind(line: str) -> str:
    words = [_word(word) for word in line.split()]
    return " ".join(words)


def _word(word: str) -> str:
    bare = word.strip(":,;()")
    if re.fullmatch(r"[A-Za-z0-9]*[a-z][A-Za-z0-9]*(For[A-Z]\w*|LMHeadModel|WithLMHead|Decoder)", bare):
        return "CLASS"
    if bare.count(".") >= 2:
        return "MODULE"
    return "N" if any(letter.isdigit() for letter in bare) and bare != "2:4" else word


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
