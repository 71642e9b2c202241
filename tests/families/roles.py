"""What must never be pruned, told from the classes, sizes and places of modules: nothing of the product is asked.

Of a tiny model: the number of its experts is no other size of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.families.tiny import EXPERTS

if TYPE_CHECKING:
    from tools.model.architecture import Projection

CHOOSES = re.compile(r"Router|TopK|Gating(?!MLP)|(?<!Forget)Gate$")
"""Classes that choose among experts. Kimi's forget gate is a map of a linear attention."""
PLACES = re.compile(r"Relative|Position|Rotary|Embedding")
STATES = re.compile(r"(^|\.)(A_log|dt_|conv1d)")
"""Names of what drives the state of a recurrence."""


def forbidden(network: Any, blocks: str, projection: Projection) -> str:
    """Why nothing of a projection of the blocks at a path may fall; empty where it may."""
    from torch import nn

    name, parameter = projection.name, network.get_parameter(projection.parameter)
    around = list(_around(network, projection.parameter.rpartition(".")[0], blocks))
    owner = around[0]
    if any(CHOOSES.search(type(module).__name__) for module in around):
        return "a router or a gate of a mixture"
    if isinstance(owner, nn.Linear) and _chooses(parameter.shape[0], around[1:]):
        return "as many outputs as there are experts beside it, or one"
    if any(_only_norm(module) for module in around):
        return "a norm, or a part of one"
    if isinstance(owner, nn.Embedding | nn.modules.conv._ConvNd):
        return "an embedding or a convolution"
    if any(PLACES.search(type(module).__name__) for module in around) or _feeds_positions(name, around):
        return "a map of positions"
    return "a state matrix" if STATES.search(name) else ""


def _around(network: Any, path: str, blocks: str) -> Iterator[Any]:
    """The module at a path and those around it, as far as the block."""
    while path != blocks:
        yield network.get_submodule(path)
        path = path.rpartition(".")[0]


def _chooses(outputs: int, around: list[Any]) -> bool:
    """Whether that many outputs choose among the experts that one of these modules holds."""
    holds = any("expert" in name for module in around for name, _ in module.named_children())
    return holds and outputs in (1, EXPERTS, EXPERTS + 1)


def _only_norm(module: Any) -> bool:
    """Whether a module is a norm, and none that stands around an attention (DBRX)."""
    inside = [name for name, _ in module.named_modules()]
    return type(module).__name__.endswith("Norm") and not any("attn" in name for name in inside)


def _feeds_positions(name: str, around: list[Any]) -> bool:
    """Whether a map makes what a module of relative positions beside it reads: Inkling's `r_proj`."""
    beside = [type(module).__name__ for module in around[1].children()]
    return name.endswith(".r_proj") and any("Relative" in kind for kind in beside)
