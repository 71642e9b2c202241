"""What becomes of the pruned model."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from agent.session.talk.past import export
from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool
from tools.io.errors import UsageError


class Export(SessionTool):
    """Hand the pruned model out: where it is, or a copy in a folder of the person's own."""

    group: ClassVar[Group] = "deliver"

    folder: str | None = Field(default=None, max_length=300)

    def work(self, session: Session) -> str:
        """Copy it, or say where it is."""
        if session.run is None or not session.run.model_folder.exists():
            raise UsageError("There is no pruned model yet.")
        return export(session.run, self.folder)
