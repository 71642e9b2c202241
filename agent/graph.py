"""The state machine.

    brief -> survey -> recall -> reason -> design -> screen -> measure -> select -+-> conclude
                                   ^------------------------------------------------+

A goal that names a method or a recipe goes from the survey straight to the end.
"""

from __future__ import annotations

from itertools import pairwise

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from agent.context import Context, State
from agent.nodes.deliver import conclude
from agent.nodes.design import design
from agent.nodes.measure import measure
from agent.nodes.reason import reason
from agent.nodes.recall import recall
from agent.nodes.screen import screen
from agent.nodes.select import select
from agent.nodes.survey import brief, survey


def _after_survey(state: State, runtime: Runtime[Context]) -> str:
    return "recall" if runtime.context.goal.searches else "conclude"


def _after_select(state: State) -> str:
    """After memory was asked, too: a run that is resumed may have searched enough."""
    return "conclude" if state["enough"] else "reason"


def build(checkpoints: BaseCheckpointSaver[str]) -> CompiledStateGraph[State, Context, State, State]:
    """Compile the graph with a checkpointer."""
    graph = StateGraph(State, context_schema=Context)
    loop = (reason, design, screen, measure, select)
    for node in (brief, survey, recall, *loop, conclude):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "brief")
    graph.add_edge("brief", "survey")
    graph.add_conditional_edges("survey", _after_survey, ["recall", "conclude"])
    graph.add_conditional_edges("recall", _after_select, ["reason", "conclude"])
    for first, then in pairwise(loop):
        graph.add_edge(first.__name__, then.__name__)
    graph.add_conditional_edges("select", _after_select, ["reason", "conclude"])
    graph.add_edge("conclude", END)
    return graph.compile(checkpointer=checkpoints)
