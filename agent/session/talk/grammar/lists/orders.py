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
    is_text,
    model,
    objects,
    positive,
    share,
    some,
    times,
)
from agent.session.talk.grammar.behind import behind
from agent.session.talk.grammar.said import in_english
from agent.session.talk.grammar.tokens import Token
from agent.session.talk.grammar.whole import LIMIT

_VERBS = ("prune", "compress", "shrink", "make", "a_prune")
_SIZES = "share number times_of nm pattern head experts smaller faster times weight sparse of_original block whole"
_LIMITS = "perplexity keep limit rise_of minutes_of candidates_of max until rise"
_SET = "seed_of device calibrate text task text_word structured"
_NAMED = "method method_word designer designer_word llm again model name path quoted word run"
_WHAT = f"{_SIZES} {_LIMITS} {_SET} {_NAMED} only left fit bytes_of machine uniform allocation"


def _prune(heard: Heard) -> Call | None:
    """What shall be pruned, how much and within which limits."""
    if heard.has("keep") and not heard.has("perplexity", "share", "number"):
        return None
    if behind(heard.tokens):
        return None
    _can_be_asked(heard)
    sized, chosen = _sized(heard), _chosen(heard)
    if chosen is None:
        return None
    limit = heard.one("limit")
    if limit is not None and not heard.has("perplexity"):
        raise Unclear(f"{limit:g} of what? For example: perplexity under {limit:g}")
    others = Heard([token for token in heard.tokens if not _is_text(token)], heard.text)
    named = model(others, *_VERBS)
    if len(objects(others)) and not named:
        return None
    arguments = some(
        **chosen,
        model=named,
        method=heard.one("method"),
        max_perplexity=positive(limit, "of perplexity"),
        max_rise=positive(heard.one("rise_of"), "of rise"),
        minutes=positive(heard.one("minutes_of"), "minutes"),
        candidates=count(heard.one("candidates_of"), "candidates"),
        designer=designers(heard),
        rules=_uniform(heard),
        **sized,
    )
    return Call("prune", arguments)


def _prune_result(heard: Heard) -> Call | None:
    """The result of the run, cut or thinned once more; another model that is named is not meant."""
    if heard.has(*REFS) or not heard.has("result", "pruned", "to", "nm"):  # `10 % more` may count from anywhere
        return None
    call = _prune(heard)
    return None if call is None else Call("prune", {**call.args, "model": "result"})


def _is_text(token: Token) -> bool:
    return token.kind == "path" and is_text(str(token.value))


def _can_be_asked(heard: Heard) -> None:
    """Raises Unclear where the amount is none that can be asked for here."""
    if heard.has("bytes_of", "machine", "fit"):
        raise Unclear(
            'a size in bytes or a machine is no amount here; "what is MODEL?" tells how big it is: say how much '
            'smaller, as "make MODEL 30 % smaller", or export fewer bits, as "export it as gguf q8_0 to x.gguf"'
        )
    named = {token.text.lower() for token in heard.tokens if token.kind == "head"}
    if named and not (any("head" in text for text in named) and any("neuron" in text for text in named)):
        raise Unclear(
            f"{', '.join(sorted(named))} alone cannot be asked for: heads and neurons fall together, by width: "
            '"prune MODEL by 30 % in width"'
        )
    if heard.has("allocation") and not heard.has("uniform"):
        raise Unclear(
            "an allocation cannot be ordered of a prune, but the uniform one: a search designs its own, and "
            '"prune MODEL with owl to 50 %" applies a method that has one'
        )
    if heard.has("number") and heard.has("block"):
        raise Unclear('blocks are asked for as a share: "prune MODEL by 20 % in depth"')


def _uniform(heard: Heard) -> tuple[str, ...]:
    """The rule that each block loses the same share, where that was said.

    Raises:
        Unclear: with a pattern or a method, which have an allocation of their own or none.
    """
    if not _of_each_block(heard) and not heard.has("uniform"):
        return ()
    if heard.has("pattern", "nm", "method", "experts", "head") or not heard.has("share", "number"):
        raise Unclear('a share of each block is asked for alone: "prune MODEL to 50 % per block"')
    return ("uniform only",)


def _of_each_block(heard: Heard) -> bool:
    """`per block`, `in each block`; no whole blocks are meant."""
    pairs = zip(heard.tokens, heard.tokens[1:], strict=False)
    return any(token.kind == "block" and word.text.lower() in _EACH for word, token in pairs)


_EACH = ("per", "each", "pro", "jede", "jeder", "jedem", "jeden", "par", "chaque", "cada", "por", "ogni", "elke")


def _chosen(heard: Heard) -> dict[str, Any] | None:
    """Seed, device and calibration text; None where a text or a task stands there for something else."""
    texts = heard.all("text") + ["wikitext2"] * (heard.all("task") == ["wikitext"])
    texts += [str(token.value) for token in heard.tokens if _is_text(token)]
    if (heard.has("task") and heard.all("task") != ["wikitext"]) or (bool(texts) != heard.has("calibrate")):
        return None
    if len(texts) > 1:
        raise Unclear(f"{' and '.join(texts)} at once; say one")
    seed = heard.one("seed_of")
    if seed is not None and (seed < 0 or seed != int(seed)):
        raise Unclear(f"seed {seed:g}: it must be a whole number from 0")
    found = some(calibration=texts[0] if texts else None, device=heard.one("device"))
    return found if seed is None else {**found, "seed": int(seed)}


def _set(heard: Heard) -> Call | None:
    """What holds of the prune that is asked for next, or that waits for the rest."""
    chosen = _chosen(heard)
    others = [token for token in heard.tokens if token.kind in (*REFS, "word") and not _is_text(token)]
    return Call("prune", chosen) if chosen and not others and not heard.has("ask") else None


def _redo(heard: Heard) -> Call | None:
    """The order of this run, with something else in it."""
    call = _prune(heard)
    return None if call is None else Call("prune", {**call.args, "again": True})


def _foresee(heard: Heard) -> Call | None:
    call = _prune(heard)
    return None if call is None else Call("foresee", call.args)


def _sized(heard: Heard) -> dict[str, Any]:
    """Share, pattern and speed-up of what was said."""
    speed, said = heard.one("times"), heard.one("share")
    quick = heard.has("faster", "fast")
    if speed is not None and not quick and not heard.has("smaller"):
        raise Unclear(f"{speed:g} times what? For example: {speed:g} times faster")
    if speed is not None and said is not None:
        raise Unclear("a share and a speed-up at once; say one, as the other follows from it")
    if quick and said is not None and speed is None:
        speed, said = 1 + (share(said) or 0), None
    elif speed is not None and heard.has("smaller"):
        speed, said = None, 1 - 1 / (times(speed) or 1)
    if (plain := _plain_share(heard)) is not None:
        if said is not None or speed is not None:
            raise Unclear(f"{plain:g} beside another amount; say one")
        said = plain
    kept = said is not None and (
        heard.has("of_original", "left") or (heard.has("keep") and not heard.has("perplexity"))
    )
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
        return None if _of_each_block(heard) else "depth"
    return "width+depth" if heard.has("smaller", "of_original", "structured", "big") else None


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


def _go_on(heard: Heard) -> Call | None:
    if any(token.kind == "show" and token.text.lower() != "give" for token in heard.tokens):
        return None
    minutes, more = heard.one("minutes_of"), heard.one("candidates_of")
    return Call("go_on", some(minutes=positive(minutes, "minutes"), candidates=count(more, "candidates")))


def _resume(heard: Heard) -> Call | None:
    if heard.has("continue") and not heard.has("we_did", "day", "run_id", *REFS):
        return None
    words = [token.text.lower() for token in heard.tokens if token.kind in REFS]
    return Call("resume", some(words=" ".join(words), day=heard.one("day")))


def _steer(heard: Heard) -> Call:
    return Call("steer", {"words": in_english(heard)})


def _same_share(heard: Heard) -> Call:
    """No allocation, or one again."""
    return Call("steer", {"words": "no uniform allocation" if heard.has("not") else "uniform only"})


def _limit(heard: Heard) -> Call | None:
    """`at most 40 candidates`: of the order that waits, be it for the rest or for a yes, else of the run at work."""
    minutes, candidates = heard.one("minutes_of"), heard.one("candidates_of")
    limits = some(minutes=positive(minutes, "minutes"), candidates=count(candidates, "candidates"))
    if heard.unfinished:
        return Call("prune", limits)
    if all(token.text[0].isdigit() for token in heard.tokens) and not heard.has("only"):
        return None
    return Call(LIMIT, limits)


def _everywhere(heard: Heard) -> bool:
    """Whether it was said in words that are an order by themselves: the same share everywhere."""
    return any(token.kind == "uniform" and " " in token.text for token in heard.tokens)


def _own_formula(heard: Heard) -> Call:
    raise Unclear(
        f"{heard.one('expression')} cannot be ordered of a search, which designs its own; "
        f'"try {heard.one("expression")} on layer 3" tells what it would do, "only wanda" keeps a run to a method'
    )


def _queue(heard: Heard) -> Call | None:
    """What follows the run at work; an order about it takes it back."""
    back = heard.has("remove", "stop", "not", "no_word", "emptied")
    return None if heard.has("prune") else Call("queue", {"drop": True} if back else {})


def _remove_run(heard: Heard) -> Call:
    return Call("remove_run", some(run=heard.one("run_id")))


def _remove_all(heard: Heard) -> Call | None:
    """Every run there is; `everything of the run` is one."""
    runs = [token.text.lower() for token in heard.tokens if token.kind == "run"]
    every = [token.text.lower() for token in heard.tokens if token.kind == "all"]
    plural = runs[0] in _PLURAL or every == ["every"]
    return Call("remove_run", {"run": "all"}) if len(runs) == 1 and plural and every[0] != "everything" else None


_PLURAL = frozenset({"runs", "jobs", "experiments", "läufe", "ejecuciones", "búsquedas", "esecuzioni", "ricerche"})
_PLURAL |= {"exécutions", "recherches", "запуски", "execuções", "przebiegi"}
_ABOUT = (
    "compensation method pattern nm head block experts whole block_id allocation metric use try candidate weight sparse"
)
_THINGS = "method|pattern|nm|head|block|experts|block_id|allocation|metric|compensation|feature"
_FORESEEN = "how_long cost what_if memory what how many aux ask make use need prune compress shrink remove"
_AMOUNTS = "share|nm|pattern|faster|smaller|times"
_BARE = "share nm pattern number times sparse minutes_of make again"

ORDERS = (
    Act(("stop",), "after_this run", lambda heard: Call("stop"), order=True),
    Act(("stop", "candidates_of|minutes_of"), "prompt run", _limit, order=True),
    Act(("pause",), "run", lambda heard: Call("pause"), order=True),
    Act(("resume|continue",), "we_did day run run_id model name path quoted past last", _resume, order=True),
    Act(("show", "run_id"), "run past", _resume, order=True),
    Act(("queued",), "remove stop not no_word emptied what show aux run all about tell any part ask past how", _queue),
    Act(("remove", "run|run_id"), "run run_id", _remove_run, order=True),
    Act(("remove", "run", "all"), "run", _remove_all, order=True),
    Act(
        ("how_long|cost|what_if|memory", "prune|compress|shrink|remove|faster|smaller", _AMOUNTS),
        f"{_WHAT} {_FORESEEN}",
        _foresee,
    ),
    Act(("memory", "how", "need|aux"), f"{_FORESEEN} {_SIZES} {_LIMITS} model name path", _foresee),
    Act(("how_long|cost", "prune", "aux|what"), f"{_FORESEEN} model name path", _foresee),
    Act(
        ("again", "share|nm|times|pattern|model|name|path|method|seed_of"),
        f"{_WHAT} try prune make use",
        _redo,
        order=True,
    ),
    Act(("prune", "expression", "share|nm|number"), f"{_WHAT} metric allocation use", _own_formula, order=True),
    Act(("method", "apply|run|use", "share|nm|number"), f"{_WHAT} apply use prune", _prune, order=True),
    Act(("apply", "method", "prune"), f"{_WHAT} apply", _prune, order=True),
    Act(("continue|more",), "more until minutes_of candidates_of run candidate", _go_on, order=True),
    Act(("minutes_of|candidates_of", "more"), "more run use show need", _go_on, order=True),
    Act(("prune|compress|a_prune",), f"{_WHAT} make", _prune, order=True),
    Act(("prune|compress|shrink", "result|pruned|more"), f"{_WHAT} result pruned more make", _prune_result, order=True),
    Act(("remove", "share|experts|head|block"), _WHAT, _prune, order=True),
    Act(("shrink", "model|name|path|share|nm|word|filler"), f"{_WHAT} big", _prune, order=True),
    Act(("make|kindly", "smaller|faster|sparse"), _WHAT, _prune, order=True),
    Act(("faster|fast", "times|share"), f"{_WHAT} fast make", _prune, order=True),
    Act(("keep|left", "share"), _WHAT, _prune, order=True),
    Act(("method", "share|nm"), _WHAT, _prune, order=True),
    Act(("fit|bytes_of|machine", "make|fit|shrink"), f"{_WHAT} make run", _prune, order=True),
    Act(("calibrate|seed_of|device",), "calibrate seed_of device text task path use run again", _set, order=True),
    Act(("keep", "block_id"), "dense alone spare whole first last", _steer, order=True),
    Act(("keep", "block", "first|last"), "number dense alone spare whole first last", _steer, order=True),
    Act(
        ("spare|alone", "block_id|block|head|experts"),
        "spare alone leave first last not keep number",
        _steer,
        order=True,
    ),
    Act(("uniform", "only|allocation|use|prefer|not"), "only allocation use prefer not", _same_share, order=True),
    Act(("uniform",), "uniform", lambda heard: _same_share(heard) if _everywhere(heard) else None, order=True),
    Act(("allow", _THINGS), f"{_ABOUT} allow again any", _steer, order=True),
    Act(("off", _THINGS), f"{_ABOUT} off spare", _steer, order=True),
    Act(("spare", "block_id|block", "whole"), "spare alone whole first last number", _steer, order=True),
    Act(("not", _THINGS), f"{_ABOUT} not any leave allow again", _steer, order=True),
    Act(("only|just", _THINGS), f"{_ABOUT} only", _steer, order=True),
    Act(("prefer|try|use|more", _THINGS), f"{_ABOUT} prefer more", _steer, order=True),
    Act(("candidates_of|minutes_of",), "run only use", _limit, order=True),
    Act((), "share nm pattern number times faster smaller sparse model name path word minutes_of again use", _bare),
    Act(("share|nm|pattern", "make"), f"{_BARE} prefer", _bare, order=True),
    Act(("share|nm", "prefer"), f"{_BARE} prefer", _bare, order=True),
)
