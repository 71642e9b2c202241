"""`try_metric`: what a metric would choose, before it is proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.designer_tools.arguments import Arguments, MetricText
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool

if TYPE_CHECKING:
    import torch

    Ranks = dict[str, torch.Tensor]


class TryMetric(Arguments):
    """Look at a metric without spending budget: how it ranks weights compared with known metrics."""

    expression: MetricText


def try_metric(step: Step, asked: TryMetric) -> str:
    """Rank correlation with the named metrics, and where the masks would differ from Wanda's; nothing is measured.

    Raises:
        SecateurError: the metric is malformed, not finite, or ranks nothing on this model.
    """
    situation, metric = step.situation, step.metric(asked.expression)
    bench, sparsity = situation.bench, situation.goal.sparsity
    mine = bench.ranks(metric)
    lines = [f"{metric}: rank correlation within rows, on a fixed probe of the dense weights"]
    for name, formula in situation.pool.named_metrics.items():
        lines.append(f"  {name} ({formula}): {_correlation(mine, bench.ranks(formula)):.4f}")
    lines.append(f"share of the weights pruned at sparsity {sparsity:g} that Wanda would keep, by matrix:")
    wanda = bench.ranks("W * X")
    for name, ranks in mine.items():
        gone, kept = ranks < sparsity, wanda[name] >= sparsity
        lines.append(f"  {name}: {100 * float((gone & kept).sum()) / max(1, int(gone.sum())):.1f} %")
    return "\n".join(lines)


def _correlation(one: Ranks, other: Ranks) -> float:
    import torch

    flat = [torch.cat([values.flatten() for values in ranks.values()]) for ranks in (one, other)]
    return float(torch.corrcoef(torch.stack(flat))[0, 1])


TOOL = Tool("try_metric", TryMetric, try_metric)
