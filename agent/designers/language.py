"""The designer that is a language model: it says why edits helped or hurt, then designs, each by calling tools.

What it proposes goes through the same screening and measuring as any other candidate. Where it stays unusable, the
builtin operators take over, visibly, so that a run always ends.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware, hook_config
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from agent.breeding.genes import Child
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from agent.designer_tools.toolbox import DESIGN, REASON, Toolbox
from agent.designers import Reason
from agent.designers.builtin import Builtin
from agent.llm.connection import Connection
from agent.llm.journalled import JournalledModel, Unusable
from agent.llm.leaving import Stopped
from agent.prompts.prompt import Style, opening, prompt
from agent.prompts.templates import draw_template
from agent.recorder import Recorder
from agent.situation import Situation
from agent.steering.obedience import Obedience, obedience
from runs.budget import BudgetSpent
from runs.events import Note

REASON_CALLS = 8
"""Calls of the model in one reason step, tools included."""
DESIGN_CALLS = 4
"""Calls in one design step, for every wanted candidate."""
NUDGES = 3
"""Answers without a usable call before a step is over."""
SILENT_GENERATIONS = 2
"""Generations in a row without one accepted proposal after which the model is not asked any more."""


class Insist(AgentMiddleware[Any, Any, Any]):
    """Asks again where an answer calls no tool, or calls one in broken JSON; takes away what leads nowhere."""

    def __init__(self, box: Toolbox, hear: Callable[[str, Step], str], topic: str) -> None:
        super().__init__()
        self._box, self._hear, self._topic = box, hear, topic
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

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Only the tools that are still on the table."""
        return handler(request.override(tools=[tool for tool in request.tools if self._box.offered(tool.name)]))

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Hand on what the person said since; end the conversation once the step is done, or the person says stop."""
        if self._box.step.done:
            return {"jump_to": "end"}
        calls = sum(isinstance(message, AIMessage) for message in state["messages"])
        words = self._hear(f"{self._topic}/{calls + 1}", self._box.step)
        return {"messages": [HumanMessage(words)]} if words else None


class LanguageModel:
    """A designer behind a chat model."""

    def __init__(self, connection: Connection, record: Recorder, style: Style, home: Path) -> None:
        self.name = connection.name
        self._connection, self._record = connection, record
        self._style = style
        self._home = home
        self._told = 0
        self._builtin = Builtin()

    def reason(self, situation: Situation) -> list[Reason]:
        """The facts, and what the model makes of them."""
        facts = self._builtin.reason(situation)
        if self._given_up(situation) or not self._style.reasons or situation.generation == 0:
            return facts
        step = self._step(situation, wanted=1)
        self._converse("reason", step, REASON, REASON_CALLS)
        return [*facts, *step.thoughts]

    def seeds(self, situation: Situation) -> list[Child]:
        """The published methods; a model has nothing to go on yet."""
        return self._builtin.seeds(situation)

    def propose(self, situation: Situation, fresh: Callable[[Child], bool], count: int) -> list[Child]:
        """What the model proposes; where that is nothing, what the builtin operators do."""
        if self._given_up(situation):
            return self._builtin.propose(situation, fresh, count)
        step = self._step(situation, wanted=count)
        self._converse("design", step, DESIGN, DESIGN_CALLS * count)
        if step.drafts:
            return [self._signed(child, situation) for child in step.drafts]
        self._say(f"{self.name} proposed nothing usable for generation {situation.generation}: builtin operators do")
        now = replace(situation, obedience=self._obedience(situation, situation.history.heard_by(situation.generation)))
        return self._builtin.propose(now, fresh, count)

    def _signed(self, child: Child, situation: Situation) -> Child:
        """With its designer, the template it answers, and the thoughts of this generation that led to it."""
        thoughts = situation.history.thoughts.values()
        own = tuple(t.id for t in thoughts if t.generation == situation.generation and t.kind == "hypothesis")
        template = str(draw_template(situation)) if self._style is Style.CHAIN else ""
        return replace(child, designer=self.name, template=template, thoughts=own)

    def _step(self, situation: Situation, wanted: int) -> Step:
        return Step(situation, situation.known, self._home, wanted)

    def _obedience(self, situation: Situation, upto: int | None) -> Obedience:
        return obedience(situation.bench, self._record.run.goal, situation.history, upto)

    def _hear(self, call: str, step: Step) -> str:
        """What the person said since the call before, which binds from here on; of a call that was answered before,
        what was said by then.

        Raises:
            Stopped: the person said stop.
        """
        record, history = self._record, self._record.history
        upto = history.heard.get(call)
        if upto is None:
            record.hear(f"call {call}")
            if record.ends:
                raise Stopped("stopped")
        fresh = history.words(upto, since=self._told)
        self._told = max(self._told, len(history.said) if upto is None else upto)
        if not fresh:
            return ""
        step.screen.obey(self._obedience(step.situation, upto))
        return f"The person says now, and it binds whatever you propose from here on: {' / '.join(fresh)}"

    def _given_up(self, situation: Situation) -> bool:
        """Whether the last generations were all left to the builtin operators."""
        history, last = situation.history, situation.generation - 1
        recent = [history.generation(g) for g in range(last, last - SILENT_GENERATIONS, -1) if g >= 1]
        return len(recent) == SILENT_GENERATIONS and not any(c.designer == self.name for g in recent for c in g)

    def _converse(self, name: str, step: Step, tools: Sequence[Tool[Any]], most_calls: int) -> None:
        """Let the model work until it finishes, the step is done, or a limit is reached."""
        situation, box = step.situation, Toolbox(step, self._record, tools)
        topic = f"{situation.generation}/{name}"
        rng = Random(f"{situation.goal.seed}/{topic}")
        agent: Any = create_agent(
            JournalledModel(connection=self._connection, topic=topic),
            box.tools,
            system_prompt=SystemMessage(opening(situation)),
            middleware=[Insist(box, self._hear, topic), ModelCallLimitMiddleware(run_limit=most_calls)],
            checkpointer=False,
        )
        first = situation.history.heard.get(f"{topic}/1")
        self._told = len(situation.history.said) if first is None else first
        start = {"messages": [HumanMessage(prompt(situation, name, self._style, step.wanted, rng))]}
        config = {"recursion_limit": 12 * most_calls + 20, "max_concurrency": 1}
        self._record.stage("search", f"{self.name} is being asked ({topic})")
        try:
            # In a context of its own: the outer graph's checkpoints and callbacks have no business here.
            contextvars.Context().run(agent.invoke, start, config)
        except Unusable as problem:
            self._say(str(problem))
        except BudgetSpent as spent:
            self._say(str(spent))
        self._record.stage("search", f"{self.name} was asked ({topic})")

    def _say(self, text: str) -> None:
        if text not in self._record.history.notes:
            self._record(Note(text=text))
