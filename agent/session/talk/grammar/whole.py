"""A line as a whole: what of it belongs to one order, what repeats an earlier one, what is put to the models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agent.session.talk.grammar.acts import Call, Lacking, Unclear
from agent.session.talk.grammar.tokens import tokens
from agent.session.talk.session import Session
from agent.steering.reply import obeyed
from tools.expression import NAMED_ALLOCATIONS
from tools.recipe.methods import METHODS

LEFT_OUT = "left_out"
"""What stands for a part of an order that cannot be done; no tool."""
LIMIT = "limit"
"""What stands for how long an order may take, before it is known which; no tool."""
SETTINGS = {"seed", "device", "calibration"}
"""What is said of an order behind it, as `seed 3`."""
_VERB = (
    r"(?:please\s+|now\s+)?(?:ask|frage?|demandez?|pregunt[ae]|chiedi|pergunte?|спроси|vraag|zapytaj|问|質問|聞いて)"
    r"(?:-?le|-lui)?"
)
_BOTH = r"both(?: models| of them)?|the two(?: models)?|them|beide(?: modelle)?|les deux|(?:a )?(?:los )?dos|обе(?:их)?"
_PRUNED = r"it|the (?:pruned|result)(?: model| one)?|the model|the result|das (?:beschnittene )?modell"
_DENSE = r"the (?:dense|original)(?: model| one)?|das (?:dichte|ursprüngliche) modell"
_ASKED = re.compile(
    rf"{_VERB}\s+(?:(?P<both>{_BOTH})|(?P<pruned>{_PRUNED})|(?P<dense>{_DENSE}))\s*[:,]?\s+(?P<words>\S.*)", re.I
)
_PUT = re.compile(rf"{_VERB}\s*(?P<whom>[^:]{{0,40}}?)\s*:\s*(?P<words>.+)", re.I)
_SAYS = {"dense": r"\b(?:dense|original|unpruned|base)\b", "result": r"\b(?:pruned|sparse|smaller)\b"}
_NAMES = ("candidate_id", "model", "name", "path")
LONGEST = 2000
"""Characters of a question."""
_TURNED = r"(?:actually|rather|then|please|instead)"
_USE = re.compile(rf"(?:{_TURNED},? )?(use|try|only) ([\w-]+)(?: {_TURNED})?", re.I)
_BEHIND = re.compile(
    r"\W*(?:(?:and|und|et|y|e|en|i|и|ve)\s+)?(?:then|afterwards|after that|when (?:it|that) is (?:done|over|finished)|"
    r"dann|danach|anschließend|puis|ensuite|luego|después|poi|dopo|depois|daarna|potem|затем|потом|sonra|"
    r"然后|之后|その後|그다음)(?!\w)",
    re.I,
)

_IT = r"(?:it|this|that|everything|(?:the|this) (?:run|search|job)|pruning|the pruning)"
_ENDED = (
    rf"(?:(?:when|once|as soon as|after) {_IT}(?:'s| is| has| will be| will have)? ?(?:all )?"
    r"(?:ended|done|over|finished|ready|complete|completed|through|ends|finishes|been finished)|"
    r"(?:after|at the end of) (?:the|this) (?:run|search)|"
    r"(?:wenn|sobald) (?:es|das|alles|der lauf|dieser lauf|die suche) (?:fertig|beendet|vorbei|zu ende|durch)(?: ist)?|"
    r"nach (?:dem|diesem) lauf|"
    r"quand (?:c'est|ce sera|la recherche est|tout est) (?:fini|terminé|terminée|prêt)|une fois (?:fini|terminé)|"
    r"cuando (?:termine|acabe|esté (?:listo|lista|terminado)|haya terminado)(?: la búsqueda)?|al terminar|"
    r"quando (?:finisce|ha finito|è finito|è finita|è pronto|avrà finito|terminar|acabar|estiver pronto)|"
    r"когда (?:это |всё |поиск )?(?:закончится|закончишь|завершится|будет готово|закончишься)|"
    r"als (?:het|dit) (?:klaar|af) is)"
)
_ENDED_FAR = r"(?:終わったら|終了したら|完了したら|終わり次第|完成后|结束后|跑完后|完成之后|结束之后)"
_ENDED_FIRST = re.compile(rf"\W*(?:(?:and|und|et|y|e|и) )?{_ENDED}(?!\w)[,:]?\s*(?:then |dann )?|\W*{_ENDED_FAR}", re.I)
_ENDED_LAST = re.compile(rf",?\s+{_ENDED}\W*$", re.I)


def put(line: str) -> Call | None:
    """`ask both: QUESTION`, `ask it QUESTION`: what is for the models and not for this program, whatever it says."""
    models: tuple[str, ...] = ()
    if found := _ASKED.fullmatch(line):
        models = () if found["both"] else ("result",) if found["pruned"] else ("dense",)
    elif found := _PUT.fullmatch(line):
        models = tuple(name for name, words in _SAYS.items() if re.search(words, found["whom"], re.I))[:1]
        models = tuple(str(one.value) for one in tokens(found["whom"], "en") if one.kind in _NAMES) or models
    if found is None or len(found["words"]) > LONGEST:
        return None
    question = found["words"].strip()
    quoted = re.fullmatch(r'"([^"]+)"', question)
    return Call("chat_with_models", {"question": quoted[1] if quoted else question, "models": models})


def folded(calls: Sequence[Call]) -> list[Call]:
    """What steers belongs to the prune that the same line asks for, and so does what is left out of it.

    Raises:
        Unclear: what is left out follows no prune, whose plan would tell it.
    """
    made: list[Call] = []
    early: list[Call] = []
    for call in calls:
        place = next((i for i in range(len(made) - 1, -1, -1) if made[i].name in ("prune", "foresee")), None)
        if call.name == LEFT_OUT and place is None:
            raise Lacking(call.args["why"])
        if call.name in ("steer", LEFT_OUT) and place is not None:
            made[place] = _with(made[place], call)
        elif call.name == LIMIT and place is not None:
            made[place] = Call(made[place].name, {**made[place].args, **call.args})
        elif call.name == "prune" and place is not None and call.args and set(call.args) <= SETTINGS:
            made[place] = Call(made[place].name, {**call.args, **made[place].args})
        elif call.name == "steer" and any(other.name == "prune" for other in calls):
            early.append(call)
        else:
            made.append(call)
            while early and call.name == "prune":
                made[-1] = _with(made[-1], early.pop(0))
    return _of_one_model(made)


def _of_one_model(calls: list[Call]) -> list[Call]:
    """`skewness, outliers per layer of tiny`: the model that is named last is that of those before it, too."""
    made: list[Call] = []
    for call in reversed(calls):
        same = bool(made) and made[0].name == call.name == "layer_statistics" and "model" in made[0].args
        made.insert(0, Call(call.name, {"model": made[0].args["model"], **call.args}) if same else call)
    return made


def _with(order: Call, part: Call) -> Call:
    if part.name == LEFT_OUT:
        name, said = "left_out", f'"{part.args["words"]}" ({part.args["why"]})'
    else:
        name, said = "rules", part.args["words"]
    return Call(order.name, {**order.args, name: [*order.args.get(name, ()), said]})


def follows(line: str) -> bool:
    """Whether a line says of itself that it comes after something: `and then export it`."""
    return _BEHIND.match(line) is not None


def timed(line: str) -> tuple[str, bool]:
    """A line without `when it has ended`, and whether it said so; a question asks for that, and orders nothing."""
    if line.rstrip().endswith("?"):
        return line, False
    found = _ENDED_FIRST.match(line) or _ENDED_LAST.search(line)
    if found is None or not (rest := f"{line[: found.start()]}{line[found.end() :]}".strip(" ,;:")):
        return line, False
    return rest, True


def first(calls: Sequence[Call], session: Session) -> list[Call]:
    """What is done before a prune, is done to the model that is pruned: that of the line, or of the plan that waits."""
    made: list[Call] = []
    for place, call in enumerate(calls):
        args = {name: value for name, value in call.args.items() if name != "ahead" and value != []}
        if "ahead" in call.args:
            later = next((other.args.get("model") for other in calls[place + 1 :] if other.name == "prune"), None)
            model = later or (session.waits or {}).get("model") or ""
            session.ahead = session.waits is not None
            named = {"models": [model]} if call.name == "perplexity" else {"model": model}
            args = {**named, **args} if model else args
        same = made[0].args if made and call.name == "prune" and "ahead" in calls[0].args else {}
        named_first = same.get("model") or next(iter(same.get("models", ())), "")
        made.append(Call(call.name, {"model": named_first, **args} if named_first else args))
    return made


def addressed(calls: Sequence[Call], session: Session) -> list[Call]:
    """What is said of an order that does not name it: it changes the prune that waits for a yes, else the run."""
    made: list[Call] = []
    for call in calls:
        changed = None if session.waits is None or session.working else _changed(call, session.waits)
        if changed is not None and made and made[-1].name == changed.name == "prune":
            changed = _changed(call, made.pop().args)
        made.append(changed or (_as_rule(call) if call.name == LIMIT else call))
    return made


def _changed(call: Call, waits: dict[str, Any]) -> Call | None:
    """The prune that waits as it is after a call; None where that is about something else."""
    if call.name == "spent" or (call.name in ("foresee", "memory_need") and not call.args):
        return Call("foresee", {**waits, "short": True})
    named = _USE.fullmatch(call.args["words"]) if call.name == "steer" else None
    if named is not None and _replaces(named[1], named[2], waits):
        return Call("prune", {**waits, "method": named[2]})
    if call.name == "steer":
        return Call("prune", _ruled(waits, call.args["words"]))
    if call.name == LIMIT or (call.name == "prune" and not call.args.keys() & {"model", "again"}):
        return Call("prune", _over(waits, call.args))
    return None


def _replaces(verb: str, name: str, waits: dict[str, Any]) -> bool:
    """Whether what is named takes the place of the method that waits, or of a search: `use sparsegpt` says it of what
    is more than an allocation or an update, which a search may have."""
    known = name.lower().replace("-", "_") in {*METHODS} - {*NAMED_ALLOCATIONS, "obs"}
    return "method" in waits or (known and verb.lower() == "use")


def _ruled(waits: dict[str, Any], words: str) -> dict[str, Any]:
    """An order with one more rule; what is allowed again is no rule any more, where one forbade it."""
    rules = [str(rule) for rule in waits.get("rules", ())]
    if re.search(r"\b(?:allow|may|can)\b", words, re.I) and not re.search(r"\b(?:not|no|don't)\b", words, re.I):
        things = set(re.findall(r"\w+", words.lower())) - _ALLOWING
        kept = [rule for rule in rules if not things & set(re.findall(r"\w+", rule.lower()))]
        if len(kept) < len(rules):
            rest = {name: value for name, value in waits.items() if name != "rules"}
            return {**rest, "rules": kept} if kept else rest
    return {**waits, "rules": [*rules, words]}


_ALLOWING = {"allow", "allowed", "permit", "again", "may", "can", "be", "used", "use", "you", "please", "the", "now"}


def _as_rule(limit: Call) -> Call:
    told = " and ".join(f"at most {value:g} {of}" for of, value in limit.args.items())
    return Call("steer", {"words": told})


def _over(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """An order with what is said now in the place of what was said then; an amount drops the other one."""
    kept = dict(before)
    if now.keys() & {"sparsity", "speedup"} or ":" in str(now.get("pattern", "")):
        kept = {name: value for name, value in before.items() if name not in ("sparsity", "speedup")}
    if "sparsity" in now and ":" in str(kept.get("pattern", "")) and "pattern" not in now:
        del kept["pattern"]
    return {**kept, **now}


def again(args: dict[str, Any], session: Session) -> dict[str, Any]:
    """The order of the run that is talked about, with what is said now in the place of what was said then.

    Raises:
        Unclear: there is no run.
    """
    now = {name: value for name, value in args.items() if name != "again"}
    if session.run is None:
        raise Unclear('no run is open whose order could be repeated; say the whole of it: "prune MODEL to 50 %"')
    goal = session.run.goal
    before: dict[str, Any] = {"model": goal.model, "pattern": goal.pattern.option, "method": goal.method}
    before |= {"sparsity": goal.sparsity} if goal.speedup is None else {"speedup": goal.speedup}
    if goal.method is None:  # a search
        rules = obeyed(goal, session.history())
        before |= {"candidates": goal.budget.candidates, "minutes": goal.budget.minutes, "rules": rules or None}
    return _over({name: value for name, value in before.items() if value is not None}, now)
