"""What waits in a conversation: plans for a yes, what follows them, and what follows the run at work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from langchain_core.messages import BaseMessage, HumanMessage

from agent.session.talk.session import Session
from runs.run import open_run
from runs.used import called
from tools.io.errors import SecateurError

AFTER = "it comes after what was asked for before it"
WAITS = "It waits for a yes of the person, who is shown this plan now:"
INSTEAD = "This takes the place of the plan before."
BY_ITSELF = frozenset({"remove_run", "upload"})
"""Tools that cannot be undone: a yes to one of them is a yes to nothing else."""
BEGIN = frozenset({"prune", "go_on", "resume"})
"""Tools that come to a result."""
_INSTEAD = re.compile(r"\b(?:instead|rather|stattdessen|lieber|plutôt|mejor|invece|piuttosto|liever|zamiast)\b", re.I)
YES = frozenset(
    {"y", "yes", "ok", "okay", "go", "sure", "do it", "yes please", "go ahead", "start", "start it", "proceed"}
    | {"let's go", "lets go", "ok let's go", "ok lets go", "ok, let's go", "sounds good", "looks good", "ok, do it"}
    | {"ok do it", "yes, go", "yes go", "yes, do it", "yes do it", "yes, start", "yes start"}
    | {"ja", "jawohl", "klar", "gerne", "oui", "d'accord"}
    | {
        "bien sûr",
        "sí",
        "si",
        "vale",
        "claro",
        "de acuerdo",
        "sì",
        "sim",
        "да",
        "是",
        "是的",
        "好",
        "好的",
        "可以",
        "行",
    }
    | {"はい", "うん", "お願いします"}
)
NO = frozenset(
    {"forget it", "never mind", "nevermind", "drop it", "drop the plan", "forget the plan", "discard it", "not now"}
    | {
        "vergiss es",
        "lass es",
        "lass das",
        "lass mal",
        "vergiss das",
        "doch nicht",
        "nein, lass es",
        "nein, vergiss es",
    }
    | {"olvídalo", "déjalo", "mejor no", "lascia stare", "lascia perdere", "dimenticalo", "laisse tomber", "oublie"}
    | {"oublie ça", "забудь", "не надо", "отмена", "忘れて", "やっぱりいい", "算了", "laat maar", "esquece"}
    | {"n", "no", "no thanks", "cancel", "nein", "nö", "nein danke", "abbrechen", "non", "non merci", "annuler"}
    | {"no gracias", "cancelar", "não", "нет", "不", "不要", "不用", "取消", "いいえ", "いや", "キャンセル"}
)
ALWAYS = frozenset({"always", "yes, always", "yes always", "don't ask again", "don't ask again for this"})


class Call(TypedDict):
    """A tool that waits for a yes."""

    name: str
    args: dict[str, Any]
    plan: str
    """Empty where it comes after another one, which may change what it does."""
    news: NotRequired[str]
    """What is told of the plan once: that it takes the place of another."""
    run: NotRequired[str]
    """The run that was talked about when it was asked for; it is meant, whichever is shown when it is done."""


def kept(call: Any, session: Session) -> Call:
    """A call as it is kept, without a plan."""
    return Call(name=call["name"], args=call["args"], plan="", run=about(session)["run"])


def says_instead(messages: Sequence[BaseMessage]) -> bool:
    """Whether the person says that something takes the place of what waits."""
    said = next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")
    return _INSTEAD.search(said) is not None


def with_behind(call: Call, waiting: Sequence[Call], *, instead: bool) -> list[Call]:
    """What waits, with a call that follows it; in the place of one for the same where that is said, and once."""
    gone = [other for other in waiting if not other["plan"] and other["name"] == call["name"]]
    gone = gone if instead else [other for other in gone if other["args"] == call["args"]]
    return [*(other for other in waiting if other not in gone), call]


def told_queued(call: Call, session: Session) -> str:
    """What is told of an order that has to wait for the run at work."""
    return (
        f"Not now: two at a time would take each other's cores. When {session.present().id} has ended, this plan is "
        f'asked about: {words(call)}. "stop" concludes that run with its best so far; "drop the queue" takes it back.'
    )


def still(calls: Sequence[Call], session: Session) -> list[Call]:
    """The calls that were not taken out of what follows; plans stay."""
    return [call for call in calls if call["plan"] or words(call) in session.queue]


def with_plan(fresh: Call, waiting: Sequence[Call], *, ahead: bool = False) -> list[Call]:
    """What waits once a plan is there: it takes the place of one for the same, and what followed that order follows
    it, if it is the same order changed. `ahead`: it comes before the others."""
    before = [call for call in waiting if call["name"] == fresh["name"] and call["plan"]]
    others = [call for call in waiting if call["plan"] and call not in before]
    behind = [call for call in waiting if not call["plan"]]
    kept = not before or before[0]["args"].get("model") == fresh["args"].get("model")
    told = [INSTEAD] if before else []
    told += [f"Not kept: {', '.join(map(words, behind))}."] if behind and not kept else []
    if others and {fresh["name"], *(call["name"] for call in others)} & BY_ITSELF:
        told.append(f"Not kept: {', '.join(map(words, others))}.")
        others = []
    news = "\n".join(told) if not before or before[0]["plan"] != fresh["plan"] or not kept else ""
    made = Call(**fresh, news=news)
    return [*([made, *others] if ahead else [*others, made]), *(behind if kept else [])]


def shown(waiting: Sequence[Call]) -> str:
    """The plans that wait, and what comes after them."""
    after = [words(call) for call in waiting if not call["plan"]]
    plans = ["\n".join(filter(None, [call.get("news", ""), call["plan"]])) for call in waiting if call["plan"]]
    return "\n".join([*plans, *([f"Then: {', '.join(after)}."] if after else [])])


def reminder(waiting: Sequence[Call]) -> str:
    """One line in the place of plans that were shown before."""
    plans = [call for call in waiting if call["plan"]]
    told = ", ".join(map(_title, plans))
    return f"{len(plans)} plans still wait ({told})" if len(plans) > 1 else f"The plan {told} still waits"


def _title(call: Call) -> str:
    """What a plan is for, in a few words."""
    args, first = call["args"], call["plan"].partition("\n")[0]
    if call["name"] != "prune" or not first.startswith("Plan: "):
        return f"to {words(call)}"
    parts = [f"{100 * args['sparsity']:g} %"] if "sparsity" in args else []
    parts += [f"{args['speedup']:g} times faster"] if "speedup" in args else []
    parts += [str(args["pattern"])] if "pattern" in args else []
    return f"of {' '.join(parts)} for {first.removeprefix('Plan: ').partition(' →')[0]}"


def words(call: Call) -> str:
    return called(call["name"], call["args"])


def turn_to(session: Session, call: Call) -> None:
    """Talk of the run again that a call was asked for, where another one is shown by now."""
    name = call.get("run", "")
    if name and about(session)["run"] != name:
        try:
            session.run = open_run(session.settings.home, name)
        except SecateurError:  # it was removed: no other one is meant, and the tool says what it lacks
            session.run = None


def about(session: Session) -> dict[str, str]:
    """What the conversation is about, for a process that takes it up later."""
    return {"run": "" if session.run is None else session.run.id, "model": session.model, "designer": session.designer}
