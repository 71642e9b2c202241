"""Orders for runs: begun, gone on with, steered, ended."""

from __future__ import annotations

from typing import Any

from agent.session.talk.grammar.acts import (
    REFS,
    Act,
    Call,
    Heard,
    Unclear,
    count,
    designers,
    model,
    objects,
    positive,
    share,
    some,
    times,
)

_VERBS = ("prune", "compress", "shrink", "make", "a_prune")
_SIZES = "share number times_of nm pattern head experts smaller faster times weight sparse of_original block whole"
_LIMITS = "perplexity keep limit rise_of minutes_of candidates_of max until rise"
_WHAT = f"{_SIZES} {_LIMITS} method designer llm again model name path quoted word run"


def _prune(heard: Heard) -> Call | None:
    """What shall be pruned, how much and within which limits."""
    if heard.has("keep") and not heard.has("perplexity", "share", "number"):
        return None
    sized = _sized(heard)
    limit = heard.one("limit")
    if limit is not None and not heard.has("perplexity"):
        raise Unclear(f"{limit:g} of what? For example: perplexity under {limit:g}")
    named = model(heard, *_VERBS)
    if len(objects(heard)) and not named:
        return None
    arguments = some(
        model=named,
        method=heard.one("method"),
        max_perplexity=positive(limit, "of perplexity"),
        max_rise=positive(heard.one("rise_of"), "of rise"),
        minutes=positive(heard.one("minutes_of"), "minutes"),
        candidates=count(heard.one("candidates_of"), "candidates"),
        designer=designers(heard),
        **sized,
    )
    return Call("prune", arguments)


def _prune_result(heard: Heard) -> Call | None:
    """The result of the run, cut or thinned once more; another model that is named is not meant."""
    if heard.has(*REFS) or not heard.has("result", "pruned", "to", "nm"):  # `10 % more` may count from anywhere
        return None
    call = _prune(heard)
    return None if call is None else Call("prune", {**call.args, "model": "result"})


def _sized(heard: Heard) -> dict[str, Any]:
    """Share, pattern and speed-up of what was said."""
    speed, said = heard.one("times"), heard.one("share")
    if heard.has("faster") and said is not None and speed is None:
        speed, said = 1 + (share(said) or 0), None
    elif speed is not None and heard.has("smaller"):
        speed, said = None, 1 - 1 / (times(speed) or 1)
    elif speed is not None and not heard.has("faster"):
        raise Unclear(f"{speed:g} times what? For example: {speed:g} times faster")
    if (plain := _plain_share(heard)) is not None:
        if said is not None or speed is not None:
            raise Unclear(f"{plain:g} beside another amount; say one")
        said = plain
    kept = said is not None and (heard.has("of_original") or (heard.has("keep") and not heard.has("perplexity")))
    said = share(said)
    return some(sparsity=round(1 - said, 6) if kept and said else said, speedup=times(speed), pattern=_pattern(heard))


def _plain_share(heard: Heard) -> float | None:
    """`to 0.5`; a whole number says nothing of what it counts."""
    value = heard.one("number")
    if value is None:
        return None
    if 0 < value < 1:
        return float(value)
    raise Unclear(f"{value:g} of what? A share is written as 50 % or 0.5, and must be less than 100 %")


def _pattern(heard: Heard) -> str | None:
    if (form := heard.one("nm", "pattern")) is not None:
        return str(form)
    if heard.has("experts"):
        return "experts"
    if heard.has("head"):
        return "width"
    if heard.has("block"):
        return "depth"
    return "width+depth" if heard.has("smaller", "of_original") else None


def _bare(heard: Heard) -> Call | None:
    """`50 %`, `to 2:4`; a bare word only where the person was asked for the model."""
    if heard.has("number") and not heard.has("to", "by", "at", "sparse"):
        return None
    if not heard.has("share", "nm", "pattern", "number") and not heard.unfinished:
        return None
    words = [token for token in heard.tokens if token.kind in (*REFS, "word")]
    known = heard.unfinished or (heard.has("share", "nm") and not heard.has("word"))
    if len(words) > known:
        return None
    return Call("prune", some(model=words[0].text if words else "", minutes=heard.one("minutes_of"), **_sized(heard)))


def _go_on(heard: Heard) -> Call:
    minutes, more = heard.one("minutes_of"), heard.one("candidates_of")
    return Call("go_on", some(minutes=positive(minutes, "minutes"), candidates=count(more, "candidates")))


def _resume(heard: Heard) -> Call | None:
    if heard.has("continue") and not heard.has("we_did", "day", "run_id", *REFS):
        return None
    words = [token.text.lower() for token in heard.tokens if token.kind in REFS]
    return Call("resume", some(words=" ".join(words), day=heard.one("day")))


def _steer(heard: Heard) -> Call:
    return Call("steer", {"words": heard.text})


_ABOUT = "method pattern nm head block experts whole block_id allocation metric use try candidate weight sparse"
_THINGS = "method|pattern|nm|head|block|experts|block_id|allocation|metric"

ORDERS = (
    Act(("stop",), "after_this run", lambda heard: Call("stop"), order=True),
    Act(("pause",), "run", lambda heard: Call("pause"), order=True),
    Act(("resume|continue",), "we_did day run run_id model name path quoted past last", _resume, order=True),
    Act(("show", "run_id"), "run past", _resume, order=True),
    Act(("method", "apply|run|use", "share|nm|number"), f"{_WHAT} apply use", _prune, order=True),
    Act(("apply", "method", "prune"), f"{_WHAT} apply", _prune, order=True),
    Act(("continue|more",), "more until minutes_of candidates_of run candidate", _go_on, order=True),
    Act(("minutes_of|candidates_of", "more"), "more run", _go_on, order=True),
    Act(("prune|compress|a_prune",), f"{_WHAT} make", _prune, order=True),
    Act(("prune|compress|shrink", "result|pruned|more"), f"{_WHAT} result pruned more make", _prune_result, order=True),
    Act(("remove", "share|experts|head|block"), _WHAT, _prune, order=True),
    Act(("shrink", "model|name|path|share|nm|word|filler"), _WHAT, _prune, order=True),
    Act(("make|kindly", "smaller|faster|sparse"), _WHAT, _prune, order=True),
    Act(("faster", "times|share"), _WHAT, _prune, order=True),
    Act(("keep", "block_id"), "dense alone spare first last", _steer, order=True),
    Act(
        ("spare|alone", "block_id|block|head|experts"),
        "spare alone leave first last not keep number",
        _steer,
        order=True,
    ),
    Act(("not", _THINGS), f"{_ABOUT} not any leave", _steer, order=True),
    Act(("only|just", _THINGS), f"{_ABOUT} only", _steer, order=True),
    Act(("prefer|try|use|more", _THINGS), f"{_ABOUT} prefer more", _steer, order=True),
    Act((), "share nm pattern number times faster smaller sparse model name path word minutes_of again", _bare),
)
