"""`propose_metric`: another metric."""

from __future__ import annotations

from agent.designer_tools.arguments import Arguments, CandidateName, MetricText, Why
from agent.designer_tools.drafts import changed
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool


class ProposeMetric(Arguments):
    """Propose a candidate: a base with another metric."""

    expression: MetricText
    base: CandidateName
    why: Why


def propose_metric(step: Step, asked: ProposeMetric) -> str:
    """Draft the base with that metric.

    Raises:
        UsageError: the base is not measured, or the metric is malformed or nothing new.
    """
    parent = step.parent(asked.base)
    return step.take(changed(parent, "propose metric", asked.why, metric=step.metric(asked.expression)))


TOOL = Tool("propose_metric", ProposeMetric, propose_metric)
