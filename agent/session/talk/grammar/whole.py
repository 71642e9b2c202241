"""A line as a whole: what of it belongs to one order, what repeats an earlier one, what is put to the models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agent.session.talk.grammar.acts import Call, Lacking, Unclear
from agent.session.talk.session import Session

LEFT_OUT = "left_out"
"""What stands for a part of an order that cannot be done; no tool."""
SETTINGS = {"seed", "device", "calibration"}
"""What is said of an order behind it, as `seed 3`."""
_PUT = re.compile(
    r"(?:please\s+|now\s+)?(?:ask|frage?|demande|demandez|pregunta|pregunte|chiedi|pergunte?|спроси|vraag|zapytaj|问|質問)"
    r"(?:-le|-lui)?\s*(?P<whom>[^:]{0,40}?)\s*:\s*(?P<words>.+)",
    re.I,
)
_DENSE = re.compile(r"\b(dense|original|unpruned|base)\b", re.I)
_PRUNED = re.compile(r"\b(pruned|sparse|smaller)\b", re.I)


def put(line: str) -> Call | None:
    """`ask it: QUESTION`, `ask both: QUESTION`: all behind the colon is for the models, whatever it says."""
    found = _PUT.fullmatch(line)
    if found is None:
        return None
    whom, words = found["whom"], found["words"].strip().strip('"')
    models = ["dense"] if _DENSE.search(whom) else ["result"] if _PRUNED.search(whom) else []
    return Call("generations", {"prompts": [words], **({"models": models} if models else {})})


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
        elif call.name == "prune" and place is not None and call.args and set(call.args) <= SETTINGS:
            made[place] = Call(made[place].name, {**call.args, **made[place].args})
        elif call.name == "steer" and any(other.name == "prune" for other in calls):
            early.append(call)
        else:
            made.append(call)
            while early and call.name == "prune":
                made[-1] = _with(made[-1], early.pop(0))
    return made


def _with(order: Call, part: Call) -> Call:
    if part.name == LEFT_OUT:
        name, said = "left_out", f'"{part.args["words"]}" ({part.args["why"]})'
    else:
        name, said = "rules", part.args["words"]
    return Call(order.name, {**order.args, name: [*order.args.get(name, ()), said]})


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
    if now.keys() & {"sparsity", "speedup"} or ":" in str(now.get("pattern", "")):
        before = {name: value for name, value in before.items() if name not in ("sparsity", "speedup")}
    if "sparsity" in now and ":" in str(before["pattern"]) and "pattern" not in now:
        del before["pattern"]
    return {**{name: value for name, value in before.items() if value is not None}, **now}
