"""Tools that only look: they answer with short tables of measured numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.designer_tools.looks import compare, evaluate, inspect_layers, layer_statistics, recall, try_metric
from agent.designer_tools.tool import Tool

LOOKS: Sequence[Tool[Any]] = (
    layer_statistics.TOOL,
    inspect_layers.TOOL,
    try_metric.TOOL,
    compare.TOOL,
    evaluate.TOOL,
    recall.TOOL,
)
"""In the order that a model reads them."""
