"""What a run took and still takes, what it made of each block, and its removal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool
from runs.fold.history import History
from runs.fold.tally import eta
from runs.fold.words import percent, short_time
from runs.run import Run, list_runs, open_run, remove
from tools.io.errors import UsageError

MOST = 6
"""Runs that are named."""
MATRICES = 8
"""Matrices of a block that are told one by one."""
ALL = "all"
"""What stands for every run, in the place of an id."""


class Spent(SessionTool):
    """What the run has cost so far, minutes, candidates, tokens and money, and how much longer it takes."""

    group: ClassVar[Group] = "look"

    def work(self, session: Session) -> str:
        """From the journal."""
        run = session.present()
        history = run.history()
        return f"Run {run.id} so far: {_so_far(history)}.\n{_left(session, history)}"


def _so_far(history: History) -> str:
    spent, budget = history.ledger.settled, history.ledger.budget
    of = {
        "minutes": f"{spent.minutes:.1f}",
        "candidates": f"{spent.candidates}",
        "tokens": f"{spent.tokens:,}",
        "money": f"{spent.money:.2f}",
    }
    named = {"tokens": "tokens of a language model", "money": "US dollars"}
    limits = {name: getattr(budget, name) for name in of}
    return ", ".join(
        f"{said} {named.get(name, name)}" + ("" if limits[name] is None else f" of at most {limits[name]:,.4g}")
        for name, said in of.items()
    )


def _left(session: Session, history: History) -> str:
    """How much longer, as far as that can be told."""
    if not session.working:
        return "Nothing is at work on it now."
    if (left := eta(history)) is not None:
        return f"The search takes about {short_time(left)} more at its pace so far; then finalists are made and tested."
    step = history.stages.step
    where = "" if step is None else f": it is at {step.name}"
    return f"How much longer it takes cannot be told now{where}."


class Sparsities(SessionTool):
    """How much of each block was removed, in a candidate or in the result of the run."""

    group: ClassVar[Group] = "look"

    candidate: str = Field(default="", pattern=r"^(c-\d+)?$", description="c-3; empty for the result, else the best.")

    def work(self, session: Session) -> str:
        """From the journal."""
        run, history = session.present(), session.history()
        ranked = history.ranked()
        name = self.candidate or history.winner or history.leading or (ranked[0].id if ranked else "")
        if not name:
            return f"Nothing is measured yet in run {run.id}, so no block has a sparsity."
        if name not in history.rates and name in history.finals:
            return f"Measured sparsity of {name} by block (run {run.id}):\n" + _zeros(history.finals[name].sparsities)
        if name not in history.rates:
            return f"The sparsity of the blocks of {name} is not known: it was not measured in run {run.id}."
        rates = ", ".join(f"{block}: {100 * rate:.1f} %" for block, rate in enumerate(history.rates[name]))
        whole = (
            f"; {100 * history.candidates[name].recipe.sparsity:.3g} % on the whole"
            if name in history.candidates
            else ""
        )
        return f"Sparsity of {name} by block (run {run.id}{whole}):\n  {rates}"


def _zeros(sparsities: Mapping[str, float]) -> str:
    """A line for every block: the share of each of its matrices, or the least and the most where these are many."""
    blocks: dict[str, dict[str, float]] = {}
    for name, share in sparsities.items():
        block, _, inside = re.sub(r"^.*?\.(\d+)\.", r"\1 ", name).partition(" ")
        blocks.setdefault(block, {})[inside] = share
    return "\n".join(f"  {block}: {_shares(found)}" for block, found in blocks.items())


def _shares(found: Mapping[str, float]) -> str:
    least, most = min(found.values()), max(found.values())
    if f"{least:.3f}" == f"{most:.3f}":
        return percent(least)
    if len(found) > MATRICES:
        return f"{percent(least)} to {percent(most)} of {len(found)} matrices"
    return ", ".join(f"{inside.rpartition('.')[2]} {percent(share)}" for inside, share in found.items())


class RemoveRun(SessionTool):
    """Delete a run, or every run, with everything in its folder, the pruned model included; it cannot be undone."""

    group: ClassVar[Group] = "run"

    run: str = Field(
        default="",
        max_length=100,
        description=f"Its id; empty for the run that is talked about; {ALL} only where the person said all runs.",
    )

    def plan(self, session: Session) -> str:
        """What would be gone."""
        if self.run == ALL:
            return self._plan_of_all(session)
        run = self._found(session)
        size = _bytes(run)
        state, goal = run.glance()
        return (
            f"Plan: delete run {run.id} ({goal}, {state}) with everything in it, {size / 2**20:,.1f} MiB; "
            "that cannot be undone."
        )

    def work(self, session: Session) -> str:
        """Delete it."""
        if self.run == ALL:
            return self._work_on_all(session)
        run = self._found(session)
        remove(run)
        if session.run is not None and session.run.id == run.id:
            session.run = None
        return f"Run {run.id} is deleted."

    def _plan_of_all(self, session: Session) -> str:
        """Raises UsageError where there is none, or one is at work."""
        if not (runs := list_runs(session.settings.home)):
            raise UsageError("There are no runs, so there is none to remove.")
        if working := [run.id for run in runs if run.engine is not None]:
            raise UsageError(f'Run {working[0]} is at work: say "stop" first, and remove all when it has ended.')
        named = ", ".join(run.id for run in runs[:MOST]) + (f" and {len(runs) - MOST} more" if len(runs) > MOST else "")
        return (
            f"Plan: delete {'the only run' if len(runs) == 1 else f'all {len(runs)} runs'} ({named}) with everything, "
            f"{'its model' if len(runs) == 1 else 'their models'} included, "
            f"{sum(map(_bytes, runs)) / 2**20:,.1f} MiB; that cannot be undone."
        )

    def _work_on_all(self, session: Session) -> str:
        self._plan_of_all(session)
        runs = list_runs(session.settings.home)
        for run in runs:
            remove(run)
        session.run = None
        return f"{'The only run is' if len(runs) == 1 else f'All {len(runs)} runs are'} deleted."

    def _found(self, session: Session) -> Run:
        run = open_run(session.settings.home, self.run) if self.run else session.present()
        if run.engine is not None:
            raise UsageError(f'Run {run.id} is at work: say "stop" first, and remove it when it has ended.')
        return run


def _bytes(run: Run) -> int:
    return sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
