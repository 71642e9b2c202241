"""A server that plays a language model, after its script."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from agent.context import Context
from agent.nodes.design import design
from agent.nodes.reason import reason
from agent.nodes.screen import screen
from runs.events import CandidateProposed
from runs.goal import Goal
from tests.agent import searches
from tests.agent.loopback import Reply, Script, call
from tools.recipe import Calibration

KEY = "sk-planted-secret-0123456789"


WHY = {"why": "the statistics say so"}


TOOLS = {
    "layer_statistics",
    "inspect_layers",
    "try_metric",
    "recall",
    "compare",
    "write_thought",
    "propose_metric",
    "propose_allocation",
    "propose_rates",
    "propose_recipe",
    "crossover",
    "finish",
}


def goal(**changes: object) -> Goal:
    own: dict[str, object] = {"calibration": Calibration(windows=4, length=64), "designer": "openai:test"}
    return searches.goal(**(own | changes))


def generation(context: Context) -> list[CandidateProposed]:
    """Reason and design the second generation; returns its candidates."""
    runtime: Any = SimpleNamespace(context=context)
    state: Any = {"generation": 1, "enough": ""}
    for node in (reason, design, screen):
        state = node(state, runtime)
    return [e for e in context.recorder.run.read() if isinstance(e, CandidateProposed) and e.candidate.generation == 1]


def step(request: dict[str, Any]) -> str:
    """Which step of the loop a request belongs to."""
    names = {tool["function"]["name"] for tool in request.get("tools", [])}
    return "reason" if "write_thought" in names else "design"


def good(request: dict[str, Any], number: int) -> Reply:
    """A designer as one wishes for: it looks, thinks, proposes metric, allocation, rates and a crossover."""
    done = sum(message["role"] == "assistant" for message in request["messages"])
    if step(request) == "reason":
        thought = {"kind": "hypothesis", "text": "The first block is skewed: spare it.", "about": ["c-1"]}
        replies = [call("compare", {"candidates": ["c-1", "c-2"]}), call("write_thought", thought), call("finish", WHY)]
        return replies[min(done, 2)]
    replies = [
        call("layer_statistics", {"name": "skew"}, text="Let me look."),
        call("try_metric", {"expression": "W * X ** 0.8"}),
        call("propose_metric", {"expression": "W * X ** 0.8", "base": "c-1", **WHY}),
        call(
            "propose_allocation",
            {"expression": "softmax(z(score_skew) / 2)", "width": 0.07, "granularity": "layer", "base": "c-1", **WHY},
        ),
        call(
            "propose_rates",
            {"base": "c-1", "rates": [{"unit": 0, "sparsity": 0.3}, {"unit": 4, "sparsity": 0.6}], **WHY},
        ),
        call("crossover", {"first": "c-1", "second": "c-4", "take": ["allocation"], **WHY}),
        call("finish", WHY),
    ]
    return replies[min(done, len(replies) - 1)]


def hostile(reply: Callable[[dict[str, Any], int], Reply], times: int = 10**9) -> Script:
    """Misbehave the first so many times, then be good."""
    return lambda request, number: reply(request, number) if number <= times else good(request, number)
