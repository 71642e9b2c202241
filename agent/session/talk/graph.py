"""The conversation as a state machine, with a thread of its own.

    listen -> converse -+-> tools -> converse ...
      ^                 +-> approve -+-> work -> converse
      +-----------------+------------+   (a question comes in between: converse, and back to approve)

`listen` and `approve` are interrupts: the process may end there and another one goes on. What a person approves waits
in the state until they say yes or no, whatever they ask in between.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from pydantic import ValidationError

from agent.session.talk.session import Session
from agent.session.talk.tools.tool import SessionTool
from agent.session.told import one_line, told
from tools.io.frozen import first_problem

MOST_CALLS = 8
"""Answers of a language model to one line, tools included."""
LONGEST = 6000
"""Characters of a tool's result; a model of any size reads this."""
ENDLESS = f"I used tools {MOST_CALLS} times without coming to an answer; ask for less at once."
NOTHING = "Nothing was started."
REFUSED = "refused:"
WAITS = "It waits for a yes of the person, who is shown this plan now:"
YES = frozenset(
    {"y", "yes", "ok", "okay", "go", "sure", "do it", "yes please", "ja", "jawohl", "klar", "gerne", "oui", "d'accord"}
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
    {"n", "no", "no thanks", "cancel", "nein", "nö", "nein danke", "abbrechen", "non", "non merci", "annuler"}
    | {"no gracias", "cancelar", "não", "нет", "不", "不要", "不用", "取消", "いいえ", "いや", "キャンセル"}
)
ALWAYS = frozenset({"always", "yes, always", "yes always", "don't ask again", "don't ask again for this"})


class Speaker(Protocol):
    """Who answers: a language model, or the grammar of requests."""

    def answer(self, messages: Sequence[BaseMessage], session: Session) -> AIMessage:
        """Text, or calls of tools."""
        ...


class Call(TypedDict):
    """A tool that waits for a yes."""

    name: str
    args: dict[str, Any]
    plan: str


class State(TypedDict):
    """What is checkpointed: words, results, and what waits."""

    messages: Annotated[list[AnyMessage], add_messages]
    waiting: list[Call]
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
    graph.add_edge("work", "converse")
    return graph.compile(checkpointer=checkpoints)


def listen(state: State) -> dict[str, Any]:
    """Wait for the next line."""
    return {"messages": [HumanMessage(str(interrupt("")))]}


def converse(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Have the speaker answer, or call tools."""
    context, messages = runtime.context, state["messages"]
    if calls_since(messages) >= MOST_CALLS:
        return {"messages": [AIMessage(ENDLESS)]}
    return {"messages": [context.speaker.answer(messages, context.session)]}


def use_tools(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Do what costs nothing; what costs waits for a yes."""
    context, last = runtime.context, state["messages"][-1]
    assert isinstance(last, AIMessage)
    results: list[ToolMessage] = []
    waiting, count = list(state["waiting"]), state["found"]
    for call in last.tool_calls:
        tool, plan = read(context.tools, call["name"], call["args"]), ""
        if isinstance(tool, SessionTool):
            tool, plan = _planned(tool, context.session)
        if isinstance(tool, str):
            results.append(_result(call, tool))
        elif plan and not context.session.trusts(tool.called()):
            waiting = [other for other in waiting if other["name"] != call["name"]]
            waiting.append(Call(name=call["name"], args=call["args"], plan=plan))
            results.append(_result(call, f"{WAITS}\n{plan}"))
        else:
            count += 1
            answer = "\n".join(part for part in (plan, done(tool, context.session)) if part)
            results.append(_result(call, answer, f"m-{count}"))
    for bad in last.invalid_tool_calls:
        said = f"{REFUSED} the arguments were no JSON object"
        results.append(ToolMessage(said, name=bad["name"], tool_call_id=bad["id"] or ""))
    return {"messages": results, "waiting": waiting, "found": count - state["found"], **_about(context.session)}


def approve(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Show the plan and wait; a question in between leaves it waiting."""
    said = str(interrupt("\n".join(call["plan"] for call in state["waiting"]))).strip()
    low = said.lower().rstrip(".!。！ ")
    if low in YES or low in ALWAYS:
        if low in ALWAYS:
            runtime.context.session.allowed |= {call["name"] for call in state["waiting"]}
        return {"messages": [HumanMessage(said)]}
    if low in NO:
        return {"messages": [HumanMessage(said), AIMessage(NOTHING)], "waiting": []}
    return {"messages": [HumanMessage(said)]}


def work(state: State, runtime: Runtime[Talking]) -> dict[str, Any]:
    """Do what was approved."""
    context, count = runtime.context, state["found"]
    results: list[AnyMessage] = []
    for call in state["waiting"]:
        tool, count = read(context.tools, call["name"], call["args"]), count + 1
        answer = tool if isinstance(tool, str) else done(tool, context.session)
        name = f"approved/{count}"
        results.append(AIMessage("", tool_calls=[{"name": call["name"], "args": call["args"], "id": name}]))
        results.append(ToolMessage(answer, name=call["name"], tool_call_id=name, id=f"m-{count}"))
    return {"messages": results, "waiting": [], "found": count - state["found"], **_about(context.session)}


def read(tools: dict[str, type[SessionTool]], name: str, args: Any) -> SessionTool | str:
    """The tool that a call means; what is not offered or not valid is refused in one line, with what to mend."""
    kind = tools.get(name)
    if kind is None:
        return f"{REFUSED} there is no tool {one_line(name)[:80]}; there are {', '.join(tools)}"
    try:
        return kind.model_validate(args)
    except ValidationError as error:
        return f"{REFUSED} {first_problem(error)}"


def done(tool: SessionTool, session: Session) -> str:
    """What a tool says, or the one line that it failed with."""
    try:
        answer = tool.work(session)
    except KeyboardInterrupt:
        answer = "Interrupted. What is done is kept: the same words go on from there."
    except Exception as error:  # one tool fails, the conversation goes on
        answer = told(error)
    return answer if len(answer) <= LONGEST else answer[: LONGEST - 1] + "…"


def calls_since(messages: Sequence[BaseMessage]) -> int:
    """Answers since the person spoke last."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        count += isinstance(message, AIMessage)
    return count


def _planned(tool: SessionTool, session: Session) -> tuple[SessionTool | str, str]:
    """The tool with its plan, or the line that says why it cannot be done, before anybody is asked."""
    try:
        return tool, tool.plan(session)
    except Exception as error:  # a conversation goes on
        return told(error), ""


def _about(session: Session) -> dict[str, str]:
    """What the conversation is about, for a process that takes it up later."""
    return {"run": "" if session.run is None else session.run.id, "model": session.model, "designer": session.designer}


def _result(call: Any, text: str, name: str | None = None) -> ToolMessage:
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "", id=name)


def _after_answer(state: State) -> Literal["use_tools", "approve", "listen"]:
    last = state["messages"][-1]
    if isinstance(last, AIMessage) and (last.tool_calls or last.invalid_tool_calls):
        return "use_tools"
    return "approve" if state["waiting"] else "listen"


def _after_word(state: State) -> Literal["work", "converse", "listen"]:
    last = state["messages"][-1]
    if not state["waiting"]:
        return "listen"
    low = last.text.lower().rstrip(".!。！ ")
    return "work" if low in YES or low in ALWAYS else "converse"
