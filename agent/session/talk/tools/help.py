"""Beginning and end of a conversation."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from agent.session.settings import CONFIG, Source
from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool
from runs.designers import designers_of
from tools.io.errors import UsageError
from tools.io.files import expanded

MOST = 8
"""Tasks that are named."""

HELP = """You can say, for example:
  prune smollm2-135m to 50 %            prune ./my-model to 2:4, keep perplexity within 10 %
  what is smollm2-135m?                 which layers matter most?
  why not 2:4?      explain c-12        compare c-1 and c-4      what did you learn?
  try |W| * X^0.5 on layer 3            what would owl do?
  go on for ten more minutes            continue what we did on smollm2 yesterday
  no OBS please     spare block 0       only depth      stop after this one
  how good is it on HellaSwag?          evaluate it on piqa and arc easy with 100 samples
  how much time is left?                what will it cost to prune tiny to 50 %?
  is it better than wanda?              show the sparsity of all blocks
  what is the plan?                     without the evaluation
  what happened?                        keep the first block whole
  export it to ./pruned                 export it as gguf to x.gguf
  what is 2:4?      does it need retraining?            ask both: what is a tree?
  chat with both    reproduce it      upload it         which runs are there?
  use openai:qwen   use openai:a,openai:b               stop      bye"""


class Help(SessionTool):
    """What can be said."""

    group: ClassVar[Group] = "talk"

    def work(self, session: Session) -> str:
        """Examples."""
        return HELP


class UseDesigner(SessionTool):
    """Who designs the recipes of the next run, as "use openai:qwen" or "use builtin" says; a language model answers in
    this conversation, too."""

    group: ClassVar[Group] = "talk"

    name: str = Field(
        min_length=1,
        max_length=200,
        description="builtin, random, evolution, self, openai:NAME, local:PATH, provider:NAME, or openai:A,openai:B.",
    )

    def plan(self, session: Session) -> str:
        """What every answer costs, where a provider is paid; a name that can be no designer is refused."""
        from agent.designers.choose import check
        from agent.llm.prices import own

        check(self.name)
        members = designers_of(self.name)
        paid = [member for member in members if not own(member)]
        if not paid:
            return ""
        costs = [_cost(member, session) for member in paid]
        if len(members) == 1:
            return f"Plan: {self.name} designs the next run and answers here, at its provider's price: {costs[0]}."
        told = "; ".join(f"{member}: {cost}" for member, cost in zip(paid, costs, strict=True))
        return f"Plan: {' and '.join(members)} design the next run, {members[0]} answers here. Prices: {told}."

    def work(self, session: Session) -> str:
        """Take it from now on."""
        from agent.designers.choose import check

        check(self.name)
        session.answered_by(self.name)
        session.designer = self.name
        members = designers_of(self.name)
        if len(members) > 1:
            rest = " or ".join(members[1:])
            return (
                f"{' and '.join(members)} design the next run: a bandit asks whoever improves. {members[0]} answers "
                f"here from your next line on, {rest} where it cannot."
            )
        if ":" in self.name and not self.name.startswith("replay:"):
            return f"{self.name} designs the next run, and answers here from your next line on."
        return f"{self.name} designs the next run; here the rules read what you say."


class UseTasks(SessionTool):
    """Take the person's own tasks from a folder: every NAME.jsonl in it is a task of that name from now on."""

    group: ClassVar[Group] = "talk"

    folder: str = Field(min_length=1, max_length=300, description="As said.")

    def plan(self, session: Session) -> str:
        """Nothing is asked; a folder without tasks is refused."""
        self._tasks()
        return ""

    def work(self, session: Session) -> str:
        """Set it for this conversation, as the command line would have."""
        folder, tasks = expanded(self.folder).resolve(), self._tasks()
        settings = session.settings
        values = settings.values.model_copy(update={"task_data": str(folder)})
        sources: dict[str, Source] = {**settings.sources, "task_data": "command line"}
        session.settings = replace(settings, values=values, sources=sources)
        known = ", ".join(tasks[:MOST]) + (f" and {len(tasks) - MOST} more" if len(tasks) > MOST else "")
        return (
            f'Tasks come from {folder} until this conversation is left: {known}. "evaluate it on {tasks[0]}" asks one; '
            f'task_data = "{folder}" in {settings.home / CONFIG} keeps the folder.'
        )

    def _tasks(self) -> list[str]:
        """The names of its tasks.

        Raises:
            UsageError: there is no such folder, or none in it.
        """
        folder = expanded(self.folder)
        if not folder.is_dir():
            raise UsageError(f"{self.folder} is no folder: name the one that holds your tasks, each as NAME.jsonl.")
        if not (tasks := sorted(path.stem for path in folder.glob("*.jsonl"))):
            raise UsageError(f"{self.folder} holds no task: each is a file NAME.jsonl, a question a line.")
        return tasks


def _cost(member: str, session: Session) -> str:
    from agent.llm.prices import price_of

    price = price_of(member, session.settings.home)
    if price is None:
        return "its price is not known here"
    return f"{price.read:g} US dollars per million tokens read, {price.write:g} written"


class Leave(SessionTool):
    """The person says goodbye."""

    group: ClassVar[Group] = "talk"

    def work(self, session: Session) -> str:
        """End the conversation; it can be taken up again."""
        session.over = True
        return "Bye." + (f" `secateur chat --run {session.run.id}` takes this up again." if session.run else "")
