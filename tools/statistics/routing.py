"""How a mixture's router spreads a text over its experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch

from tools.model.blocks import trunk_of
from tools.model.mixtures import mixtures_of

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


def routed(model: Model, batches: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """How the experts are used on a text: one forward pass, of which only sums are kept.

    Returns:
        By the name of every mixture (2, experts) float64: tokens that are routed to an expert, as a share of all
        tokens, and the sum over these of router weight times norm of the expert's output, over their number (REAP's
        saliency, CerebrasResearch/reap; 0 for an expert that no token reaches).
    """
    found: dict[str, torch.Tensor] = {}
    handles = []
    for of in mixtures_of(model):
        found[of.experts] = torch.zeros(2, of.units, dtype=torch.float64, device=model.device)
        hook = _adding(found[of.experts])
        handles.append(model.network.get_submodule(of.experts).register_forward_pre_hook(hook))
    tokens, trunk = 0, trunk_of(model.network, model.architecture.blocks)
    try:
        with torch.inference_mode():
            for ids in batches:
                tokens += ids.numel()
                trunk(ids.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.stack([sums[0] / tokens, sums[1] / sums[0].clamp_min(1)]) for name, sums in found.items()}


def _adding(sums: torch.Tensor) -> Callable[..., None]:
    """A hook that adds to `sums` (2, experts): tokens, and router weight times norm of the output."""

    def hook(module: Any, args: tuple[Any, ...]) -> None:
        hidden, chosen, weights = args  # (tokens, width), (tokens, k), (tokens, k)
        for expert in chosen.unique().tolist():
            token, place = torch.where(chosen == expert)
            alone = chosen.new_full((len(token), 1), expert)
            # The module's own forward with a router weight of one: what this expert alone says to its tokens.
            said = module.forward(hidden[token], alone, weights.new_ones(len(token), 1))
            norm = torch.linalg.vector_norm(said.float(), dim=-1)
            sums[0, expert] += len(token)
            sums[1, expert] += torch.dot(weights[token, place].double(), norm.double())

    return hook
