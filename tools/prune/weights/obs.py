"""OBS compensation: the weights that stay are updated to make up for those that fall (SparseGPT).

IST-DASLab/sparsegpt sparsegpt.py, with any rule choosing the mask: H = (2/n) X^T X + damping * mean(diag H) * I, U the
upper Cholesky factor of H^-1; column by column, w_j <- 0 where masked, the rest of the row -= (error / U_jj) U_j,: .
Columns are treated in lazy batches, and inside a batch in strips, which changes the order of the sums but not
the result.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from tools.io.errors import SecateurError

STRIP = 32
"""Columns updated one by one before the rest of the batch gets their joint update as one product."""

ChooseMask = Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]
"""(current weights (out, in), U_jj^2 (in,), first, last column) -> mask (out, last - first) of what falls."""


def hessian(gram: torch.Tensor, tokens: int, damping: float) -> torch.Tensor:
    """H = (2/n) X^T X (in, in) float32, dead inputs set to 1 on the diagonal, damped."""
    h = gram.float() * (2 / tokens)
    diagonal = h.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean()
    return h


def obs_factor(gram: torch.Tensor, tokens: int, damping: float) -> torch.Tensor:
    """U (in, in), upper, U^T U = H^-1; U_jj^2 is the j-th diagonal entry of the inverse of H over columns j onward.

    H = R R^T with R upper is Cholesky's factorisation begun at the last column, and U = R^-1: H^-1 is never factorised,
    which would fail first where H is badly conditioned. The damping grows tenfold, three times at most, until H is
    positive definite.

    Raises:
        SecateurError: it never is, for example because the inputs hold NaN.
    """
    for factor in (1, 10, 100, 1000):
        lower, failed = torch.linalg.cholesky_ex(hessian(gram, tokens, damping * factor).flip(0, 1))
        if int(failed) == 0 and bool(lower.diagonal().isfinite().all()):
            identity = torch.eye(gram.shape[0], device=gram.device)
            upper: torch.Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
            return upper
    raise SecateurError("the inputs' Gram matrix is not positive definite; calibrate on more text or raise the damping")


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
