"""Words to rules: what a person says while a run is at work, read by pattern, without looking at anything else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from agent.kinds import KINDS
from agent.steering.places import places
from agent.steering.rules import Ground, Limit, Steering, blocks, spelled
from tools.expression import METRIC

CAN = 'no OBS, only depth or width, no gradients, "spare block 0", uniform only, "at most 20 candidates", stop'
"""What is obeyed without a language model, as people are told."""


@dataclass(frozen=True)
class Heard:
    """What came of words."""

    steering: Steering
    changes: tuple[str, ...] = ()
    """What is otherwise from here on, in words."""
    refused: tuple[str, ...] = ()
    """What cannot be obeyed, and why."""
    limits: tuple[Limit, ...] = ()
    unread: tuple[str, ...] = ()
    """What nobody but a language model can make sense of."""

    def then(self, other: Heard) -> Heard:
        """This, and what came of the words after it."""
        return Heard(
            other.steering,
            self.changes + other.changes,
            self.refused + other.refused,
            self.limits + other.limits,
            self.unread + other.unread,
        )


Reader = Callable[[str, str, Steering, Ground], Heard | None]
"""(clause, its sense, the rules so far, the run) -> what came of it, None where it speaks of something else."""

_STOP = re.compile(
    r"(please\s+)?(stop|halt|(that's\s+|that is\s+)?enough|conclude|finish)"
    r"(\s+(it|now|here|please|the (run|search)|searching|and|conclude|"
    r"(after|with) (this|that|the (next|current))( one| step| candidate)?))*\W*"
)
_ON = re.compile(
    r"(please\s+)?(go on|continue|keep going|carry on|don'?t stop|do not stop)( (please|now|searching))?\W*"
)
_ASKS = re.compile(
    r"^(why|how|what|which|who|when|where|is|are|does|did|do(?! not\b)|explain|compare|tell|show)\b|\?\s*$"
)
_POLITE = re.compile(r"^(please|can you|could you|would you|will you|i want you to|and|but|also|then)\s+")
_FREE = r"\bno (problem|objection|need)\b|\bnot bad\b|\b(don't|do not|not) (need|have) to\b"
_NO = (
    r"\b(no|not|never|without|avoid|drop|skip|leave out|leave off|ban|forget|don'?t|do not|"
    r"(stop|quit) (using|trying|with)?)\b"
)
_ONLY = r"\b(only|just|nothing but|exclusively)\b"
_AGAIN = r"\b(again|allowed|allow|fine|ok|okay|may|after all|use|try|back)\b"
_PREFER = r"\b(prefer|favou?r|rather|more)\b"


def stops(text: str) -> bool:
    """Whether words mean that the search shall end."""
    return _STOP.fullmatch(" ".join(text.lower().split())) is not None


def goes_on(text: str) -> bool:
    """Whether words take a stop back."""
    return _ON.fullmatch(" ".join(text.lower().split())) is not None


def stopped(said: Iterable[str]) -> bool:
    """Whether the last word on it is that the search shall end."""
    last = False
    for text in said:
        last = stops(text) or (last and not goes_on(text))
    return last


def steering(said: Iterable[str], ground: Ground) -> Steering:
    """What holds after all that was said; later words outrank earlier ones."""
    now = Steering()
    for line in said:
        now = heard(line, now, ground).steering
    return now


def heard(line: str, now: Steering, ground: Ground) -> Heard:
    """What one line changes in the rules that hold, and what of it cannot be obeyed."""
    found = Heard(now)
    text = _POLITE.sub("", " ".join(line.split()).replace("’", "'"))
    if stops(text):
        return replace(found, changes=("the search ends, and concludes with the best so far",))
    if goes_on(text):
        return replace(found, changes=("the search goes on",))
    if _ASKS.search(text.lower()) and not _POLITE.match(line.lower()):
        return replace(found, unread=(line,))
    if (reason := _deaf(ground)) and text:
        return replace(found, refused=(reason,))
    rest = text
    if (placed := places(text, sense(text.lower()), ground)) is not None:
        numbers, rest, refusal = placed
        found = _spare(numbers, sense(text.lower()), refusal, found)
    for clause in re.split(r"\s*(?:[;.!]\s|[;.!]$|,|\band\b|\bbut\b)\s*", rest):
        if clause.strip(" .,;!?"):
            found = found.then(_clause(clause.strip(), found.steering, ground))
    return found


def sense(low: str) -> str:
    """`no`, `only`, `prefer`, `again`, or nothing of the kind."""
    if re.search(_FREE, low):
        return "again"
    for name, words in (("no", _NO), ("only", _ONLY), ("prefer", _PREFER), ("again", _AGAIN)):
        if re.search(words, low):
            return name
    return ""


def _deaf(ground: Ground) -> str:
    """Why a run has nothing to steer."""
    if not ground.goal.searches:
        return "this run applies one recipe, nothing is searched that could be steered"
    if ground.goal.pattern.fells not in KINDS:
        return f"for {ground.goal.pattern} only the published methods are compared: there is nothing to steer"
    return ""


def _clause(clause: str, now: Steering, ground: Ground) -> Heard:
    low = clause.lower()
    for read in (_limit, _compensation, _pattern, _allocation, _metric):
        if (found := read(clause, sense(low), now, ground)) is not None:
            return found
    return Heard(now, unread=(clause,))


def _spare(numbers: frozenset[int], how: str, refusal: str, before: Heard) -> Heard:
    """Blocks that the person names are spared, or may fall again."""
    now = before.steering
    if refusal:
        return before.then(Heard(now, refused=(refusal,)))
    if how == "again":
        left = now.spared - numbers if numbers else frozenset()
        return before.then(Heard(replace(now, spared=left), (f"{blocks(now.spared - left)} may fall again",)))
    more: tuple[str, ...] = (f"{blocks(numbers)} stay{'s' if len(numbers) == 1 else ''} whole from here on",)
    more += ("which takes an allocation: it is allowed again",) if now.uniform else ()
    return before.then(Heard(replace(now, spared=now.spared | numbers, uniform=False), more))


_COMPENSATIONS = {
    "obs": r"\bobs\b|\boptimal brain surgeon\b",
    "least_squares": r"\bleast[- ]squares\b",
    "bias": r"\bbias(es)?\b",
}
_ANY = r"\bcompensat\w*|\bupdat(e|es|ing)\b|\brefitting\b"


def _compensation(clause: str, how: str, now: Steering, ground: Ground) -> Heard | None:
    low, pattern = clause.lower(), ground.goal.pattern
    named = {kind for kind, words in _COMPENSATIONS.items() if re.search(words, low)}
    if not named and re.search(_ANY, low):
        named = set(pattern.compensations)
    if not named or not how:
        return None
    names = ", ".join(spelled(named))
    if how == "only":
        return Heard(now, refused=(f"{names} cannot be made the only one, but others can be barred",))
    if not named & set(pattern.compensations):
        return Heard(now, (f"{names} is not used for {pattern} anyhow",))
    if how == "no":
        return Heard(replace(now, barred=now.barred | named), (f"no {names} from here on",))
    if not ground.goal.compensation_allowed:
        return Heard(now, refused=("this run was started without compensation: another one has to be",))
    return Heard(replace(now, barred=now.barred - named), (f"{names} may be used again",))


_KINDS = {
    "depth": r"\bdepth\b|\bwhole (blocks|layers)\b",
    "width": r"\bwidth\b|\b(heads|neurons)\b",
    "n:m": r"\bn:m\b|\b\d+:\d+\b|\bsemi-?structured\b",
    "unstructured": r"\bunstructured\b|\bsingle weights\b",
    "experts": r"\bexperts\b",
}


def _pattern(clause: str, how: str, now: Steering, ground: Ground) -> Heard | None:
    named = [kind for kind, words in _KINDS.items() if re.search(words, clause.lower())]
    if not named or not how:
        return None
    pattern = ground.goal.pattern
    own = set(pattern.kind.split("+"))
    if how in ("again", "prefer"):
        freed = replace(now, kind="") if set(named) - {now.kind} else now
        if not set(named) <= own:
            return _another(now, ground)
        return Heard(freed, (f"{pattern} as at the start",))
    left = own & set(named) if how == "only" else own - set(named)
    if not left:
        return _another(now, ground)
    if left == own:
        return Heard(replace(now, kind=""), (f"{pattern} it is anyhow",))
    (kind,) = left
    return Heard(replace(now, kind=kind), (f"only {kind} from here on",))


def _another(now: Steering, ground: Ground) -> Heard:
    start = "another pattern takes a run of its own"
    return Heard(now, refused=(f"this run is for {ground.goal.pattern}: {start}",))


_UNIFORM = r"\buniform\b|\b(same|equal) (share|sparsit\w+|rates?)\b"
_ALLOCATION = r"\ballocat\w+\b"


def _allocation(clause: str, how: str, now: Steering, ground: Ground) -> Heard | None:
    low, pattern = clause.lower(), ground.goal.pattern
    same, speaks = bool(re.search(_UNIFORM, low)), bool(re.search(_ALLOCATION, low))
    if not (same or speaks) or (not how and not same):
        return None
    wanted = (how in ("only", "again", "prefer", "")) if same else how == "no"
    if not pattern.allocates:
        return Heard(now, (f"{pattern} leaves nothing to allocate anyhow",))
    if not wanted:
        return Heard(replace(now, uniform=False), ("allocations may be used again",))
    if pattern.whole_blocks and now.kind != "width":
        return Heard(now, refused=(f"with {pattern} the allocation says which blocks fall: it cannot be left out",))
    freed = ("so that no block is spared any more",) if now.spared else ()
    return Heard(replace(now, uniform=True, spared=frozenset()), ("no allocation from here on", *freed))


_SPOKEN = {
    r"\bgradients?\b": {"G", "R"},
    r"\bhessian\b": {"D"},
    r"\bvariances?\b|\bfluctuat\w+\b": {"X_var"},
    r"\bmeans?\b": {"X_mean"},
    r"\bmaxim\w+\b": {"X_max"},
    r"\blogarithms?\b": {"log"},
    r"\bexponentials?\b": {"exp"},
    r"\bsquare roots?\b": {"sqrt"},
    r"\branks?\b": {"rank", "row_rank", "col_rank"},
}
_NAMES = frozenset(name for name in (*METRIC.terminals, *METRIC.operators) if name.isidentifier() and name != "W")


def _metric(clause: str, how: str, now: Steering, ground: Ground) -> Heard | None:
    named = set(re.findall(r"\b[A-Za-z_]\w*", clause)) & _NAMES
    for words, meant in _SPOKEN.items():
        named |= meant if re.search(words, clause.lower()) else set()
    if not named or not how:
        return None
    names = ", ".join(sorted(named))
    if how == "no":
        found = replace(now, avoided=now.avoided | named, preferred=now.preferred - named)
        return Heard(found, (f"metrics without {names} from here on",))
    if how == "only":
        return Heard(now, refused=(f"metrics cannot be of {names} alone; others can be avoided, or these preferred",))
    freed = replace(now, avoided=now.avoided - named)
    if how == "again" and now.avoided & named:
        return Heard(freed, (f"metrics may have {names} again",))
    return Heard(
        replace(freed, preferred=now.preferred | named), (f"every second metric has {names}, where any can be",)
    )


_COUNTS = {
    **{
        word: number
        for number, word in enumerate(
            ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 1
        )
    },
    "a": 1,
    "an": 1,
    "half an": 0.5,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
}
_AMOUNT = re.compile(
    rf"(\d+(?:[.,]\d+)?|{'|'.join(sorted(_COUNTS, key=len, reverse=True))})\s+(more\s+|further\s+|extra\s+)?"
    r"(candidates?|recipes?|tries|minutes?|mins?|hours?|h)\b(\s+more\b)?"
)


def _limit(clause: str, how: str, now: Steering, ground: Ground) -> Heard | None:
    low = clause.lower()
    found = _AMOUNT.search(low)
    if found is None:
        if re.search(r"\b(fewer|less|more)\b.*\b(candidates|minutes|time)\b|\bhurry\b", low):
            return Heard(now, refused=('how many candidates or minutes? For example "at most 20 candidates"',))
        return None
    amount = _COUNTS[found[1]] if found[1] in _COUNTS else float(found[1].replace(",", "."))
    of = "candidates" if found[3][0] in "crt" else "minutes"
    more = bool(found[2] or found[4])
    bound = how == "only" or bool(re.search(r"\bat most\b|\bno more than\b|\bstop after\b|\bmax", low))
    if of == "minutes":
        amount *= 60 if found[3][0] == "h" else 1
    elif amount < 1 or amount != int(amount):
        return Heard(now, refused=(f"{amount:g} candidates cannot be measured",))
    if amount <= 0:
        return Heard(now, refused=(f"{amount:g} {of} are no time",))
    return Heard(now, limits=(Limit(of, amount, more=more or "stop after" in low, beyond=more and not bound),))
