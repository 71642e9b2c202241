"""Perplexities as text, with how they were measured."""

from __future__ import annotations

from collections.abc import Sequence

from tools.recipe.measurement import Measurement


def line(model: str, measured: Measurement) -> str:
    """What one model came to."""
    return f"{model}: perplexity {measured.value:.4g} on {_how(measured)}"


def table(models: Sequence[str], measured: Sequence[Measurement]) -> str:
    """Two models, one under the other, and how many times the second's perplexity the first's is."""
    (model, against), (ours, theirs) = models, measured
    width = max(len(model), len(against))
    lines = [
        f"  {'':<{width}}  perplexity     ratio",
        f"  {model:<{width}}  {ours.value:>10.4g}  {ours.value / theirs.value:>8.4g}",
        f"  {against:<{width}}  {theirs.value:>10.4g}",
        f"  {_how(ours)}",
    ]
    differs = theirs.protocol.read != ours.protocol.read
    return "\n".join([*lines, *([f"  {against}: {theirs.protocol.read}"] if differs else [])])


def _how(measured: Measurement) -> str:
    protocol = measured.protocol
    return f"{protocol.text} ({protocol.read}, {protocol.dtype} on {protocol.device}, {measured.seconds:.1f} s)"
