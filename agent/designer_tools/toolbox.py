"""Which tools a step offers, and what happens when a language model calls one.

Nothing here spends budget. A refusal says what to mend, and after a bounded number of refusals the step is over. The
only functions that can be called are those listed here, whatever a model asks for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel

from agent.designer_tools import finish, write_thought
from agent.designer_tools.arguments import choosing_among
from agent.designer_tools.looks import LOOKS
from agent.designer_tools.proposals import PROPOSALS
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from agent.recorder import Recorder
from runs.events import ToolUsed
from tools.io.errors import SecateurError, UsageError

REASON: Sequence[Tool[Any]] = (*LOOKS, write_thought.TOOL, finish.TOOL)
"""Tools of the reason step."""
DESIGN: Sequence[Tool[Any]] = (*LOOKS, *PROPOSALS, finish.TOOL)
"""Tools of the design step."""
LOOKING = frozenset(tool.name for tool in LOOKS)
MORE_LOOKS = 3
"""Looks in one step beyond the number of drafts wanted; then only tools that propose or write down are left."""
LONGEST = 6000
"""Characters of a tool's answer; a model of any size reads this."""


class Toolbox:
    """The tools of one step, as a language model is offered them."""

    def __init__(self, step: Step, record: Recorder, tools: Sequence[Tool[Any]]) -> None:
        """Of `tools`, those that mean something in this run."""
        self.step = step
        self._record = record
        self._asked: set[tuple[str, str]] = set()
        self._stale: set[str] = set()
        choice = [candidate.id for candidate in step.situation.history.ranked()]
        self.tools = [self._offer(tool, choice) for tool in tools if tool.fits(step.situation.goal)]

    def offered(self, name: str) -> bool:
        """Whether a tool is on the table: not one that was only asked the same again, nor a look after enough looks,
        nor the end before it may come."""
        if name == finish.TOOL.name:
            return self.step.may_finish
        looks = sum(asked in LOOKING for asked, _ in self._asked)
        return name not in self._stale and (name not in LOOKING or looks < self.step.wanted + MORE_LOOKS)

    def _offer(self, tool: Tool[Any], choice: Sequence[str]) -> BaseTool:
        schema = choosing_among(tool.arguments, choice)

        def use(**arguments: Any) -> str:
            return self._use(tool, schema.model_validate(arguments))

        description = schema.__doc__ or tool.name
        return StructuredTool.from_function(use, name=tool.name, description=description, args_schema=schema)

    def _use(self, tool: Tool[Any], arguments: BaseModel) -> str:
        """Do it, and say why where it cannot be done; either way the journal tells."""
        start, text = time.perf_counter(), arguments.model_dump_json()
        try:
            self._once(tool.name, text)
            answer = tool.work(self.step, arguments)
        except SecateurError as error:
            self.step.refused += 1
            answer = f"refused: {error}"
        answer = answer if len(answer) <= LONGEST else answer[: LONGEST - 1] + "…"
        generation = self.step.situation.generation
        if (generation, tool.name, text) not in self._record.history.used:
            taken = round(time.perf_counter() - start, 3)
            used = ToolUsed(name=tool.name, arguments=text, result=answer, seconds=taken, generation=generation)
            self._record(used)
        return answer

    def _once(self, name: str, arguments: str) -> None:
        """Small models go in circles: what was asked before is not answered, and its tool is taken off the table."""
        if (name, arguments) in self._asked and name != finish.TOOL.name:
            self._stale.add(name)
            raise UsageError("you asked exactly this before, its answer stands above: do something else")
        self._asked.add((name, arguments))
