"""The conversation as a state machine, with a thread of its own.

    listen -> converse -+-> tools -> converse ...
      ^                 +-> approve -+-> work -+-> converse
      |                              |         +-> use_tools (what was asked for behind it)
      +-----------------+------------+   (a question comes in between: converse, and back to approve)

`listen` and `approve` are interrupts: the process may end there and another one goes on. What a person approves waits
in the state until they say yes or no, whatever they ask in between.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal, Protocol, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from pydantic import ValidationError

from agent.session.talk.session import Session, Use
from agent.session.talk.tools.tool import NoResult, SessionTool
from agent.session.talk.waiting import (
    AFTER,
    ALWAYS,
    BEGIN,
    NO,
    WAITS,
    YES,
    Call,
    about,
    kept,
    says_instead,
    shown,
    still,
    told_queued,
    turn_to,
    with_behind,
    with_plan,
    words,
)
from agent.session.told import one_line, told
from runs.used import called
from tools.io.frozen import first_problem

MOST_CALLS = 8
"""Answers of a language model to one line, tools included."""
LONGEST = 6000
"""Characters of a tool's result; a model of any size reads this."""
ENDLESS = f"I used tools {MOST_CALLS} times without coming to an answer; ask for less at once."
MODELS = "models"
"""The name of messages that were said to the models, and of what they said: nobody else reads them."""
NOTHING = "Nothing was started."
REFUSED = "refused:"
AGREED = "agreed"
"""The name of messages by which the program itself calls what was approved with the order that it follows."""


class Speaker(Protocol):
    """Who answers: a language model, or the grammar of requests."""

    def answer(self, messages: Sequence[BaseMessage], session: Session) -> AIMessage:
        """Text, or calls of tools."""
        ...


class State(TypedDict):
    """What is checkpointed: words, results, and what waits."""

    messages: Annotated[list[AnyMessage], add_messages]
    waiting: list[Call]
    later: list[Call]
    """What follows when the run that works now has ended."""
    found: Annotated[int, operator.add]
    """Results so far; they are m-1, m-2 and so on."""
    run: str
    """The run that is talked about; empty without one."""
    model: str
    designer: str
    """Whom the person chose here; empty for the settings' one."""


@dataclass(frozen=True)
class Talking:
    """What the nodes work with; never checkpointed."""

    session: Session
    speaker: Speaker
    tools: dict[str, type[SessionTool]]


def build(checkpoints: BaseCheckpointSaver[str]) -> CompiledStateGraph[State, Talking, State, State]:
    """Compile the conversation with a checkpointer."""
    graph = StateGraph(State, context_schema=Talking)
    for node in (listen, converse, use_tools, approve, work):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "listen")
    graph.add_edge("listen", "converse")
    graph.add_conditional_edges("converse", _after_answer, ["use_tools", "approve", "listen"])
    graph.add_edge("use_tools", "converse")
    graph.add_conditional_edges("approve", _after_word, ["work", "converse", "listen"])
    graph.add_conditional_edges("work", _after_work, ["use_tools", "converse"])
    return graph.compile(checkpointer=checkpoints)


def listen(state: State) -> dict[str, Any]:
    """Wait for the next line."""
    return {"messages": [HumanMessage(str(interrupt("")))]}


def converse(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Have the speaker answer, or call tools."""
    context = runtime.context
    messages = [message for message in state["messages"] if message.name != MODELS]
    if calls_since(messages) >= MOST_CALLS:
        return {"messages": [AIMessage(ENDLESS)]}
    asked = (call["args"] for call in state["waiting"] if call["name"] == "prune" and call["plan"])
    session = context.session
    session.waits, session.behind, session.ahead = next(asked, None), False, False
    behind = [call for call in state["waiting"] if not call["plan"]]
    session.plan = shown(state["waiting"])
    session.waiting = tuple(words(call) for call in state["waiting"] if call["plan"])
    session.queue = tuple(map(words, [*state["later"], *behind]))
    return {"messages": [context.speaker.answer(messages, session)]}


def use_tools(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Do what costs nothing; what costs waits for a yes, and what was asked for behind it waits for that."""
    context, last = runtime.context, state["messages"][-1]
    assert isinstance(last, AIMessage)
    results: list[ToolMessage] = []
    waiting, count = list(state["waiting"]), state["found"]
    fresh = context.session.behind and bool(waiting)
    queued = context.session.behind and not waiting and context.session.working
    later: list[Call] = list(state["later"])
    for call in last.tool_calls:
        now = call["name"] in context.tools and context.tools[call["name"]].at_once
        if not now and (queued or (count > state["found"] and _underway(context.session, last))):
            later.append(kept(call, context.session))
            results.append(_result(call, f"When the run has ended: {words(later[-1])}."))
            continue
        waits = kept(call, context.session)
        tool: SessionTool | str = read(context.tools, call["name"], call["args"])
        early = False
        if isinstance(tool, SessionTool) and not fresh and not now:
            tool, waits["plan"], early = _planned(tool, context.session)
        if early and any(other["name"] in BEGIN for other in waiting):
            waiting = with_behind(waits, waiting, instead=says_instead(state["messages"]))
            results.append(_result(call, f"{WAITS}\n{AFTER}"))
        elif early and context.session.working:
            later.append(waits)
            results.append(_result(call, f"When the run has ended: {words(waits)}."))
        elif isinstance(tool, str):
            results.append(_result(call, tool))
        elif tool.alone and context.session.working:
            queued = True
            later.append(kept(call, context.session))
            results.append(_result(call, f"{waits['plan']}\n{told_queued(waits, context.session)}"))
        elif not now and (fresh or (waits["plan"] and not _agreed(tool, last, context.session))):
            behind = partial(with_behind, waits, waiting, instead=says_instead(state["messages"]))
            planned = with_plan(waits, waiting, ahead=context.session.ahead)
            waiting, fresh = behind() if fresh else planned, True
            results.append(_result(call, f"{WAITS}\n{waits['plan'] or AFTER}"))
        else:
            count, before = count + 1, context.session.queue
            found = done(tool, context.session, f"m-{count}")[0]
            if before != context.session.queue:
                later, waiting = still(later, context.session), still(waiting, context.session)
            answer = "\n".join(part for part in (waits["plan"], found) if part)
            results.append(_result(call, answer, f"m-{count}"))
    for bad in last.invalid_tool_calls:
        said = f"{REFUSED} the arguments were no JSON object"
        results.append(ToolMessage(said, name=bad["name"], tool_call_id=bad["id"] or ""))
    more, later = count - state["found"], [*later, *_asides(context.session)]
    return {"messages": results, "waiting": waiting, "later": later, "found": more, **about(context.session)}


def _asides(session: Session) -> list[Call]:
    """What was asked for while this process worked on a run; taken once."""
    taken, session.asides = session.asides, []
    return [kept({"name": name, "args": args}, session) for name, args in taken]


def _agreed(tool: SessionTool, last: AIMessage, session: Session) -> bool:
    """Whether nobody is asked any more."""
    return session.trusts(tool.called()) or (last.name == AGREED and tool.agreed_ahead)


def _underway(session: Session, last: AIMessage) -> bool:
    """Whether these calls began a run that is not over, so that what follows them has to wait for it."""
    begins = {call["name"] for call in last.tool_calls} & BEGIN
    return bool(begins) and session.unfinished_run


def approve(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Show the plan and wait; a question in between leaves it waiting."""
    said = str(interrupt(shown(state["waiting"]))).strip()
    word = _word(said)
    if word in NO:
        return {"messages": [HumanMessage(said), AIMessage(NOTHING)], "waiting": []}
    if word in ALWAYS:
        runtime.context.session.allowed |= {call["name"] for call in state["waiting"]}
    told = [Call(**{**call, "news": ""}) for call in state["waiting"]]
    return {"messages": [HumanMessage(said)], "waiting": told}


def _word(said: str) -> str:
    """What is looked up among the words that decide."""
    return said.lower().rstrip(".!。！ ")


def work(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Do what was approved; then comes what was asked for behind it, unless that failed or a run works now."""
    session, count, good = runtime.context.session, state["found"], True
    made: list[AnyMessage] = []
    after = [call for call in state["waiting"] if not call["plan"]]
    later: list[Call] = list(state["later"])
    for call in (call for call in state["waiting"] if call["plan"]):
        turn_to(session, call)
        tool, count = read(runtime.context.tools, call["name"], call["args"]), count + 1
        answer, good = (tool, False) if isinstance(tool, str) else done(tool, session, f"m-{count}")
        if after and not good:
            answer += f"\nSo nothing of the rest was done: {', '.join(map(words, after))}."
            after = []
        elif after and session.unfinished_run:
            answer += f"\nWhen the run has ended: {', '.join(map(words, after))}."
            later, after = [*later, *after], []
        made.append(calling([call], f"approved/{count}"))
        made.append(ToolMessage(answer, name=call["name"], tool_call_id=f"approved/{count}/0", id=f"m-{count}"))
    if after:
        made.append(calling(after, f"after/{count}", AGREED))
    later += _asides(session)
    return {"messages": made, "waiting": [], "later": later, "found": count - state["found"], **about(session)}


def calling(calls: Sequence[Call], name: str, who: str | None = None) -> AIMessage:
    """A message that calls tools; the ids of the calls begin with the name. `who`: AGREED, of what was approved."""
    made = [{"name": call["name"], "args": call["args"], "id": f"{name}/{i}"} for i, call in enumerate(calls)]
    return AIMessage("", tool_calls=made, name=who)


def resumed(later: Sequence[Call], count: int) -> dict[str, Any]:
    """The change of the state by which what waited for the end of a run is called."""
    return {"messages": [calling(later, f"later/{count}", AGREED)], "later": []}


def read(tools: dict[str, type[SessionTool]], name: str, args: Any) -> SessionTool | str:
    """The tool that a call means; what is not offered or not valid is refused in one line, with what to mend."""
    kind = tools.get(name)
    if kind is None:
        return f"{REFUSED} there is no tool {one_line(name)[:80]}; there are {', '.join(tools)}"
    try:
        return kind.model_validate(args)
    except ValidationError as error:
        return f"{REFUSED} {first_problem(error)}"


def done(tool: SessionTool, session: Session, name: str = "") -> tuple[str, bool]:
    """What a tool says, or the one line that it failed with; and whether it succeeded. `name`: of what it finds."""
    use, start = Use(called(tool.called(), tool.model_dump(mode="json", exclude_defaults=True)), name), time.monotonic()
    tell = _silent if tool.group == "talk" else session.use
    tell(use)
    try:
        return _worked(tool, session)
    finally:
        tell(replace(use, seconds=time.monotonic() - start))


def _silent(use: Use) -> None:
    """Help and farewell are words, and no work."""


def _worked(tool: SessionTool, session: Session) -> tuple[str, bool]:
    good = False
    try:
        answer, good = tool.work(session), True
    except KeyboardInterrupt:
        answer = "Interrupted. What is done is kept: the same words go on from there."
    except Exception as error:  # one tool fails, the conversation goes on
        answer = told(error)
    return (answer if len(answer) <= LONGEST else answer[: LONGEST - 1] + "…"), good


def calls_since(messages: Sequence[BaseMessage]) -> int:
    """Answers since the person spoke last."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        count += isinstance(message, AIMessage)
    return count


def _planned(tool: SessionTool, session: Session) -> tuple[SessionTool | str, str, bool]:
    """The tool with its plan, or the line that says why it cannot be done, before anybody is asked; and whether that is
    only because no run has come to a result yet."""
    try:
        return tool, tool.plan(session), False
    except Exception as error:  # a conversation goes on
        return told(error), "", isinstance(error, NoResult)


def _result(call: Any, text: str, name: str | None = None) -> ToolMessage:
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "", id=name)


def _after_answer(state: State) -> Literal["use_tools", "approve", "listen"]:
    last = state["messages"][-1]
    if isinstance(last, AIMessage) and (last.tool_calls or last.invalid_tool_calls):
        return "use_tools"
    return "approve" if state["waiting"] else "listen"


def _after_work(state: State) -> Literal["use_tools", "converse"]:
    last = state["messages"][-1]
    return "use_tools" if isinstance(last, AIMessage) and last.tool_calls else "converse"


def _after_word(state: State) -> Literal["work", "converse", "listen"]:
    last = state["messages"][-1]
    if not state["waiting"]:
        return "listen"
    return "work" if _word(last.text) in YES | ALWAYS else "converse"
