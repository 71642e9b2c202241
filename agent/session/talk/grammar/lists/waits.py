"""What is said of the plan that waits and of what follows it, and of where tasks come from."""

from __future__ import annotations

from agent.session.talk.grammar.acts import Act, Call, Heard, Twofold
from agent.session.talk.grammar.tokens import Token

_PARTS = {"evaluate": "evaluation", "export": "export", "recover": "recovery", "upload": "upload"}
"""Kind of a token -> what it is called where it follows."""
_PARTED = "|".join(_PARTS)
_WILL = ("will", "wird", "werden", "going to", "gaat", "wordt")
_NO = ("not", "stop", "remove", "off")
_ARTICLES = ("the", "den", "die", "das", "dem", "der", "la", "el", "il", "lo", "le", "l'", "de", "het", "a", "o")


def _withdrawn(heard: Heard) -> Call:
    """One part, or several where each has its article or its own `no`: they are things then, and no orders.

    Raises:
        Twofold: the second may be an order: `don't export it and evaluate it`.
    """
    places = [place for place, token in enumerate(heard.tokens) if token.kind in _PARTS]
    parts = list(dict.fromkeys(_PARTS[heard.tokens[place].kind] for place in places))
    if len(parts) > 1 and not all(_is_thing(heard.tokens, place) for place in places):
        raise Twofold(f'{" and ".join(parts)} at once; say them one after the other: "without the {parts[0]}"')
    return Call("withdraw", {"parts": parts})


def _is_thing(tokens: list[Token], place: int) -> bool:
    before = tokens[place - 1] if place else None
    return before is not None and (before.kind in _NO or before.text.lower() in _ARTICLES)


def _plan(heard: Heard) -> Call:
    return Call("what_waits")


def _what_waits(heard: Heard) -> Call | None:
    """What of a kind is to come; what was done is another question."""
    parts = [_PARTS[token.kind] for token in heard.tokens if token.kind in _PARTS]
    parts = list(dict.fromkeys([*parts, *map(str, heard.all("will_be"))]))
    going = heard.has("going") and any(token.text.lower() == "going" for token in heard.tokens)
    will = heard.has("will_be") or going or any(token.text.lower() in _WILL for token in heard.tokens)
    return Call("what_waits", {"part": parts[0]}) if will and len(parts) == 1 else None


def _tasks_of(heard: Heard) -> Call | None:
    """The folder of the person's own tasks."""
    named = [token for token in heard.tokens if token.kind in ("path", "quoted", "word", "name")]
    sure = [one for one in named if one.kind in ("path", "quoted") or heard.before(heard.tokens.index(one)) == "in"]
    if len(named) != 1 or not sure:
        return None
    return Call("use_tasks", {"folder": str(named[0].value)})


WAITS = (
    Act(("plan", "what|show|tell|explain|ask"), "what show tell explain ask aux run about", _plan),
    Act(("|".join(_NO), _PARTED), "spare queued", _withdrawn, order=True),
    Act(("what", f"{_PARTED}|will_be"), "aux ask going", _what_waits),
    Act(("task_word", "path|quoted|word|name", "use|in"), "use", _tasks_of, order=True),
)
"""In the order in which they are tried."""
