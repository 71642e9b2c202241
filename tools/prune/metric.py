"""What a recipe reads, and the scores that its metric gives to one matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from tools.expression import ALLOCATION, Node, evaluate, parse, used_terminals
from tools.io.errors import SecateurError
from tools.recipe import Recipe
from tools.statistics.collect import Statistics
from tools.statistics.inputs import InputStatistics
from tools.statistics.layers import LayerStatistics

INPUT_TERMINALS: Mapping[str, Callable[[InputStatistics], torch.Tensor]] = {
    "X": lambda s: s.norm,
    "X_mean": lambda s: s.mean,
    "X_var": lambda s: s.variance,
    "X_max": lambda s: s.largest.float(),
    "X_abs": lambda s: (s.absolute / s.tokens).float(),
}


def needs_of(recipe: Recipe) -> frozenset[str]:
    """Which optional statistics (`gram`, `gradient`, `regional`, `routing`) a recipe reads."""
    used = used_terminals(parse(recipe.metric, recipe.language))
    wanted = {
        "gram": "D" in used or recipe.compensation.kind in ("obs", "least_squares"),
        "gradient": "G" in used,
        "regional": "R" in used,
    }
    return recipe.pattern.statistics | {name for name, needed in wanted.items() if needed}


def reads_inputs(recipe: Recipe) -> bool:
    """Whether what the blocks before put out makes a difference to a block."""
    used = used_terminals(parse(recipe.metric, recipe.language))
    return recipe.compensation.kind != "none" or bool(used & {*INPUT_TERMINALS, "D"})


def priorities(layers: LayerStatistics, recipe: Recipe) -> torch.Tensor | None:
    """Value of the allocation's expression per unit; None where there is none to evaluate."""
    allocation = recipe.allocation
    if allocation.uniform or allocation.expression is None:
        return None
    node = parse(allocation.expression, ALLOCATION)
    return evaluate(node, layers.terminals(used_terminals(node), allocation.granularity))


def metric_scores(
    metric: Node,
    used: frozenset[str],
    w: torch.Tensor,
    inputs: InputStatistics,
    name: str,
    statistics: Statistics,
    inverse_diagonal: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scores (out, in) float32 of one matrix; the lowest fall.

    Args:
        w: (out, in) current weights. inputs: statistics of its input, dense or propagated.
        statistics: of the dense model, for the gradients. inverse_diagonal: D where OBS supplies it.

    Raises:
        SecateurError: they are not finite, or all the same although the matrix is not silent.
    """
    values: dict[str, torch.Tensor] = {"W": w.float().abs()}
    for terminal in used & INPUT_TERMINALS.keys():
        values[terminal] = INPUT_TERMINALS[terminal](inputs).unsqueeze(0)
    if "D" in used:
        d = inputs.inverse_diagonal() if inverse_diagonal is None else inverse_diagonal
        values["D"] = d.unsqueeze(0)
    if "G" in used:
        values["G"] = statistics.gradient[name]
    if "R" in used:
        values["R"] = statistics.regional[name]
    try:
        return evaluate(metric, values, equal=lambda: is_silent(w, inputs))
    except SecateurError as error:
        raise SecateurError(f"{error} ({name})") from error


def is_silent(w: torch.Tensor, inputs: InputStatistics) -> bool:
    """Whether a matrix puts out nothing, being zero itself or reading only zeros: then whatever falls of it is right,
    and where its scores are equal they fall in index order."""
    return not bool(inputs.largest.any()) or not bool(w.any())
