"""Tools that propose candidates: edits of measured ones, checked before they count as drafts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.designer_tools.proposals import allocation, crossover, metric, rates, recipe, split
from agent.designer_tools.tool import Tool

PROPOSALS: Sequence[Tool[Any]] = (
    metric.TOOL,
    allocation.TOOL,
    rates.TOOL,
    recipe.TOOL,
    crossover.TOOL,
    split.TOOL,
)
"""In the order that a model reads them."""
