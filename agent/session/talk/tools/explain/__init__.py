"""General knowledge of pruning, told without a number that was not measured."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool
from runs.fold.summary import describe

FILE = Path(__file__).parent / "knowledge.txt"


@cache
def subjects() -> dict[str, str]:
    """What can be explained -> the answer."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return dict(line.split(" = ", 1) for line in lines if line and not line.startswith("#"))


class Explain(SessionTool):
    """Explain a term or answer a general question on pruning, where nothing has to be measured."""

    group: ClassVar[Group] = "look"

    subject: str = Field(
        max_length=40,
        description="unstructured, n:m, structured (or unstructured?), retraining, faster, size, how much, "
        "best method, perplexity, calibration, models, hardware, runtimes, or a method: wanda, sdsa.",
    )
    beside: str = Field(default="", max_length=40, description="Another subject, where two are compared.")
    language: str = Field(default="", max_length=10, description="In which it was asked, where that is not English.")

    @field_validator("subject", "beside")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and value not in subjects():
            raise ValueError(f"{value} cannot be explained here: there are {', '.join(subjects())}")
        return value

    def work(self, session: Session) -> str:
        """From a list; a method's recipe is the one that is compared with here."""
        from tools.recipe.methods import RECIPES

        lines: list[str] = []
        for subject in filter(None, (self.subject, self.beside)):
            of = RECIPES.get(subject)
            lines += [subjects()[subject], *([] if of is None else [f"Its recipe here: {describe(of)}."])]
        return "\n".join([*lines, *(["(Explanations are in English only.)"] if self.language else [])])
