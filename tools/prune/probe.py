"""A fixed sample of what may fall, by which two metrics are compared before either is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from tools.expression import Node, used_terminals
from tools.expression.operators import Group
from tools.prune.metric import metric_scores
from tools.prune.weights.masks import ranks

if TYPE_CHECKING:
    from tools.prune.resident import Resident

T = TypeVar("T")

MATRICES = 8
ROWS = 48


def spread(parts: Sequence[T], kind: Callable[[T], str]) -> list[T]:
    """A few over the whole depth, kinds in turn."""
    kinds = [[part for part in parts if kind(part) == name] for name in dict.fromkeys(map(kind, parts))]
    members = [kinds[i % len(kinds)] for i in range(min(MATRICES, len(parts)))]
    return [alike[i * len(alike) // MATRICES] for i, alike in enumerate(members)]


def ranks_within(held: Resident, metric: Node, group: Group) -> dict[str, torch.Tensor]:
    """Ranks (0 to 1) that a metric gives to the dense weights of a few matrices: (rows, in), or (1, rows * in) where
    more than the row is the comparison group. The statistics that it reads are there.

    Raises:
        SecateurError: its values are not finite or all the same.
    """
    used, found = used_terminals(metric), {}
    for p in spread(held.model.architecture.projections, lambda p: p.role):
        inputs = held.statistics.inputs[p.name]
        scores = metric_scores(metric, used, held.dense[p.name], inputs, p.name, held.statistics)
        rows = scores[:: max(1, scores.shape[0] // ROWS)][:ROWS]
        rows = rows if group == "row" else rows.reshape(1, -1)
        found[p.name] = (ranks(rows).double() / max(1, rows.shape[1] - 1)).cpu()
    return found
