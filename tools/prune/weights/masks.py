"""Scores to masks: which weights fall. Pure functions; every count is exact and ties fall in index order.

A mask is a boolean tensor of the weight's shape, True where the weight is removed. Ties are broken as a stable sort
does, lowest index first, so that a mask never removes more or fewer weights than asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tools.io.errors import SecateurError

LONG_GROUP = 16
"""Longer N:M groups are selected from like rows; comparing all pairs is faster for shorter ones."""
CHUNK = 2**18
"""Scores that are compared at a time: what fits a core's cache."""


def spread(total: int, parts: int) -> torch.Tensor:
    """`total` dealt to `parts` as evenly as integers allow: floor((i + 1) t / p) - floor(i t / p)."""
    edges = torch.arange(parts + 1, dtype=torch.int64) * total // parts
    return edges.diff()


def ranks(values: torch.Tensor) -> torch.Tensor:
    """Place of every value along the last axis, int64 from 0 for the lowest; of equals the first in index order is
    lower, as it falls first."""
    order = values.argsort(dim=-1, stable=True)
    places = torch.arange(values.shape[-1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def lowest_per_row(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Remove the `counts[i]` lowest scores of row i (the papers' per-output comparison).

    Args:
        scores: (rows, columns), no NaN.
        counts: (rows,) integers between 0 and columns.
    """
    thresholds = _thresholds(scores, counts.clamp_min(1))
    mask = scores <= thresholds
    surplus = mask.sum(1) - counts
    tied = surplus.nonzero().squeeze(1)
    if len(tied):
        # Of the scores that equal the threshold, the last ones of the row stay.
        row, column = (scores[tied] == thresholds[tied]).nonzero(as_tuple=True)
        to_the_end = row.bincount(minlength=len(tied)).cumsum(0)[row] - torch.arange(len(row), device=row.device)
        stays = to_the_end <= surplus[tied][row]
        mask[tied[row[stays]], column[stays]] = False
    return mask


def _thresholds(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(rows, 1): the `counts[i]`-th smallest score of row i, counted from 1."""
    if scores.device.type != "cpu":
        return scores.sort(dim=1).values.gather(1, (counts - 1).unsqueeze(1))
    found = torch.empty(scores.shape[0], 1, dtype=scores.dtype)
    wanted = counts.unique().tolist()
    if len(wanted) == 1:
        return _nth_smallest(scores, wanted)[0]
    if wanted == [wanted[0], wanted[0] + 1]:  # what `spread` deals: one selection serves both
        fewer, more = _nth_smallest(scores, wanted)
        return torch.where((counts == wanted[0]).unsqueeze(1), fewer, more)
    for count in wanted:
        found[counts == count] = _nth_smallest(scores[counts == count], [count])[0]
    return found


def _nth_smallest(scores: torch.Tensor, counts: Sequence[int]) -> list[torch.Tensor]:
    """For each of one count or two that differ by one, (rows, 1): the `count`-th smallest of each row.

    NumPy's vectorised selection is the fastest on a CPU by far; it knows neither bfloat16 nor accelerators.
    """
    import numpy as np

    exact = scores if scores.dtype == torch.float64 else scores.float()
    last = counts[-1]
    part = np.partition(exact.numpy(), last - 1, axis=1)
    found = [part[:, last - 1 : last].copy()]
    if len(counts) == 2:
        found.insert(0, part[:, : last - 1].max(axis=1, keepdims=True))
    return [torch.from_numpy(values).to(scores.dtype) for values in found]


def lowest_of_all(scores: Sequence[torch.Tensor], count: int) -> list[torch.Tensor]:
    """Remove the `count` lowest scores of all the matrices together."""
    flat = scores[0].reshape(1, -1) if len(scores) == 1 else torch.cat([s.reshape(1, -1) for s in scores], dim=1)
    mask = lowest_per_row(flat, torch.tensor([count], device=flat.device)).squeeze(0)
    sizes = [s.numel() for s in scores]
    return [part.view(s.shape) for part, s in zip(mask.split(sizes), scores, strict=True)]


def lowest_per_group(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """N:M: of every `m` consecutive scores of a row remove the m - n lowest.

    Raises:
        SecateurError: the rows are not a whole number of groups long.
    """
    rows, columns = scores.shape
    if columns % m:
        raise SecateurError(f"{n}:{m} needs rows that are a multiple of {m} long; this matrix has {columns} columns")
    grouped = scores.reshape(-1, m)
    if m > LONG_GROUP:
        return lowest_per_row(grouped, torch.full((len(grouped),), m - n, device=scores.device)).view(rows, columns)
    chunks = [_lowest_of_few(part, m - n) for part in grouped.split(CHUNK // m)]
    return torch.cat(chunks).view(rows, columns)


def _lowest_of_few(scores: torch.Tensor, count: int) -> torch.Tensor:
    """As `lowest_per_row`, for short rows: how many are lower is counted by comparing every pair."""
    columns = scores.T.contiguous()
    lower = torch.zeros(columns.shape, dtype=torch.int8, device=scores.device)
    for later in range(1, len(columns)):
        first_wins = columns[:later] <= columns[later]
        lower[later] += first_wins.sum(0, dtype=torch.int8)
        lower[:later] += ~first_wins
    return (lower < count).T
