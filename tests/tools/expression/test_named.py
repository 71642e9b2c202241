"""The published formulas are those of their papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.tools.expression.trees import layer32
from tools.expression import ALLOCATION, NAMED_ALLOCATIONS, NAMED_METRICS, evaluate, parse

Scalar = Callable[[int, int], float]


def paper_scores(name: str, layer: dict[str, Tensor]) -> Tensor:
    """The paper's formula, one weight at a time, in double precision."""
    weight = {key: value.double().tolist() for key, value in layer.items()}
    w, x, g, d, r = weight["W"], weight["X"][0], weight["G"], weight["D"][0], weight["R"]
    rows, columns = len(w), len(w[0])
    low = min(min(row) for row in g)
    high = max(max(row) for row in g)
    formulas: dict[str, Scalar] = {
        "magnitude": lambda i, j: w[i][j],
        "wanda": lambda i, j: w[i][j] * x[j],
        "ria": lambda i, j: (w[i][j] / sum(w[k][j] for k in range(rows)) + w[i][j] / sum(w[i])) * x[j] ** 0.5,
        "gblm": lambda i, j: w[i][j] * x[j] + w[i][j] * g[i][j],
        "pruner_zero": lambda i, j: abs(w[i][j] * w[i][j]) * ((g[i][j] - low) / (high - low)),
        "obs": lambda i, j: w[i][j] ** 2 / d[j],
        "wanda_pp": lambda i, j: (100 * r[i][j] + x[j]) * w[i][j],
    }
    return torch.tensor([[formulas[name](i, j) for j in range(columns)] for i in range(rows)], dtype=torch.float64)


def paper_code(name: str, layer: dict[str, Tensor]) -> Tensor:
    """What the authors' code computes in single precision, in its order of operations."""
    w, x, g, d, r = (layer[key] for key in ("W", "X", "G", "D", "R"))
    scores = {
        "magnitude": lambda: torch.abs(w),
        "wanda": lambda: torch.abs(w) * x.reshape((1, -1)),
        "ria": lambda: (
            (
                torch.abs(w) / torch.sum(torch.abs(w), dim=0)
                + torch.abs(w) / torch.sum(torch.abs(w), dim=1).reshape(-1, 1)
            )
            * x.reshape((1, -1)) ** 0.5
        ),
        "gblm": lambda: torch.abs(w) * x.reshape((1, -1)) + torch.abs(w) * torch.abs(g),
        "pruner_zero": lambda: torch.abs(torch.mul(w, w)) * ((g - g.min()) / (g.max() - g.min())),
        "obs": lambda: w**2 / d.reshape((1, -1)),
        "wanda_pp": lambda: (100 * r + x.reshape((1, -1))) * torch.abs(w),
    }
    return scores[name]()


def lowest_per_row(scores: Tensor) -> Tensor:
    mask = torch.zeros_like(scores, dtype=torch.bool)
    chosen = torch.sort(scores, dim=-1, stable=True).indices[:, : scores.shape[1] // 2]
    return mask.scatter(1, chosen, True)


@pytest.mark.parametrize("name", sorted(NAMED_METRICS))
def test_a_named_metric_is_its_papers_formula(name: str) -> None:
    for seed in range(3):
        layer = layer32(seed)
        value = evaluate(parse(NAMED_METRICS[name]), layer)
        torch.testing.assert_close(value.double(), paper_scores(name, layer), rtol=1e-5, atol=0)
        assert torch.equal(lowest_per_row(value), lowest_per_row(paper_code(name, layer)))


def paper_priorities(name: str, skew: list[float], outliers: list[float], score: list[float]) -> list[float]:
    count = len(skew)
    middle = sum(skew) / count
    spread = math.sqrt(sum((value - middle) ** 2 for value in skew) / count)
    grown = [math.exp((value - middle) / spread) for value in skew]
    share = [1 - value / sum(score) for value in score]
    return {
        "sdsa": [value / sum(grown) for value in grown],
        "owl": [(value - min(outliers)) / (max(outliers) - min(outliers)) for value in outliers],
        "dlp": [(value - min(share)) / (max(share) - min(share)) for value in share],
        "atp": [-index / (count - 1) for index in range(count)],
    }[name]


@pytest.mark.parametrize("name", sorted(set(NAMED_ALLOCATIONS) - {"uniform"}))
def test_a_named_allocation_is_its_papers_formula(name: str) -> None:
    skew, outliers, score = [2.2, 1.4, 1.5, 1.1, 0.9], [4.0, 1.0, 2.5, 3.0, 0.5], [0.1, 0.2, 0.4, 0.3, 0.9]
    terminals = {"skew": skew, "outliers(5)": outliers, "score_mean": score, "depth": [0, 0.25, 0.5, 0.75, 1]}
    tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in terminals.items()}
    value = evaluate(parse(NAMED_ALLOCATIONS[name].expression, ALLOCATION), tensors)
    assert value.tolist() == pytest.approx(paper_priorities(name, skew, outliers, score))
