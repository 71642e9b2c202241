"""The damped Hessian of a layer's least-squares problem and the factor of its inverse (SparseGPT's, of OBS).

IST-DASLab/sparsegpt sparsegpt.py: H = (2/n) X^T X + damping * mean(diag H) * I, U the upper Cholesky factor of H^-1.
"""

from __future__ import annotations

import torch

from tools.io.errors import SecateurError


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
