"""Formulas that a person tries: what they read, what they are like, and what is known of them without measuring."""

from __future__ import annotations

from runs.fold.history import History
from runs.fold.words import number
from tools.expression import (
    ALLOCATION,
    METRIC,
    NAMED_ALLOCATIONS,
    NAMED_METRICS,
    Language,
    Node,
    format_expression,
    parse,
    simplify,
    used_terminals,
)
from tools.expression.operators import Group
from tools.io.errors import SecateurError, UsageError

SURVEYED = {
    "skew": "skew",
    "kurtosis": "kurtosis",
    "redundancy": "redundancy",
    "outliers(5)": "outliers",
    "size": "size",
}
"""Terminal of allocations -> what the survey of a run calls it."""
HALF = 0.5
"""The sparsity of examples, where no run says another."""


def read_metric(history: History, expression: str) -> str:
    """Whether a metric is valid, what it reads, which published one it is, and what this run measured with it.

    Raises:
        UsageError: it is no formula.
    """
    language = METRIC if history.goal is None else history.goal.pattern.language
    node = parse(expression, language)
    group: Group = "row" if history.goal is None else history.goal.pattern.comparison

    def alike(formula: str) -> bool:
        return simplify(parse(formula, language), language, group) == simplify(node, language, group)

    lines = [f"{format_expression(node)} is a valid metric; the lowest values fall.", *_reads(node, language)]
    if language is METRIC and (same := [name for name, formula in NAMED_METRICS.items() if alike(formula)]):
        lines.append(f"It ranks weights as the published metric {', '.join(same)} does.")
    tried = [c for c in history.ranked() if alike(c.recipe.metric)]
    if tried:
        best = tried[0]
        found = history.divergences[best.id][max(history.divergences[best.id])]
        lines.append(f"Measured in this run: {best.id} has KL {number(found.value)} over {found.tokens:,} tokens.")
    else:
        lines.append(
            "How it ranks the weights, and what it costs, was not measured: a run with a recipe of this metric "
            "(`secateur prune MODEL --recipe FILE`) measures it, and a designer that listens can be told to try it."
        )
    return "\n".join(lines)


def allocated(history: History, expression: str, width: float, sparsity: float | None) -> str:
    """Whether an allocation is valid, what it reads, and the sparsity of every block by the survey of the run.

    Raises:
        UsageError: it is no formula.
    """
    named = NAMED_ALLOCATIONS.get(expression.strip().lower())
    if named is not None and named.width:
        expression, width = named
    node = parse(expression, ALLOCATION)
    lines = [f"{format_expression(node)} is a valid allocation; the higher its value, the more a block keeps."]
    lines += _reads(node, ALLOCATION)
    survey = history.survey
    if survey is None:
        return "\n".join([*lines, "No run that is open surveyed a model, so the rates that it means are not known."])
    known = {name: survey.units[told] for name, told in SURVEYED.items() if told in survey.units}
    known["depth"] = tuple(block / max(1, survey.blocks - 1) for block in range(survey.blocks))
    if missing := sorted(used_terminals(node) - known.keys()):
        lacks = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the survey of the run"
        return "\n".join([*lines, f"{lacks}, so rates are not known before a candidate with it is measured."])
    share = sparsity or (HALF if history.goal is None else history.goal.sparsity)
    return "\n".join([*lines, _rates(node, known, width, share)])


def _rates(node: Node, known: dict[str, tuple[float, ...]], width: float, share: float) -> str:
    import torch

    from tools.expression import evaluate
    from tools.prune.allocation import keep_from_priority, water_fill

    values = {name: torch.tensor(of, dtype=torch.float64) for name, of in known.items()}
    try:
        priority = evaluate(node, {name: values[name] for name in used_terminals(node)})
    except SecateurError as error:
        raise UsageError(f"On this model it cannot be used: {error}") from error
    sizes = values.get("size", torch.ones_like(values["depth"]))
    rates = water_fill(1 - keep_from_priority(priority.double(), share, width), sizes, share).tolist()
    every = ", ".join(f"{block}: {100 * rate:.1f} %" for block, rate in enumerate(rates))
    return (
        f"Sparsity by block at {100 * share:g} % with width {width:g}, from the survey of the run; nothing was pruned: "
        f"{every}."
    )


def _reads(node: Node, language: Language) -> list[str]:
    used = sorted(used_terminals(node))
    return [f"It reads {'; '.join(f'{name} ({language.statistic(name).meaning})' for name in used)}."] if used else []
