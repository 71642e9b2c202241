"""Measuring again what a run measured."""

from __future__ import annotations

from typing import Any, ClassVar

from agent.session.talk.session import Session
from agent.session.talk.tools.subjects import SHORT
from agent.session.talk.tools.tool import Group, SessionTool
from runs.fold.history import History
from runs.run import Run
from tools.io.errors import UsageError
from tools.measure.tasks.words import minutes

STAGES = ("statistics", "finalists", "test")
"""Of a run: what they computed is computed again, with fewer recipes."""
EXACT = "the same to the last digit"
ROWS = 6
"""Numbers that differ and are told one by one."""


class Reproduce(SessionTool):
    """Measure again what this run measured, from its reproduce.yaml, and say which numbers come out the same."""

    group: ClassVar[Group] = "deliver"

    def plan(self, session: Session) -> str:
        """What is computed again, and how long it took then; a run without a table is refused."""
        run = self._run(session)
        history = run.history()
        took = self._seconds(history)
        if took < SHORT:
            return ""
        rows = len(history.finals)
        return (
            f"Plan: the {rows} rows of the table of run {run.id} are made and measured again from the model and the "
            f"texts: {minutes(took / 60)}, as the same stages took then. Nothing is written."
        )

    def work(self, session: Session) -> str:
        """Have it done; says what is the same."""
        run = self._run(session)
        given = {name: session.settings.given(name) for name in ("device", "threads")}
        more = [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]
        return self._told(run, session.command("reproduce", str(run.reproduction_file), *more, also=1))

    def _run(self, session: Session) -> Run:
        run = session.present()
        if session.working:
            raise UsageError(f"Run {run.id} is at work: it can be reproduced when it is over.")
        if not run.reproduction_file.exists():
            raise UsageError(f"Run {run.id} has no {run.reproduction_file.name}: its table was not finished.")
        return run

    def _seconds(self, history: History) -> float:
        return sum(step.seconds or 0.0 for step in history.stages.steps if step.name in STAGES)

    def _told(self, run: Run, found: dict[str, Any]) -> str:
        numbers = [(row, name, of) for row, names in found["rows"].items() for name, of in names.items()]
        off = [one for one in numbers if one[2]["verdict"] != EXACT]
        lines = [
            f"{len(numbers) - len(off)} of {len(numbers)} numbers of run {run.id} come out the same to the last digit."
        ]
        lines += [
            f"  {row} {name}: {of['found']} now, {of['expected']} then ({of['verdict']})" for row, name, of in off
        ]
        if len(off) > ROWS:
            lines = [*lines[: ROWS + 1], f"  and {len(off) - ROWS} more"]
        lines += [f"  {name}: {of['then']} then, {of['now']} now" for name, of in found["differs_from"].items()]
        command = f"`secateur reproduce {run.reproduction_file}` does the same in a terminal."
        return "\n".join([*lines, ("It is reproduced. " if found["same"] else "It is not reproduced. ") + command])
