"""What the designer's read-only tools answer: short tables of measured numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.io.errors import UsageError

if TYPE_CHECKING:
    import torch

    from agent.situation import Situation
    from runs.fold.history import History
    from tools.prune.bench import Bench

RECALLED = 6


def over_blocks(bench: Bench, name: str) -> str:
    """One value per block, first to last."""
    values = bench.layers.terminals(frozenset({name}), "block")[name].tolist()
    return f"{name} by block: " + ", ".join(f"{block}: {value:.3g}" for block, value in enumerate(values))


def blocks(bench: Bench, wanted: Sequence[int]) -> str:
    """One line per linear of the wanted blocks.

    Raises:
        UsageError: a block is not there.
    """
    last = bench.model.architecture.n_blocks - 1
    if wrong := [block for block in wanted if block > last]:
        raise UsageError(f"block {wrong[0]} is not there: blocks are 0 to {last}")
    lines = ["block role (out, in) skew kurtosis outliers% redundancy score_mean input_norm"]
    for row in bench.layers.rows():
        if row.block in wanted:
            lines.append(
                f"{row.block} {row.role} {row.shape} {row.skew:.2f} {row.kurtosis:.1f} {row.outliers:.2f} "
                f"{row.redundancy:.3f} {row.score_mean:.3g} {row.input_norm:.3g}"
            )
    return "\n".join(lines)


def metric_effect(situation: Situation, metric: str) -> str:
    """Rank correlation with the named metrics, and where the masks would differ from Wanda's; nothing is measured.

    Raises:
        SecateurError: the metric is not finite or ranks nothing on this model.
    """
    import torch

    bench, goal = situation.bench, situation.goal
    mine = bench.ranks(metric)
    lines = [f"{metric}: rank correlation within rows, on a fixed probe of the dense weights"]
    for name, formula in situation.pool.named_metrics.items():
        both = torch.stack([_flat(mine), _flat(bench.ranks(formula))])
        lines.append(f"  {name} ({formula}): {float(torch.corrcoef(both)[0, 1]):.4f}")
    lines.append(f"share of the weights pruned at sparsity {goal.sparsity:g} that Wanda would keep, by matrix:")
    wanda = bench.ranks("W * X")
    for name, ranks in mine.items():
        gone, kept = ranks < goal.sparsity, wanda[name] >= goal.sparsity
        lines.append(f"  {name}: {100 * float((gone & kept).sum()) / max(1, int(gone.sum())):.1f} %")
    return "\n".join(lines)


def _flat(ranks: dict[str, torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat([values.flatten() for values in ranks.values()])


def memories(home: Path, words: str) -> str:
    """The best memories that name every word."""
    from memory.index import Memory

    found = Memory(home).search(words)[:RECALLED]
    lines = [f"{len(found)} memories; relative is the divergence over the best reference's, below 1 it won"]
    for item in found:
        relative = "unknown" if item.relative is None else f"{item.relative:.3f}"
        lines.append(f"  {item.id} on {Path(item.model).name}: relative {relative}: {item.recipe}")
    return "\n".join(lines)


def divergences(history: History, name: str) -> str:
    """What a candidate measured at every fidelity; nothing where it was not measured."""
    found = history.divergences.get(name, {})
    return ", ".join(f"KL {m.value:.4f} over {tokens:,} tokens" for tokens, m in sorted(found.items()))


def side_by_side(history: History, names: Sequence[str]) -> str:
    """One line per candidate: numbers at every fidelity, recipe, parents.

    Raises:
        UsageError: a candidate is not known.
    """
    lines = []
    for name in names:
        if name not in history.candidates:
            raise UsageError(f"{name} is not known. Candidates are c-1 to c-{len(history.candidates)}.")
        candidate = history.candidates[name]
        numbers = divergences(history, name)
        fate = history.rejected.get(name)
        parents = f" from {', '.join(candidate.parents)}" if candidate.parents else ""
        lines.append(
            f"{name}: {numbers or (f'rejected: {fate}' if fate else 'not measured')}: {candidate.recipe}{parents}"
        )
    return "\n".join(lines)
