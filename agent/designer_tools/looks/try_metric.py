"""`try_metric`: what a metric would choose, before it is proposed."""

from __future__ import annotations

from agent.designer_tools.arguments import Arguments, MetricText
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool


class TryMetric(Arguments):
    """Look at a metric without spending budget: how it ranks weights compared with known metrics."""

    expression: MetricText


def try_metric(step: Step, asked: TryMetric) -> str:
    """Rank correlation with the named metrics, and where the masks would differ from Wanda's; nothing is measured.

    Raises:
        SecateurError: the metric is malformed, not finite, or ranks nothing on this model.
    """
    import torch

    situation, metric = step.situation, step.metric(asked.expression)
    bench, sparsity = situation.bench, situation.goal.sparsity
    mine = bench.probe(metric)
    lines = [f"{metric}: rank correlation within rows, on a fixed probe of the dense weights"]
    for name, formula in situation.pool.named_metrics.items():
        both = torch.stack([mine, bench.probe(formula)])
        lines.append(f"  {name} ({formula}): {float(torch.corrcoef(both)[0, 1]):.4f}")
    lines.append(f"share of the weights pruned at sparsity {sparsity:g} that Wanda would keep, by matrix:")
    wanda = bench.probe_ranks("W * X")
    for name, ranks in bench.probe_ranks(metric).items():
        gone, kept = ranks < sparsity, wanda[name] >= sparsity
        lines.append(f"  {name}: {100 * float((gone & kept).sum()) / max(1, int(gone.sum())):.1f} %")
    return "\n".join(lines)


TOOL = Tool("try_metric", TryMetric, try_metric)
