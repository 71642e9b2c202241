"""All that can be asked for in conversation; the table is what models are offered and what the grammar may call."""

from __future__ import annotations

from agent.session.talk.tools.deliver import Export
from agent.session.talk.tools.help import Help, Leave
from agent.session.talk.tools.look import Candidates, Compare, Lessons, PastRuns, Pattern, Standing
from agent.session.talk.tools.measure import EvaluateTasks
from agent.session.talk.tools.run import GoOn, Prune, Resume, Steer, Stop
from agent.session.talk.tools.tool import SessionTool

ALL: tuple[type[SessionTool], ...] = (
    Prune,
    GoOn,
    Resume,
    Steer,
    Stop,
    Standing,
    Candidates,
    Compare,
    Lessons,
    Pattern,
    PastRuns,
    EvaluateTasks,
    Export,
    Help,
    Leave,
)
TOOLS = {tool.called(): tool for tool in ALL}
"""By the names that models call them by."""
