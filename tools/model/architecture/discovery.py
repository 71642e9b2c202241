"""Finding the blocks of a network that no family describes, and the linear maps inside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import pairwise
from typing import Any

from tools.io.errors import SecateurError
from tools.model.architecture.families import Sublayer

LEAVES: Mapping[str, str] = {
    **dict.fromkeys(("q_proj", "query", "q_lin", "wq"), "q"),
    **dict.fromkeys(("k_proj", "key", "k_lin", "wk"), "k"),
    **dict.fromkeys(("v_proj", "value", "v_lin", "wv"), "v"),
    **dict.fromkeys(("qkv_proj", "query_key_value", "c_attn", "wqkv", "qkv"), "qkv"),
    **dict.fromkeys(("o_proj", "out_proj", "out_lin", "wo"), "o"),
    **dict.fromkeys(("gate_proj",), "gate"),
    **dict.fromkeys(("up_proj",), "up"),
    **dict.fromkeys(("gate_up_proj",), "gate_up"),
    **dict.fromkeys(("down_proj",), "down"),
    **dict.fromkeys(("fc1", "c_fc", "fc_in", "dense_h_to_4h"), "fc1"),
    **dict.fromkeys(("fc2", "fc_out", "dense_4h_to_h"), "fc2"),
}
"""What a linear map is usually called -> its role; discovery goes by these names and says `linear` otherwise."""

ATTENDS = ("q", "k", "v", "qkv", "o")
"""The roles of an attention."""

SHARED_LEAVES: Mapping[tuple[str, Sublayer], str] = {
    ("dense", "attention"): "o",
    ("c_proj", "attention"): "o",
    ("c_proj", "mlp"): "fc2",
}
"""The same for names whose role hangs on where they stand."""

FEEDS = ("mlp", "ffn", "ff", "feed_forward")
"""What an MLP is called: nothing in it is a key or a value, whatever its name (RWKV, ModernBERT)."""

PARENTS: Mapping[tuple[str, str, Sublayer], str] = {
    ("intermediate", "dense", "mlp"): "fc1",
    ("output", "dense", "mlp"): "fc2",
}
"""The same where the module around it says it (BERT)."""


TOWERS = ("vision", "visual", "audio", "image", "speech")
"""Parts of names of what stands beside a language model."""


def find_blocks(model: Any) -> str | None:
    """Path of the module list whose linear layers hold the most weights, of those nearest to the input embedding: the
    towers of other senses read none of it, however large they are. Of nested lists the outermost.

    Raises:
        SecateurError: it does not say which its input embedding is.
    """
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError as error:
        raise SecateurError(
            f"{type(model).__name__} has no input embedding of text that is known: nothing can be pruned"
        ) from error
    place = next(name for name, module in model.named_modules() if module is embedding)
    while place:
        place = place.rpartition(".")[0]
        if best := _largest_list(model.get_submodule(place)):
            return f"{place}.{best}" if place else best
    return None


def _largest_list(root: Any) -> str | None:
    from torch import nn

    best, most = None, 0
    for name, module in root.named_modules():
        if not isinstance(module, nn.ModuleList) or any(word in name for word in TOWERS):
            continue
        size = sum(linear.weight.numel() for _, linear in linears(module))
        if size > most:
            best, most = name, size
    return best


def linears(root: Any) -> Iterator[tuple[str, Any]]:
    """Path and module of every linear layer below `root`, without what chooses among experts or places tokens."""
    names = {name for name, _ in root.named_modules()}
    mixtures = {name: count for name, module in root.named_modules() if (count := _experts_in(module)) is not None}
    for name, module in root.named_modules():
        if not (name and is_linear(module)):
            continue
        if any("router" in part or _is_no_map(part) for part in name.split(".")):  # whatever it chooses among
            continue
        if _feeds_positions(name, names):
            continue
        inside = [place for place in mixtures if not place or name.startswith(f"{place}.")]
        if not any(_chooses(name[len(place) :].lstrip("."), module, mixtures[place]) for place in inside):
            yield name, module


def _is_no_map(part: str) -> bool:
    """Whether what is called so scales or places what the maps of a block read: norms that learn how, positions."""
    norm = part.endswith("norm") and not part.startswith("norm_")  # DBRX: norms around an attention, and it
    return norm or "relative_pos" in part


def _feeds_positions(path: str, names: Set[str]) -> bool:
    """Whether a map makes what the relative positions beside it are mixed by (Inkling's `r_proj`)."""
    owner, _, leaf = path.rpartition(".")
    return leaf == "r_proj" and any(name.startswith(f"{owner}.rel_".lstrip(".")) for name in names)


def _experts_in(module: Any) -> int | None:
    """How many experts a module chooses among; 0 where that cannot be told, None where it is no mixture.

    Experts are called so, or are the matrices of one parameter (JetMoE, Granite).
    """
    from torch import nn

    found = []
    for name, child in module.named_children():
        named = _names_experts(name)
        if named:
            found.append(len(child) if isinstance(child, nn.ModuleList | nn.ModuleDict) else 0)
        if not isinstance(child, nn.modules.conv._ConvNd):
            own = child.named_parameters(recurse=named)
            found += [p.shape[0] for _, p in own if p.dim() == 3 and min(p.shape) > 1]
    return max(found, default=None)


def _names_experts(name: str) -> bool:
    return "expert" in name and not any(word in name for word in ("shared", "gate", "router", "bias"))


def _chooses(path: str, linear: Any, count: int) -> bool:
    """Whether a linear layer, by its path inside a mixture of `count` experts, chooses among them.

    What chooses is called a router or a gate, whatever lies below that, or has one output for each expert.
    """
    first, _, rest = path.partition(".")
    if _names_experts(first):
        return False
    chooses = "router" in first or ("gate" in first and first not in LEAVES)
    return chooses or (not rest and count > 1 and linear.weight.shape[0] == count)


def expert_of(path: str) -> int | None:
    """The number of the expert that a module is of, by its path; None where it is of no list of experts."""
    parts = path.split(".")
    listed = (int(b) for a, b in pairwise(parts) if b.isdigit() and _names_experts(a))
    return next(listed, None)


def is_linear(module: Any) -> bool:
    """Whether a module multiplies with one matrix; GPT-2's Conv1D does, too."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def role_of(name: str) -> tuple[str, Sublayer]:
    """Role and sublayer of a linear layer of an unknown family, from its path inside the block."""
    path, _, leaf = name.lower().rpartition(".")
    if leaf == "linear" and path:  # a map inside a module of its own (Moshi)
        path, _, leaf = path.rpartition(".")
    sublayer: Sublayer = "attention" if "attn" in path or "attention" in path else "mlp"
    above = path.rpartition(".")[2]
    role = PARENTS.get((above, leaf, sublayer)) or SHARED_LEAVES.get((leaf, sublayer)) or LEAVES.get(leaf, "linear")
    if role in ATTENDS and sublayer == "mlp" and above in FEEDS:
        return "fc2" if role == "o" else "linear", "mlp"
    return role, "attention" if role in ATTENDS else sublayer
