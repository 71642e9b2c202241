"""What of a network's blocks is a linear or an expert weight, counted from its parameters alone.

Nothing of the product is asked: a weight counts if it stands inside a numbered block and is the matrix of a linear map
or the matrices of experts. Routers and gates of a mixture, norms, embeddings, convolutions and what drives the state of
a recurrence do not count, and nothing may change them. Of a share, what a causal pass never reads does not count
either: the cross-attention of a decoder without its encoder, the keys of layers that use those of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

APART = ("vision", "visual", "audio", "image", "speech", "embed_vision", "patcher")
"""Parts of a network beside the language model."""
STATE = ("A_log", "dt_proj", "dt_bias", "conv1d", "embed", "router", "rg_lru")
STATE += ("rel_", "relative", "position", ".r_proj")
"""Names, or parts of names, of what is no linear map of the blocks."""
GATES = ("gate", "wg", "shared_expert_gate", "shared_gate", "classifier", "router", "gate_weight")
"""What chooses among experts is called so, in a module that holds experts."""


def counted(network: Any) -> dict[str, torch.Tensor]:
    """Name -> parameter of every linear and expert weight of the blocks."""
    import torch

    modules, found = dict(network.named_modules()), {}
    for name, parameter in network.named_parameters():
        path, _, leaf = name.rpartition(".")
        owner = modules[path]
        other = isinstance(owner, torch.nn.Embedding | torch.nn.modules.conv._ConvNd)
        if not _in_block(name) or parameter.dim() not in (2, 3) or other:
            continue
        if any(word in name for word in STATE) or _is_norm(path) or _is_gate(path, modules):
            continue
        linear = parameter.dim() == 2 and (leaf == "weight" or ("expert" in path and "bias" not in leaf))
        if linear or (parameter.dim() == 3 and min(parameter.shape) > 1):
            found[name] = parameter
    return found


def read(network: Any) -> set[str]:
    """Names of the parameters that a causal pass reads, whoever multiplies with them, and of all experts."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_leaves

    seen: set[int] = set()

    class Reading(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, torch.Tensor)]
            seen.update(x.untyped_storage().data_ptr() for x in given)
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Reading():
        network(torch.arange(8, 40).reshape(1, 32), use_cache=False)
    named = network.named_parameters()
    return {name for name, p in named if "expert" in name or p.untyped_storage().data_ptr() in seen}


def experts_of(network: Any) -> int:
    """How many expert matrices the blocks hold: 0 of a network that is no mixture."""
    return sum(_of_experts(name) for name in counted(network))


def _of_experts(name: str) -> bool:
    return any("expert" in part and "shared" not in part for part in name.split("."))


def _in_block(name: str) -> bool:
    parts = name.split(".")
    numbered = any(part.isdigit() for part in parts[:-2])  # a list of matrices is none of blocks (Gemma 3n)
    return numbered and not any(word in part for part in parts for word in APART)


def _is_norm(path: str) -> bool:
    """Anywhere below a module that is called a norm; DBRX calls its attention with the norms around it one, too."""
    parts = path.split(".")
    inside = parts[next(place for place, part in enumerate(parts) if part.isdigit()) :]
    return any(part.endswith("norm") and not part.startswith("norm_") for part in inside)


def _is_gate(path: str, modules: Mapping[str, Any]) -> bool:
    """Whether a module chooses among experts that stand beside it, whatever lies between."""
    parts = path.split(".")
    for place in range(len(parts), 0, -1):
        beside = [name for name, _ in modules[".".join(parts[: place - 1])].named_children()]
        if parts[place - 1] in GATES and any("expert" in name and "gate" not in name for name in beside):
            return True
    return False


def reached(network: Any, before: Mapping[str, torch.Tensor]) -> float:
    """The share of the counted weights that stand in matrices of which a good part is zero now and was not before."""
    fell, whole, there = 0, 0, read(network)
    for name, parameter in counted(network).items():
        if name not in there:
            continue
        dense = before[name]
        whole += dense.numel()
        zeros = int(dense.count_nonzero()) - int(parameter.count_nonzero())
        fell += dense.numel() if zeros > 0.1 * dense.numel() else 0
    return fell / max(1, whole)


def touched(network: Any, before: Mapping[str, torch.Tensor]) -> str:
    """The first parameter that is none of the counted, and was changed: a router, a norm; empty where there is none."""
    import torch

    allowed = {id(p) for p in counted(network).values()}
    for name, parameter in network.named_parameters():
        if id(parameter) not in allowed and not name.endswith("bias") and not torch.equal(parameter, before[name]):
            return name
    return ""
