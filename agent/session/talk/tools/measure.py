"""Measuring what a model is worth, beside the model that it came from."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from agent.session.talk.examiner import Examiner
from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool


class EvaluateTasks(SessionTool):
    """How good a model is on tasks such as HellaSwag, by having it answer them beside the model it came from."""

    group: ClassVar[Group] = "measure"

    tasks: tuple[str, ...] = Field(
        min_length=1,
        max_length=20,
        description="Names of lm-eval: hellaswag, piqa, arc_easy, mmlu, gsm8k; commonsense is the seven of the papers.",
    )
    model: str = Field(default="", max_length=300, description="As said; empty for the result of the run.")
    samples: int | None = Field(default=None, ge=1, description="Of every task.")
    all_samples: bool = Field(default=False, description="Whether all samples are asked for.")

    def plan(self, session: Session) -> str:
        """What would be asked, and minutes; nothing where the run's own table answers."""
        if self._known(session):
            return ""
        plan, costs = self._examiner(session).plan()
        return plan if costs else ""

    def work(self, session: Session) -> str:
        """The run's own table, or what the models answer now."""
        return self._known(session) or self._examiner(session).answer()

    def _known(self, session: Session) -> str:
        return "" if session.run is None else self._examiner(session).known(session.history())

    def _examiner(self, session: Session) -> Examiner:
        return Examiner(session, self.tasks, self.model, self.samples, every=self.all_samples)
