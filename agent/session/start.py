"""Start a run, carry it out, and leave nothing behind where it could not even begin."""

from __future__ import annotations

from collections.abc import Callable

from agent.session.settings import Settings
from runs.events import Event
from runs.fold.history import History
from runs.fold.summary import summary
from runs.goal import Goal
from runs.report import Summary
from runs.run import Run, create, remove
from tools.model.checkpoint import locate


def start(settings: Settings, goal: Goal) -> Run:
    """Make a run for a goal; a model that is not there fails before the run exists."""
    locate(goal.model, settings.cache)
    return create(settings.home, goal)


def carry_out(run: Run, listen: Callable[[Event], None] | None = None) -> Summary:
    """Work on a run until it is done; one that fails at its first attempt before it learnt anything is removed."""
    from agent.engine import work

    new = not run.read()
    try:
        work(run, listen=listen)
    except Exception:
        learnt = History.of(run.journal.read())
        if new and learnt.survey is None and not learnt.references:
            remove(run)
        raise
    return summary(run.history())
