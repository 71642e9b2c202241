"""OBS compensation: the weights that stay are updated to make up for those that fall (SparseGPT).

IST-DASLab/sparsegpt sparsegpt.py, with any rule choosing the mask: H = (2/n) X^T X + damping * mean(diag H) * I, U the
upper Cholesky factor of H^-1; column by column, w_j <- 0 where masked, the rest of the row -= (error / U_jj) U_j,: .
Columns are treated in lazy batches, and inside a batch in strips, which changes the order of the sums but not
the result.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

STRIP = 32
"""Columns updated one by one before the rest of the batch gets their joint update as one product."""

ChooseMask = Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]
"""(current weights (out, in), U_jj^2 (in,), first, last column) -> mask (out, last - first) of what falls."""


def compensate(weights: torch.Tensor, factor: torch.Tensor, choose: ChooseMask, batch: int) -> torch.Tensor:
    """Prune `weights` column batch by column batch and update what is left.

    Args:
        weights: (out, in). factor: U from `obs_factor`. choose: the rule for a batch's mask, asked once per batch,
            with the weights as they are then. batch: columns per lazy batch.

    Returns:
        New weights (out, in) float32, exactly zero where masked.
    """
    current = weights.float().T.contiguous()  # (in, out): a column of the weights is contiguous
    diagonal = factor.diagonal()
    for first in range(0, current.shape[0], batch):
        last = min(first + batch, current.shape[0])
        mask = choose(current.T, diagonal.square(), first, last).T
        errors = torch.empty_like(current[first:last])
        for start in range(first, last, STRIP):
            stop = min(start + STRIP, last)
            for j in range(start, stop):
                error = errors[j - first]
                torch.mul(current[j], mask[j - first], out=error)
                error /= diagonal[j]
                current[j:stop].addr_(factor[j, j:stop], error, alpha=-1)
            current[stop:last] -= factor[start:stop, stop:last].T @ errors[start - first : stop - first]
        current[first:last].masked_fill_(mask, 0)
        current[last:] -= factor[first:last, last:].T @ errors
    return current.T.contiguous()
