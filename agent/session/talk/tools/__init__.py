"""All that can be asked for in conversation; the table is what models are offered and what the grammar may call."""

from __future__ import annotations

from agent.session.talk.tools.account import RemoveRun, Sparsities, Spent
from agent.session.talk.tools.chat import ChatWithModels
from agent.session.talk.tools.deliver import Export, Recover, Upload
from agent.session.talk.tools.explain import Explain
from agent.session.talk.tools.formulas import TryAllocation, TryMetric
from agent.session.talk.tools.help import Help, Leave, UseDesigner, UseTasks
from agent.session.talk.tools.look import (
    Candidates,
    Compare,
    Happened,
    Lessons,
    PastRuns,
    Pattern,
    Recall,
    Report,
    Standing,
    Thoughts,
    Uses,
    WhyWon,
)
from agent.session.talk.tools.measure import EvaluateTasks, Generations, Perplexity, Speed
from agent.session.talk.tools.model import LayerStatistics, MemoryNeed, ModelFacts
from agent.session.talk.tools.reproduce import Reproduce
from agent.session.talk.tools.run import Foresee, GoOn, Pause, Prune, Resume, Steer, Stop
from agent.session.talk.tools.tool import SessionTool
from agent.session.talk.tools.waits import Queue, WhatWaits, Withdraw

ALL: tuple[type[SessionTool], ...] = (
    Prune,
    Foresee,
    GoOn,
    Resume,
    Steer,
    Pause,
    Stop,
    Queue,
    Withdraw,
    WhatWaits,
    Standing,
    Spent,
    Candidates,
    Compare,
    WhyWon,
    Uses,
    Happened,
    Sparsities,
    Lessons,
    Thoughts,
    Pattern,
    Explain,
    PastRuns,
    RemoveRun,
    Recall,
    Report,
    ModelFacts,
    MemoryNeed,
    LayerStatistics,
    TryMetric,
    TryAllocation,
    EvaluateTasks,
    Perplexity,
    Generations,
    ChatWithModels,
    Speed,
    Recover,
    Export,
    Upload,
    Reproduce,
    UseDesigner,
    UseTasks,
    Help,
    Leave,
)
TOOLS = {tool.called(): tool for tool in ALL}
"""By the names that models call them by."""
