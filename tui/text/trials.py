"""A metric or an allocation tried on layers, as aligned tables."""

from __future__ import annotations

from tools.prune.trial import ALLOCATED, UNIFORM, AllocationTrial, LayerTrial

ERROR = "relative output error |(W - W')X|^2 / |WX|^2"


def layer_table(trial: LayerTrial) -> str:
    """One line per projection, one column per metric, the mean below."""
    names = list(trial.mean)
    heads = [f"{name} ({trial.groups[name]})" for name in names]
    widths = [max(10, len(head)) for head in heads]
    first = max(len("projection"), *(len(p.name) for p in trial.projections))

    def line(name: str, shape: str, cells: list[str]) -> str:
        return f"{name:<{first}}  {shape:>13}  " + "  ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))

    rows = [
        line(p.name, "{} x {}".format(*p.shape), [f"{p.errors[name]:.5f}" for name in names]) for p in trial.projections
    ]
    mean = line("mean", "", [f"{trial.mean[name]:.5f}" for name in names])
    return "\n".join([line("projection", "shape", heads), *rows, mean])


def allocation_table(trial: AllocationTrial) -> str:
    """One line per block: its sparsity, and what that costs beside one rate for all."""
    rows = [
        f"{of.block:>5}  {100 * of.sparsity:>8.2f} %  {of.errors[ALLOCATED]:>10.5f}  {of.errors[UNIFORM]:>10.5f}"
        for of in trial.blocks
    ]
    low, high = min(trial.rates), max(trial.rates)
    return "\n".join(
        [
            f"block    sparsity   {'error':>10}  {'uniform':>10}",
            *rows,
            f" mean  {100 * trial.sparsity:>8.2f} %  {trial.mean[ALLOCATED]:>10.5f}  {trial.mean[UNIFORM]:>10.5f}",
            f"lowest {100 * low:.2f} %, highest {100 * high:.2f} %; their mean is weighted by size",
        ]
    )
