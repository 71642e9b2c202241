"""What stays makes up for what falls, as least squares has it."""

from __future__ import annotations

import torch

from tools.prune.structures.cut import least_squares, lost_on_average
from tools.statistics.inputs import InputStatistics


def test_least_squares_is_what_lstsq_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    w = torch.randn(5, 12, generator=generator)
    kept = torch.tensor([0, 2, 3, 7, 11])
    inputs = InputStatistics.empty(12, 200, "cpu", gram=True)
    inputs.add(x)
    found = least_squares(w, inputs, kept, damping=1e-9)
    best = torch.linalg.lstsq(x[:, kept], x @ w.T).solution.T
    torch.testing.assert_close(found, best, rtol=1e-3, atol=1e-3)
    worse = x[:, kept] @ w[:, kept].T - x @ w.T
    assert (x[:, kept] @ found.T - x @ w.T).norm() < 0.9 * worse.norm()


def test_the_bias_restores_the_mean_of_the_output() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(64, 6, generator=generator) + 2, torch.randn(3, 6, generator=generator)
    kept = torch.tensor([1, 4])
    inputs = InputStatistics.empty(6, 64, "cpu", gram=False)
    inputs.add(x)
    mended = x[:, kept] @ w[:, kept].T + lost_on_average(w, inputs, kept)
    torch.testing.assert_close(mended.mean(0), (x @ w.T).mean(0), rtol=1e-4, atol=1e-4)
