"""The published metrics and allocations, one line each, in the languages of this package.

Metrics: magnitude; Wanda (locuslab/wanda lib/prune.py); RIA with a = 0.5 (Relative-importance-and-activation-pruning
lib/prune.py); GBLM (VILA-Lab/GBLM-Pruner lib/prune.py); Pruner-Zero (pprp/Pruner-Zero data/best_tree.json,
mul(abs(mul(W, W)), mms(G))); OBS (SparseGPT's w^2 / U_jj^2); Wanda++'s regional score without its optimisation.

Allocations: a priority and the width of the keep ratios around their mean. OWL (luuyin/OWL lib/prune_all.py, M = 5,
lambda = 0.08); DLP (ironartisan/DLP lib/prune.py, alpha = 0.15, the unstructured path's mean); ATP is linear in depth
(wzhuang-xmu/ATP main.py), whose slope is searched per model. AutoPrune gives no formula for SDSA beyond "softmax-based
re-weighting of the skewness of absolute weights": the one here and its width are this project's. The widths of SDSA
and ATP are those of OWL and DLP, so that each has a published control of the same width.
"""

from __future__ import annotations

from typing import NamedTuple


class NamedAllocation(NamedTuple):
    """A formula of the language ALLOCATION (or `uniform`, which asks nothing of it) and its width."""

    expression: str
    width: float


NAMED_METRICS: dict[str, str] = {
    "magnitude": "W",
    "wanda": "W * X",
    "ria": "(W / col_sum(W) + W / row_sum(W)) * X ** 0.5",
    "gblm": "W * X + W * G",
    "pruner_zero": "sqr(W) * mms(G)",
    "obs": "sqr(W) / D",
    "wanda_pp": "(100 * R + X) * W",
}

EXPERT_METRICS: dict[str, str] = {"frequency": "frequency", "reap": "reap"}
"""Of experts, in the language EXPERTS: how often they are chosen, and REAP (CerebrasResearch/reap)."""

NAMED_ALLOCATIONS: dict[str, NamedAllocation] = {
    "uniform": NamedAllocation("uniform", 0.0),
    "sdsa": NamedAllocation("softmax(z(skew))", 0.08),
    "owl": NamedAllocation("minmax(outliers(5))", 0.08),
    "dlp": NamedAllocation("minmax(-score_mean)", 0.15),
    "atp": NamedAllocation("-depth", 0.15),
}
