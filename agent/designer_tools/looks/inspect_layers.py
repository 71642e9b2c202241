"""`inspect_layers`: every linear of some blocks."""

from __future__ import annotations

from pydantic import Field

from agent.designer_tools.arguments import Arguments, UnitNumber
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from tools.io.errors import UsageError


class InspectLayers(Arguments):
    """The statistics of every linear of up to four blocks."""

    blocks: list[UnitNumber] = Field(min_length=1, max_length=4)


def inspect_layers(step: Step, asked: InspectLayers) -> str:
    """One line per linear of the wanted blocks.

    Raises:
        UsageError: a block is not there.
    """
    bench = step.situation.bench
    last = bench.model.architecture.n_blocks - 1
    if wrong := [block for block in asked.blocks if block > last]:
        raise UsageError(f"block {wrong[0]} is not there: blocks are 0 to {last}")
    lines = ["block role (out, in) skew kurtosis outliers% redundancy score_mean input_norm"]
    for row in bench.layers.rows():
        if row.block in asked.blocks:
            lines.append(
                f"{row.block} {row.role} {row.shape} {row.skew:.2f} {row.kurtosis:.1f} {row.outliers:.2f} "
                f"{row.redundancy:.3f} {row.score_mean:.3g} {row.input_norm:.3g}"
            )
    return "\n".join(lines)


TOOL = Tool("inspect_layers", InspectLayers, inspect_layers)
