"""Questions that are answered from what is known: the run, its candidates, models, runs of before."""

from __future__ import annotations

import re

from agent.session.talk.grammar.acts import ASKS, REFS, Act, Call, Heard, Unclear, count, model, objects, share, some
from tools.expression import ALLOCATION, METRIC, NAMED_ALLOCATIONS, Language, parse
from tools.io.errors import UsageError

_RUN = "run past candidate result best going status done"
_OF_ONE = f"{ASKS} why candidate good done works result we_did win best make perplexity divergence metric use define"
_SPENT = "run going done left past many more take use make until we_did count status search how_long cost"


def _candidates(heard: Heard) -> Call | None:
    names = _through(heard)
    return Call("candidates", {"names": names}) if len(names) <= 10 else None


def _through(heard: Heard) -> list[str]:
    """The candidates that are named, with those between where it is `c-1 to c-4`."""
    names = [str(name) for name in heard.all("candidate_id")]
    kinds = [token.kind for token in heard.tokens if token.kind != "ask"]
    if len(names) != 2 or kinds[-3:] != ["candidate_id", "to", "candidate_id"]:
        return names
    first, last = (int(name[2:]) for name in names)
    if not first < last < first + 10:
        raise Unclear(f"{names[0]} to {names[1]}: at most ten candidates at once, the lower number first")
    return [f"c-{number}" for number in range(first, last + 1)]


def _compare(heard: Heard) -> Call | None:
    named = heard.all("candidate_id")
    return (
        Call("compare", {"one": named[0], "other": named[1]}) if len(named) == 2 and not heard.has("method") else None
    )


def _pattern(heard: Heard) -> Call | None:
    """What was measured with a pattern; not what one is."""
    asked = heard.has("why_not", "works", "good", "better", "result", "about") or heard.has("aux", "we_did")
    definition = heard.kinds <= {"what", "aux", "nm", "ask", "filler", "a", "explain"}
    return Call("pattern", {"pattern": heard.one("nm")}) if asked and not definition else None


def _past(heard: Heard) -> Call:
    return Call("past_runs", some(words=" ".join(token.text for token in heard.tokens if token.kind in REFS)))


def _recall(heard: Heard) -> Call:
    kinds = ("method", "pattern", "nm", *REFS)
    return Call("recall", some(words=" ".join(token.text for token in heard.tokens if token.kind in kinds)))


def _facts(heard: Heard) -> Call | None:
    named = model(heard, "about")
    named = named or ("result" if heard.has("pruned", "result") else "dense" if heard.has("dense") else "")
    if not named and not heard.has("facts", "count", "block", "big", "head", "weight"):
        return None
    return Call("model_facts", some(model=named))


def _statistics(heard: Heard) -> Call | None:
    named = [("redundancy", "redundant"), ("outliers", "outlier")]
    several = [*map(str, heard.all("statistic")), *(name for name, kind in named if heard.has(kind))]
    if len(several) > 1:
        raise Unclear(f'{" and ".join(several)} at once; say them one after the other: "{several[0]} per layer"')
    said = several[0] if several else None
    return Call("layer_statistics", some(model=model(heard), statistic=said))


def _tried(heard: Heard) -> Call | None:
    """A metric or an allocation on the layers of a model, whichever was named or the formula is."""
    said = str(heard.one("expression", "quoted", "method"))
    more = some(model=heard.one("model", "name", "path"), sparsity=share(heard.one("share")))
    if heard.has("allocation") or (not heard.has("metric") and _allocates(said)):
        if heard.has("block_id"):
            raise Unclear("an allocation is of all blocks, so of no layer alone")
        return Call("try_allocation", {"expression": said, **more})
    layer = heard.one("block_id")
    return Call("try_metric", {"expression": said, **more} | ({} if layer is None else {"layer": layer}))


def _allocates(said: str) -> bool:
    """Whether it is a published allocation, or a formula of that language alone."""
    return said.lower() in NAMED_ALLOCATIONS or (_is_formula(said, ALLOCATION) and not _is_formula(said, METRIC))


def _is_formula(text: str, language: Language) -> bool:
    try:
        parse(text, language)
    except UsageError:
        return False
    return True


def _standing(heard: Heard) -> Call | None:
    if objects(heard) or _which_run(heard):
        return None
    many = heard.one("candidates_of", "number")
    one = any(token.text.lower() in ("recipe", "candidate") for token in heard.tokens) and not heard.has("all")
    every = heard.has("all", "candidate") and not heard.has("best")
    most = count(many, "candidates") or (1 if one else MANY if every else None)
    return Call("standing", some(most=most))


def _which_run(heard: Heard) -> bool:
    """Whether runs are asked for, of which this one is not the only one."""
    kinds = [token.kind for token in heard.tokens]
    return any(kinds[i : i + 2] == ["what", "run"] for i in range(len(kinds)))


def _thought(heard: Heard) -> Call | None:
    """`t-3`: a thought by its id."""
    said = [token.text.lower() for token in heard.tokens if token.kind == "other_id"]
    return Call("thoughts", {"words": said[0]}) if len(said) == 1 and said[0].startswith("t-") else None


def _prunable(heard: Heard) -> Call | None:
    """`can I prune gpt2?`: its facts tell whether, and how far."""
    can = any(token.kind == "aux" and token.text.lower() == "can" for token in heard.tokens)
    named = model(heard, "prune", "aux") if can else ""
    return Call("model_facts", {"model": named}) if named else None


def _any_runs(heard: Heard) -> bool:
    return any(token.text.lower() == "runs" for token in heard.tokens)


def _against(heard: Heard) -> Call | None:
    """The result beside one published method."""
    if len(heard.all("method")) > 1 or objects(heard):
        return None
    return Call("standing", some(reference=heard.one("method")))


def _spent(heard: Heard) -> Call | None:
    return None if objects(heard) else Call("spent")


def _sparsities(heard: Heard) -> Call | None:
    return None if objects(heard) else Call("sparsities", some(candidate=heard.one("candidate_id")))


def _won(heard: Heard) -> Call | None:
    """Why one candidate won, or whether it did; of several nobody can tell which is meant."""
    named = heard.all("candidate_id")
    return Call("why_won", {"name": named[0]}) if len(named) == 1 and (heard.has("why") or heard.has("win")) else None


def _beside(heard: Heard) -> Call | None:
    """A candidate and a published method."""
    names, methods = heard.all("candidate_id"), heard.all("method")
    return Call("compare", {"one": names[0], "other": methods[0]}) if len(names) == len(methods) == 1 else None


def _used(heard: Heard) -> Call | None:
    """Whether a method was used; whether it can or should be is advice."""
    advice = any(token.kind == "aux" and token.text.lower() in _ADVICE for token in heard.tokens)
    asked = heard.has("used") or (heard.has("use") and heard.has("aux") and heard.has("ask"))
    return Call("uses", {"method": heard.one("method")}) if asked and not advice and heard.has("ask", "what") else None


def _memory_need(heard: Heard) -> Call | None:
    """Of a model that is named, or of a number of weights; what is remembered is another memory."""
    if not heard.has("ram") and not any(t.kind == "memory" and t.text.lower() in _MEMORY for t in heard.tokens):
        return None
    named = heard.one(*REFS)
    billions = heard.one("billions_of")
    if not heard.has("need") and not (heard.has("use") and (named or billions)):
        return None
    sized = None if named is None else re.fullmatch(r"(\d+(?:[.,]\d+)?)b(?:-\w+)?", str(named), re.I)
    if sized is not None:
        return None if billions is not None else Call("memory_need", {"billions": float(sized[1].replace(",", "."))})
    return Call("memory_need", some(model=None if named is None else str(named), billions=billions))


_ADVICE = ("can", "should", "could", "may", "might", "shall", "would", "will", "kann", "soll", "sollte")
_MEMORY = ("memory", "memoria", "mémoire", "memória", "память", "памяти", "メモリ", "メモリー")
_ROOM = "how what many count aux ask need memory ram device use run quantisation weight model name path billions_of"
MANY = 100
"""Candidates that `all` are."""


_TRIAL = "what how ask aux good share block_id model name path"
_LAYER = "statistics matter redundant statistic outlier"

LOOKS = (
    Act(("happened",), "ask run past aux", lambda heard: Call("happened")),
    Act(("candidate_id", "win|best", "why|aux"), "why aux ask candidate run result not", _won),
    Act(
        ("candidate_id", "method", "compare|better|than|differ|beat|rise"),
        f"{ASKS} why candidate compare better than differ beat rise between with many",
        _beside,
    ),
    Act(("method", "used|use", "aux|ask|what"), "what which aux ask candidate run result best any we_did", _used),
    Act(("memory|ram", "need|many|count|ram"), _ROOM, _memory_need),
    Act(("candidate_id", "compare|differ|better"), f"{ASKS} why candidate between than run many", _compare),
    Act(("candidate_id",), _OF_ONE, _candidates),
    Act(("nm",), f"{ASKS} why why_not try works good better result we_did pattern past run not measure", _pattern),
    Act(("learn",), f"{ASKS} past run we_did aux works", lambda heard: Call("lessons")),
    Act(("removed",), f"{ASKS} block weight from run result", _sparsities),
    Act(("pruned", "block", "how"), f"{ASKS} many run result", _sparsities),
    Act(
        ("sparse", "block|block_id|candidate_id"),
        f"{ASKS} block block_id candidate_id has result by per all",
        _sparsities,
    ),
    Act(("sparse", "how|what|pruned|result"), f"{ASKS} pruned result run weight zeros many count", _sparsities),
    Act(("zeros", "count|how"), f"{ASKS} many weight pruned result sparse", _sparsities),
    Act(("how_long|cost|left",), f"{ASKS} {_SPENT}", _spent),
    Act(("win", "who"), ASKS, _standing),
    Act(("run", "aux", "ask"), "any past filler", lambda heard: Call("past_runs") if _any_runs(heard) else None),
    Act(("win", "why|what"), f"{ASKS} best candidate run result", lambda heard: Call("lessons")),
    Act(("works", "what"), f"{ASKS} best past run", lambda heard: Call("lessons")),
    Act(("run", "which|what|past|all|show|where|count"), f"{ASKS} all past count model name path", _past),
    Act(("other_id", "show|explain|what|tell|about"), f"{ASKS} thoughts", _thought),
    Act(("smaller", "how", "many", "aux"), f"{ASKS} pruned result between dense", lambda heard: Call("model_facts")),
    Act(("thoughts",), f"{ASKS} designer_word run candidate past all", lambda heard: Call("thoughts")),
    Act(("memory",), f"{ASKS} past run learn works best method pattern nm model name path not", _recall),
    Act(("report",), f"{ASKS} run make export where", lambda heard: Call("report")),
    Act(
        ("block|statistics", _LAYER.replace(" ", "|")),
        f"{ASKS} why block model name path all prune of_original",
        _statistics,
    ),
    Act(("statistic|outlier",), f"{ASKS} block model name path all statistics by", _statistics),
    Act(("expression|quoted|method", "try", "metric|allocation|block_id"), _TRIAL, _tried),
    Act(("expression", "try|metric|evaluate|allocation"), _TRIAL, _tried),
    Act(("allocation", "expression|quoted|method", "evaluate|show"), _TRIAL, _tried),
    Act(("what_would", "expression|quoted|method"), f"{_TRIAL} allocation metric block all show", _tried),
    Act(
        ("facts|big|count|block|weight",),
        f"{ASKS} model name path many head experts block weight dense pruned result",
        _facts,
    ),
    Act(("what|explain|tell|facts", "model|path|name"), f"{ASKS} facts", _facts),
    Act(("prune", "aux", "ask", "model|name|path|word"), f"{ASKS} prune support", _prunable),
    Act(("status",), f"{ASKS} {_RUN}", _standing),
    Act(("going", "how|what"), f"{ASKS} {_RUN}", _standing),
    Act(("best",), f"{ASKS} {_RUN} good candidates_of metric number", _standing),
    Act(("candidate", "show|all|what"), f"{ASKS} {_RUN} all candidates_of try we_did count", _standing),
    Act(("candidates_of", "show|what|best"), f"{ASKS} {_RUN}", _standing),
    Act(
        ("method", "beat|better|compare|than"),
        f"{ASKS} {_RUN} beat better compare than reference pruned between with",
        _against,
    ),
    Act(("method", "rise", "aux"), "aux ask rise between than pruned result", _against),
    Act(("beat", "reference|dense"), f"{ASKS} {_RUN}", _standing),
    Act(("try", "we_did|what", "past|aux"), f"{ASKS} {_RUN} all method metric", _standing),
    Act(("reference", "better"), f"{ASKS} {_RUN} than", _standing),
    Act(("done", "aux|ask"), f"{ASKS} run", _standing),
    Act(("good", "how|aux"), "aux ask how run result past candidate", _standing),
)
"""In the order in which they are tried."""
