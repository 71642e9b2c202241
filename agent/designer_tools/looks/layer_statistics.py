"""`layer_statistics`: one number for every block."""

from __future__ import annotations

from typing import Literal

from agent.designer_tools.arguments import Arguments
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool


class LayerStatistic(Arguments):
    """One statistic over all blocks."""

    name: Literal["skew", "kurtosis", "score_skew", "outliers(5)", "redundancy", "score_mean"]


def layer_statistics(step: Step, asked: LayerStatistic) -> str:
    """One value per block, first to last."""
    values = step.situation.bench.layers.terminals(frozenset({asked.name}), "block")[asked.name].tolist()
    return f"{asked.name} by block: " + ", ".join(f"{block}: {value:.3g}" for block, value in enumerate(values))


TOOL = Tool("layer_statistics", LayerStatistic, layer_statistics)
