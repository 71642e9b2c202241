"""Scores to masks: which weights fall. Pure functions; every count is exact and ties fall in index order.

A mask is a boolean tensor of the weight's shape, True where the weight is removed. Ties are broken as a stable sort
does, lowest index first, so that a mask never removes more or fewer weights than asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tools.errors import SecateurError


def spread(total: int, parts: int) -> torch.Tensor:
    """`total` dealt to `parts` as evenly as integers allow: floor((i + 1) t / p) - floor(i t / p)."""
    edges = torch.arange(parts + 1, dtype=torch.int64) * total // parts
    return edges.diff()


def lowest_per_row(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Remove the `counts[i]` lowest scores of row i (the papers' per-output comparison).

    Args:
        scores: (rows, columns), finite.
        counts: (rows,) integers between 0 and columns.
    """
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for count in counts.unique().tolist():
        rows = counts == count
        if bool(rows.all()):
            return _lowest(scores, count)
        mask[rows] = _lowest(scores[rows], count)
    return mask


def _lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The same number for each row: threshold by selection, then mend the rows where ties overshoot."""
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= scores.shape[1]:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = _kth(scores, count)
    mask = scores <= threshold
    wrong = mask.sum(1) != count
    if bool(wrong.any()):
        order = scores[wrong].argsort(dim=1, stable=True)[:, :count]
        mask[wrong] = torch.zeros_like(mask[wrong]).scatter_(1, order, True)
    return mask


def _kth(scores: torch.Tensor, count: int) -> torch.Tensor:
    """(rows, 1): the `count`-th smallest of each row. NumPy's vectorised selection is the fastest on a CPU."""
    if scores.device.type != "cpu":
        return scores.kthvalue(count, dim=1, keepdim=True).values
    import numpy as np

    part = np.partition(scores.float().numpy(), count - 1, axis=1)
    return torch.from_numpy(part[:, count - 1 : count].copy()).to(scores.dtype)


def lowest_of_all(scores: Sequence[torch.Tensor], count: int) -> list[torch.Tensor]:
    """Remove the `count` lowest scores of all the matrices together."""
    flat = torch.cat([s.reshape(-1) for s in scores])
    mask = _lowest(flat.unsqueeze(0), count).squeeze(0)
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
    return _lowest(grouped, m - n).view(rows, columns) if m > 16 else _lowest_small(grouped, m - n).view(rows, columns)


def _lowest_small(scores: torch.Tensor, count: int) -> torch.Tensor:
    """As `_lowest`, for short rows: rank each score by comparing it with every other one."""
    columns = scores.unbind(1)
    ranks = torch.zeros(scores.shape, dtype=torch.int16, device=scores.device)
    for i, a in enumerate(columns):
        for j, b in enumerate(columns):
            if i != j:
                ranks[:, i] += (b <= a) if j < i else (b < a)
    return ranks < count
