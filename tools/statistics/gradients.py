"""Statistics of gradients, one number per weight.

G = 100 sqrt(sum_n g_n^2), g_n the gradient of the loss on window n (VILA-Lab/GBLM-Pruner, pprp/Pruner-Zero
lib/gradient_computation.py), and Wanda++'s regional gradient R, the root mean square over windows of the gradient of
the l2 norm of the block's output (TTTTTTris/wandaplus).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tools.model.architecture import Architecture, Projection
from tools.model.blocks import check_blocks, passes
from tools.model.checkpoint import Model
from tools.text.windows import Windows


def gradients(model: Model, windows: Windows) -> dict[str, torch.Tensor]:
    """G of every projection (out, in) float32: 100 sqrt(sum over windows of g^2)."""
    with _accumulating(model, model.architecture.projections, scale=100) as squares:
        for ids in windows.ids:
            row = ids.unsqueeze(0).to(model.device)
            model.network(row, labels=row, use_cache=False).loss.backward()
    return {name: value.sqrt_() for name, value in squares.items()}


def regional_gradients(model: Model, windows: Windows) -> dict[str, torch.Tensor]:
    """R of every projection (out, in) float32: sqrt(mean over windows of (d ||block(x)||_2 / dW)^2)."""
    check_blocks(model, windows.ids)
    found: dict[str, torch.Tensor] = {}
    with torch.no_grad(), passes(model, windows.ids.split(1)) as held:
        for block in range(model.architecture.n_blocks):
            members = model.architecture.of_block(block)
            with _accumulating(model, members) as squares, torch.enable_grad():
                for place in range(len(windows.ids) if members else 0):
                    torch.linalg.vector_norm(held.run(place).float()).backward()
            found |= {name: value.div_(len(windows.ids)).sqrt_() for name, value in squares.items()}
            held.go_on()  # once more without gradients: what later blocks share of this one belongs to no graph
    return found


@contextmanager
def _accumulating(model: Model, members: Any, scale: float = 1) -> Iterator[dict[str, torch.Tensor]]:
    """While open, every backward pass adds the squares of `scale` times the gradients of `members` and frees them."""
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    squares: dict[str, torch.Tensor] = {}
    handles = []

    def hook(those: Sequence[Projection]) -> Callable[[torch.Tensor], None]:
        def add(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            for p in those:
                # Rounded after every step as the authors' code does, which a fused addcmul would not be.
                squares[p.name].add_((_of(p, parameter.grad).float() * scale).square_())
            parameter.grad = None

        return add

    held: dict[str, list[Projection]] = {}  # experts share a parameter
    for p in members:
        squares[p.name] = torch.zeros(p.out_features, p.in_features, device=model.device)
        held.setdefault(p.parameter, []).append(p)
    for name, those in held.items():
        parameter = model.network.get_parameter(name)
        parameter.requires_grad_(True)
        handles.append(parameter.register_post_accumulate_grad_hook(hook(those)))
    try:
        yield squares
    finally:
        for handle in handles:
            handle.remove()
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)


def _of(projection: Projection, gradient: torch.Tensor) -> torch.Tensor:
    """The projection's (out, in) of the gradient of the parameter that holds it."""
    if projection.part is not None:
        return projection.part.inside(gradient.contiguous(), (projection.out_features, projection.in_features))
    return gradient.T if projection.transposed else gradient


def of_layers(
    gradients: Mapping[str, torch.Tensor], names: Sequence[str], architecture: Architecture
) -> dict[str, torch.Tensor]:
    """The same, where the named experts, which saw too few tokens, have the root mean square over their layer's."""
    found, known = dict(gradients), {p.name: p for p in architecture.projections}
    for kin in {known[name].kin for name in names}:
        members = [p.name for p in architecture.projections if p.kin == kin]
        squares = sum(gradients[name].square() for name in members)
        shared = torch.as_tensor(squares).div_(len(members)).sqrt_()
        found |= {name: shared for name in names if known[name].kin == kin}
    return found
