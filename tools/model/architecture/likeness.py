"""A family that no entry names, from its blocks: one attention and one MLP each, whose maps have the usual names.

What the names promise is tried on the model before any structure falls (`tools.prune.structures.proof`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tools.model.architecture.discovery import is_linear
from tools.model.architecture.families import Family, Sublayer

if TYPE_CHECKING:
    from tools.model.architecture import Projection

ATTENTIONS = (frozenset("qkvo"), frozenset({"qkv", "o"}))
MLPS = tuple(map(frozenset, (("gate", "up", "down"), ("gate_up", "down"), ("fc1", "fc2"), ("up", "down"))))
NEURONS = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "dim_ff", "dff", "decoder_ffn_dim")
"""What configurations call the width of an MLP."""


def family_like(model: Any, path: str, projections: Sequence[Projection]) -> Family | None:
    """What the blocks at `path` look like, if all of them look alike and hold no other map; None otherwise."""
    blocks, text = model.get_submodule(path), model.config.get_text_config()
    apart = getattr(text, "is_heterogeneous", False)  # its own configuration says that blocks differ (Gemma 4)
    if apart or not _all_there_is(blocks, {p.name.removeprefix(f"{path}.") for p in projections}):
        return None
    roles = [_roles(path, [p for p in projections if p.block == block]) for block in range(len(blocks))]
    if roles[0] is None or any(found != roles[0] for found in roles):
        return None
    attention, mlp = roles[0]
    widths = {p.in_features for p in projections if p.role in ("down", "fc2")}
    neurons = next((name for name in NEURONS if len(widths) == 1 and getattr(text, name, None) in widths), "")
    return Family((), path, attention, mlp, neurons, heads=_heads(text, projections))


def _all_there_is(blocks: Any, names: set[str]) -> bool:
    """Whether the blocks' matrices are those of the projections, and none is an expert's or a router's."""
    maps = {name for name, module in blocks.named_modules() if is_linear(module)}
    return maps == names and all(p.dim() < 3 for p in blocks.parameters())


def _roles(path: str, members: Sequence[Projection]) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
    """Role -> path inside the block, of its attention and of its MLP."""
    found: dict[Sublayer, dict[str, str]] = {"attention": {}, "mlp": {}}
    for p in members:
        if p.role in found[p.sublayer]:
            return None
        found[p.sublayer][p.role] = p.name.removeprefix(f"{path}.{p.block}.")
    fits = frozenset(found["attention"]) in ATTENTIONS and frozenset(found["mlp"]) in MLPS
    return (found["attention"], found["mlp"]) if fits else None


def _heads(text: Any, projections: Sequence[Projection]) -> bool:
    """Whether the configuration states heads and groups, and they are those of every block."""
    heads, groups = getattr(text, "num_attention_heads", None), getattr(text, "num_key_value_heads", None)
    if not (heads and groups):
        return False
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    said = {"q": heads * head, "k": groups * head, "v": groups * head}
    rows = {(p.role, p.out_features) for p in projections if p.sublayer == "attention" and p.role != "o"}
    return rows == set(said.items())
