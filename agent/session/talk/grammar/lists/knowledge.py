"""Questions of general knowledge on pruning: what a term means, and what people ask of any pruning tool."""

from __future__ import annotations

from agent.session.talk.grammar.acts import FREE, Act, Call, Heard
from agent.session.talk.tools.explain import subjects

_TERMS = {
    "perplexity": "perplexity",
    "divergence": "divergence",
    "calibrate": "calibration",
    "sparse": "sparsity",
    "prune": "pruning",
    "metric": "metric",
    "allocation": "allocation",
    "compensation": "compensation",
    "recover": "recovery",
    "quantise": "quantisation",
    "reference": "references",
    "candidate": "candidate",
    "designer_word": "designer",
    "structured": "structured",
    "nm": "n:m",
    "experts": "experts",
}
"""Kind of a token -> the subject that it is the name of."""
_ASKING = FREE | {"what", "explain", "tell", "about", "how", "aux", "does", "works", "ask", "define", "show"}
_ADVICE = ("can", "should", "could", "may", "shall", "do", "does", "will", "would")
_DONE = ("did", "was", "were", "has", "have", "had")
_MEASURED = ("the perplexity", "perplexities")
"""How perplexity is called where a measured one is meant."""


def _term(heard: Heard) -> Call | None:
    """What one term means: nothing else stands in the question."""
    said = [token for token in heard.tokens if token.kind not in _ASKING]
    if heard.has("pattern", "structured") and heard.has("define", "explain"):  # at 50 %, they are what they are
        said = [token for token in said if token.kind not in ("share", "sparse")]
    pruning = [token for token in said if token.kind == "prune"]
    said = [token for token in said if token.kind != "prune"] or pruning[:1]
    if len(said) != 1 or not heard.has("what", "explain", "tell", "define", "how"):
        return None
    (token,) = said
    clear = heard.has("explain", "define") or token.kind in ("method", "pattern", "nm", "structured")
    if not clear and not _is_definition(heard, token.text.lower()):
        return None
    subject = str(token.value) if token.kind in ("method", "pattern") else _TERMS[token.kind]
    return _explain(subject)


def _is_definition(heard: Heard, text: str) -> bool:
    """`what is perplexity`, but not `what is the perplexity`, nor in another order: those ask for a number."""
    first = [token for token in heard.tokens if token.kind not in ("comma", "and")][:2]
    what = bool(first) and first[0].kind == "what" and first[0].text.lower() in ("what is", "what's", "what are")
    bare = not any(token.kind in ("filler", "aux", "how") for token in heard.tokens)
    return what and bare and text not in _MEASURED


def _explain(subject: str) -> Call:
    return Call("explain", {"subject": subject})


def _advised(heard: Heard) -> bool:
    """`can I`, `should I`: what is asked for is advice, not what was done."""
    return any(token.kind == "aux" and token.text.lower() in _ADVICE for token in heard.tokens) or heard.has("kindly")


def _how_much(heard: Heard) -> Call | None:
    return _explain("how much") if heard.has("too_much", "quality") or _advised(heard) else None


def _better(heard: Heard) -> Call | None:
    """Structured or unstructured, or two methods beside each other; what was done in a run is no question of these."""
    if any(token.kind == "aux" and token.text.lower() in _DONE for token in heard.tokens):
        return None
    patterns = len({"structured"} & heard.kinds) + len(heard.all("pattern", "nm"))
    both = ["n:m" if ":" in str(name) else str(name) for name in heard.all("method", "pattern", "nm")]
    if heard.has("differ") and len(set(both)) == len(both) == 2 and set(both) <= subjects().keys():
        return Call("explain", {"subject": both[0], "beside": both[1]})
    if heard.has("method"):
        return _explain("best method") if len(heard.all("method")) > 1 and not patterns else None
    return _explain("structured") if patterns > 1 else None


def _good_perplexity(heard: Heard) -> Call | None:
    """`what is a good perplexity`: none is measured by that."""
    named = any(token.kind == "perplexity" and token.text.lower() in _MEASURED for token in heard.tokens)
    return None if named or heard.has("filler") else _explain("perplexity")


def _method(heard: Heard) -> Call | None:
    return _explain("best method") if heard.has("best", "works", "use") or heard.kinds <= _ASKING else None


def _hardware(heard: Heard) -> Call | None:
    order = heard.has("kindly") and not heard.has("ask")
    return None if order or heard.has("share", "nm") else _explain("hardware")


_MUCH = "many prune remove sparse too_much quality not share good best weight"
_ANY = "what which how why aux ask about tell explain show does"
KNOWLEDGE = (
    Act(("|".join(["method", "pattern", *_TERMS]),), " ".join(_ASKING | {"prune", "share", "sparse"}), _term),
    Act(
        ("structured|pattern|nm|method", "differ|better|compare|best|ask|use|between"),
        f"{_ANY} structured pattern nm method differ better compare best use between prune kindly works good than "
        "prefer what_if",
        _better,
    ),
    Act(
        ("recover", "need|aux", "need|ask|prune"),
        f"{_ANY} need recover prune pruned prompt again kindly",
        lambda heard: _explain("retraining") if heard.has("need") or _advised(heard) else None,
    ),
    Act(
        ("faster|fast", "prune|zeros|sparse|nm|pattern|structured", "aux|how|why|ask|does|make"),
        f"{_ANY} faster fast prune pruned zeros sparse nm pattern structured make prompt not more",
        lambda heard: None if heard.has("kindly") or not heard.has("aux", "does", "why", "how") else _explain("faster"),
    ),
    Act(
        ("smaller|big|disk", "zeros|pruned|prune|not", "aux|why|does"),
        f"{_ANY} smaller big zeros pruned not on disk prune sparse make weight disk",
        lambda heard: _explain("size") if heard.has("smaller", "zeros", "disk") else None,
    ),
    Act(
        ("same_size", "why|aux|ask"),
        f"{_ANY} same_size prompt prune pruned zeros disk run",
        lambda heard: _explain("size"),
    ),
    Act(("too_much|quality", "prune|remove|sparse|share"), f"{_ANY} {_MUCH}", _how_much),
    Act(("how", "many", "prune|remove"), f"{_ANY} {_MUCH}", _how_much),
    Act(("what", "sparse", "use|best|good"), f"{_ANY} {_MUCH} use", _how_much),
    Act(("method_word", "best|use|works|what"), f"{_ANY} best use works good prune kindly", _method),
    Act(
        ("models|support", "what|aux|support"),
        f"{_ANY} models name model path word support prune use works run kindly",
        lambda heard: _explain("models"),
    ),
    Act(
        ("device|machine", "what|aux|need|kindly"),
        f"{_ANY} device machine need use make prune run kindly name good best works",
        _hardware,
    ),
    Act(
        ("form", "aux|kindly", "ask|run|use|support|works|nm"),
        f"{_ANY} kindly form run use support works nm pruned pattern result zeros sparse",
        lambda heard: _explain("runtimes"),
    ),
    Act(
        ("reload", "aux|kindly|how|ask"),
        f"{_ANY} kindly reload run use result pruned it path",
        lambda heard: _explain("runtimes"),
    ),
    Act(
        ("faster|smaller", "why|why_not", "not|why_not"),
        "why why_not aux ask not faster smaller prune result more",
        lambda heard: _explain("faster" if heard.has("faster") else "size"),
    ),
    Act(("perplexity", "good", "what"), "what aux ask perplexity good", _good_perplexity),
    Act(("calibrate", "what", "use"), f"{_ANY} calibrate use prune", lambda heard: _explain("calibration")),
    Act(("designer_word", "what", "use"), f"{_ANY} designer_word use llm", lambda heard: _explain("designer")),
    Act(("exact",), f"{_ANY} run result exact number", lambda heard: _explain("exact")),
    Act(("undo",), f"{_ANY} kindly we_did run prune", lambda heard: _explain("undo")),
    Act(
        ("changed", "dense|filler", "aux|does"),
        f"{_ANY} changed dense prune path weight",
        lambda heard: _explain("original"),
    ),
)
"""Asked first of all, as they allow nothing that an order or a question for a number is made of."""
