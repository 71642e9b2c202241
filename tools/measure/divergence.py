"""KL divergence of a pruned model from the dense one: the search's fitness (EvoPress: top-K with K >= 512 suffices).

The dense model's 512 largest log-probabilities per token are stored once. What is measured is the KL divergence between
the two distributions over those 512 tokens and one event more, "any other token": a true divergence, never negative.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from tools.measure.perplexity import peak_mib, protocol
from tools.model.checkpoint import Model
from tools.recipe.measurement import Measurement
from tools.text.windows import Windows

TOP = 512


@dataclass(frozen=True)
class DenseLogits:
    """Per window, (length, K): token ids int32 and log-probabilities float32, and the log of what is left (length,)."""

    windows: Windows
    ids: torch.Tensor
    log_probabilities: torch.Tensor
    rest: torch.Tensor


def remember_dense(model: Model, windows: Windows) -> DenseLogits:
    """Run the dense model once over the windows and keep its top logits on the CPU."""
    ids, values, rests = [], [], []
    with torch.inference_mode():
        for row in windows.ids:
            log_p = _log_probabilities(model, row)
            top = log_p.topk(min(TOP, log_p.shape[-1] - 1), dim=-1)
            ids.append(top.indices.int().cpu())
            values.append(top.values.cpu())
            rests.append(_rest(top.values).cpu())
    return DenseLogits(windows, torch.stack(ids), torch.stack(values), torch.stack(rests))


def divergence(
    model: Model, dense: DenseLogits, count: int, *, sparsity: float, form: str = "dense statistics"
) -> Measurement:
    """Mean KL(dense || model) in nats per token over the first `count` windows."""
    start = time.perf_counter()
    windows = dense.windows.first(count)
    total = 0.0
    with torch.inference_mode():
        for i, row in enumerate(windows.ids):
            log_p = dense.log_probabilities[i].to(model.device)
            log_q = _log_probabilities(model, row).gather(1, dense.ids[i].to(model.device).long())
            rest = dense.rest[i].to(model.device)
            kl = (log_p.exp() * (log_p - log_q)).sum(1) + rest.exp() * (rest - _rest(log_q))
            total += float(kl.double().mean())
    return Measurement(
        kind="divergence",
        value=total / len(windows.ids),
        tokens=windows.tokens,
        sparsity=sparsity,
        seconds=time.perf_counter() - start,
        peak_mib=peak_mib(model.device),
        protocol=protocol(model, windows, form),
    )


def _log_probabilities(model: Model, row: torch.Tensor) -> torch.Tensor:
    """(length, vocabulary) float32."""
    logits: torch.Tensor = model.network(row.unsqueeze(0).to(model.device), use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


def _rest(log_probabilities: torch.Tensor) -> torch.Tensor:
    """log(1 - sum p), bounded away from log 0 by float32's resolution."""
    return (1 - log_probabilities.exp().sum(-1)).clamp_min(1e-7).log()
