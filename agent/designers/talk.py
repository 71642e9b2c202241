"""One conversation with a language model: a step of its own, whose tools it calls until it has what was wanted."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware, hook_config
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from agent.designer_tools.toolbox import Toolbox
from agent.llm.connection import Connection
from agent.llm.journalled import JournalledModel, Unusable
from agent.llm.leaving import Stopped
from agent.prompts.prompt import Style, opening, prompt
from agent.recorder import Recorder
from agent.situation import Situation
from agent.steering.obedience import obedience
from runs.budget import BudgetSpent
from runs.events import Note

NUDGES = 3
"""Answers without a usable call before a step is over."""


class Insist(AgentMiddleware[Any, Any, Any]):
    """Asks again where an answer calls no tool, or calls one in broken JSON; takes away what leads nowhere."""

    def __init__(self, box: Toolbox, talk: Talk) -> None:
        super().__init__()
        self._box, self._talk = box, talk
        self._nudges = 0

    @hook_config(can_jump_to=["model", "end"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Say what was wrong with an answer that calls nothing, a few times."""
        last = state["messages"][-1]
        if not isinstance(last, AIMessage) or last.tool_calls:
            return None
        self._nudges += 1
        if self._nudges > NUDGES:
            return {"jump_to": "end"}
        broken = [call["name"] for call in last.invalid_tool_calls]
        what = f"The arguments of {broken[0]} were no JSON object" if broken else "You called no tool"
        return {"messages": [HumanMessage(f"{what}. Call one of the tools, or finish.")], "jump_to": "model"}

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """Only the tools that are still on the table."""
        return handler(request.override(tools=[tool for tool in request.tools if self._box.offered(tool.name)]))

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Hand on what the person said since; end the conversation once the step is done, or the person says stop."""
        if self._box.step.done:
            return {"jump_to": "end"}
        calls = sum(isinstance(message, AIMessage) for message in state["messages"])
        words = self._talk.hear(calls + 1)
        return {"messages": [HumanMessage(words)]} if words else None


@dataclass
class Talk:
    """A conversation that is to be held."""

    connection: Connection
    record: Recorder
    style: Style
    step: Step
    kind: str
    """`reason` or `design`."""
    tools: Sequence[Tool[Any]]
    most_calls: int
    told: int = 0
    """How much of what the person said the model knows."""
    spent: bool = False
    """Whether the budget ended it."""

    @classmethod
    def about(cls, situation: Situation, home: Path, wanted: int, **more: Any) -> Talk:
        """One with a step and a screen of its own, so that nothing depends on what others say meanwhile."""
        return cls(step=Step(situation, situation.known, home, wanted), **more)

    @property
    def topic(self) -> str:
        """What its calls are named after."""
        return self.step.situation.topic(self.kind)

    def hold(self) -> None:
        """Let the model work until it finishes, the step is done, or a limit is reached; in one's turn.

        Raises:
            Stopped: the person said stop.
        """
        with self.connection.turn():
            try:
                # In a context of its own: an outer graph's checkpoints and callbacks have no business here.
                contextvars.Context().run(self._invoke)
            except Unusable as problem:
                say(self.record, str(problem))
            except BudgetSpent as spent:
                self.spent = True
                say(self.record, str(spent))

    def _invoke(self) -> None:
        situation, topic = self.step.situation, self.topic
        box = Toolbox(self.step, self.record, self.tools)
        agent: Any = create_agent(
            JournalledModel(connection=self.connection, topic=topic),
            box.tools,
            system_prompt=SystemMessage(opening(situation)),
            middleware=[Insist(box, self), ModelCallLimitMiddleware(run_limit=self.most_calls)],
            checkpointer=False,
        )
        first = situation.history.heard.get(f"{topic}/1")
        self.told = len(situation.history.said) if first is None else first
        rng = Random(f"{situation.goal.seed}/{topic}")
        words = prompt(situation, self.kind, self.style, self.step.wanted, rng)
        config = {"recursion_limit": 12 * self.most_calls + 20, "max_concurrency": 1}
        agent.invoke({"messages": [HumanMessage(words)]}, config)

    def hear(self, number: int) -> str:
        """What the person said since the call before the one of this number, which binds from here on; of a call that
        was answered before, what was said by then.

        Raises:
            Stopped: the person said stop.
        """
        record, history, call = self.record, self.record.history, f"{self.topic}/{number}"
        upto = history.heard.get(call)
        if upto is None:
            record.hear(f"call {call}")
            if record.ends:
                raise Stopped("stopped")
        fresh = history.words(upto, since=self.told)
        self.told = max(self.told, len(history.said) if upto is None else upto)
        if not fresh:
            return ""
        situation = self.step.situation
        self.step.screen.obey(obedience(situation.bench, record.run.goal, situation.history, upto))
        return f"The person says now, and it binds whatever you propose from here on: {' / '.join(fresh)}"


def say(record: Recorder, text: str) -> None:
    """A note, once in a run."""
    if text not in record.history.notes:
        record(Note(text=text))
