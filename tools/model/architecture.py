"""Which weights of a network may be pruned and what they do. Families are data, unknown ones are discovered.

Only the linear maps inside the repeated blocks count: embeddings, the output head (tied or not), norms and biases are
never prunable. Experts of mixture-of-experts blocks and their routers fall whole or not at all (`structure.experts`):
as projections only the other linear maps of such a network are described, usually attention; `Architecture.reach` says
how much of the blocks that is.

One forward pass over a few tokens tells what a description by names cannot: which maps read the same tensor, and which
are never called (Mamba multiplies with the weight of its `dt_proj` by itself), so that nothing can be known of their
inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tools.io.errors import SecateurError
from tools.model.trace import traced

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Sublayer = Literal["attention", "mlp"]

ORDER = ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "fc1", "down", "fc2")
"""Roles in the order in which a block computes them."""


@dataclass(frozen=True)
class Projection:
    """One prunable linear map, a matrix of `out_features` rows and `in_features` columns."""

    name: str
    """Path of the module, for example `model.layers.0.self_attn.q_proj`."""
    role: str
    """q k v o qkv gate up down gate_up fc1 fc2, or `linear` where discovery could not tell."""
    block: int
    sublayer: Sublayer
    out_features: int
    in_features: int
    transposed: bool
    """The parameter is stored as (in, out): GPT-2's Conv1D."""

    @property
    def size(self) -> int:
        return self.out_features * self.in_features


@dataclass(frozen=True)
class ExpertPaths:
    """Where a mixture of experts is in a block that has one."""

    router: str
    """The module whose parameters have one row per expert."""
    experts: str
    """The module whose parameters have one matrix per expert."""
    count: str
    """The configuration's field for the number of experts."""


@dataclass(frozen=True)
class Family:
    """An architecture as data: where its blocks are, and which path inside a block plays which role."""

    model_types: tuple[str, ...]
    """The `model_type`s of the configurations that look like this."""
    blocks: str
    attention: Mapping[str, str]
    mlp: Mapping[str, str]
    neurons: str = "intermediate_size"
    """The configuration's field for the width of an MLP."""
    heads: bool = True
    """The configuration states the size of a head, so that a model with fewer heads can be written down."""
    biases: Mapping[Sublayer, str] = field(default_factory=dict)
    """The configuration's switches for biases; without one the family's projections cannot be given any."""
    experts: ExpertPaths | None = None
    """Of a family whose blocks hold mixtures, at least some of them; its other MLPs are discovered."""

    @property
    def paths(self) -> dict[str, tuple[str, Sublayer]]:
        """Path inside a block -> role and sublayer, in forward order."""
        sublayers: tuple[tuple[Sublayer, Mapping[str, str]], ...] = (("attention", self.attention), ("mlp", self.mlp))
        return {path: (role, sublayer) for sublayer, roles in sublayers for role, path in roles.items()}


SPLIT_ATTENTION = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
}
GATED_MLP = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
FAMILIES: tuple[Family, ...] = (
    Family(
        ("llama",),
        "model.layers",
        SPLIT_ATTENTION,
        GATED_MLP,
        biases={"attention": "attention_bias", "mlp": "mlp_bias"},
    ),
    Family(("mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), "model.layers", SPLIT_ATTENTION, GATED_MLP),
    Family(("gemma3",), "model.language_model.layers", SPLIT_ATTENTION, GATED_MLP),
    Family(
        ("phi3",),
        "model.layers",
        {"qkv": "self_attn.qkv_proj", "o": "self_attn.o_proj"},
        {"gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"},
    ),
    Family(
        ("opt",),
        "model.decoder.layers",
        SPLIT_ATTENTION | {"o": "self_attn.out_proj"},
        {"fc1": "fc1", "fc2": "fc2"},
        neurons="ffn_dim",
        heads=False,
    ),
    Family(
        ("gpt_neox",),
        "gpt_neox.layers",
        {"qkv": "attention.query_key_value", "o": "attention.dense"},
        {"fc1": "mlp.dense_h_to_4h", "fc2": "mlp.dense_4h_to_h"},
        heads=False,
    ),
    Family(
        ("gpt2",),
        "transformer.h",
        {"qkv": "attn.c_attn", "o": "attn.c_proj"},
        {"fc1": "mlp.c_fc", "fc2": "mlp.c_proj"},
        neurons="n_inner",
        heads=False,
    ),
    Family(
        ("mixtral",),
        "model.layers",
        SPLIT_ATTENTION,
        {},
        experts=ExpertPaths("mlp.gate", "mlp.experts", "num_local_experts"),
    ),
    Family(
        ("qwen2_moe", "qwen3_moe"),
        "model.layers",
        SPLIT_ATTENTION,
        {},
        experts=ExpertPaths("mlp.gate", "mlp.experts", "num_experts"),
    ),
)

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

SHARED_LEAVES: Mapping[tuple[str, Sublayer], str] = {
    ("dense", "attention"): "o",
    ("c_proj", "attention"): "o",
    ("c_proj", "mlp"): "fc2",
}
"""The same for names whose role hangs on where they stand."""


@dataclass(frozen=True)
class Architecture:
    """What describing a network found."""

    family: str
    """The configuration's `model_type` where a family knows it, otherwise `discovered`."""
    blocks: str
    """Path of the list of blocks."""
    projections: tuple[Projection, ...]
    """In forward order, block after block."""
    n_blocks: int
    tied_head: bool
    """Output head and input embedding are one matrix."""
    readers: tuple[tuple[str, ...], ...]
    """Names of projections of one block that read the same tensor, in forward order; every projection is in one."""
    block_weights: int
    """Number of all weights of the blocks, experts, norms and biases included."""
    idle: tuple[str, ...] = ()
    """Linear maps of the blocks that are no projections, because a forward pass does not call them."""

    @cached_property
    def _by_block(self) -> tuple[tuple[Projection, ...], ...]:
        return tuple(tuple(p for p in self.projections if p.block == block) for block in range(self.n_blocks))

    def of_block(self, block: int) -> tuple[Projection, ...]:
        """The projections of one block, in forward order."""
        return self._by_block[block]

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(projection.size for projection in self.projections)

    @property
    def reach(self) -> float:
        """Share of the blocks' weights that is prunable."""
        return self.size / self.block_weights


def describe(model: PreTrainedModel) -> Architecture:
    """Find the prunable projections of a causal language model of transformers.

    A network without values (on torch's `meta` device) is described by names alone: each projection reads for itself.

    Raises:
        SecateurError: nothing prunable was found, the weights are stored quantised, or a forward pass fails.
    """
    model_type = str(getattr(model.config, "model_type", ""))
    family = next((f for f in FAMILIES if model_type in f.model_types), None)
    if family is not None and _fits(model, family):
        return _assemble(model, model_type, family.blocks, {} if family.experts else family.paths)
    blocks = _find_blocks(model)
    if blocks is None:
        raise SecateurError(f"{type(model).__name__} has no list of blocks with linear layers: nothing can be pruned")
    return _assemble(model, "discovered", blocks, {})


def family_of(architecture: Architecture) -> Family | None:
    """What is known about the family of a described network; None where it was discovered."""
    return next((family for family in FAMILIES if architecture.family in family.model_types), None)


def weight(model: PreTrainedModel, projection: Projection) -> torch.Tensor:
    """The projection's weights as (out, in): a view, so writing into it changes the model."""
    parameter: torch.Tensor = model.get_submodule(projection.name).weight.data
    return parameter.T if projection.transposed else parameter


def _assemble(model: Any, family: str, path: str, roles: Mapping[str, tuple[str, Sublayer]]) -> Architecture:
    blocks = model.get_submodule(path)
    tied = _tied(model)
    seen = {id(e.weight) for e in _embeddings(model)}
    found: list[Projection] = []
    for index, block in enumerate(blocks):
        linears = {p: block.get_submodule(p) for p in roles if not _gone(block, p)} if roles else dict(_linears(block))
        members = []
        for name, module in linears.items():
            if id(module.weight) in seen:
                continue
            seen.add(id(module.weight))
            role, sublayer = roles.get(name) or _guess(name)
            members.append(_projection(f"{path}.{index}.{name}", module, role, index, sublayer))
        found += sorted(members, key=_position)
    if not found:
        raise SecateurError(
            f"{type(model).__name__}: the blocks at {path} hold no linear layers: nothing can be pruned"
        )
    read = {p.name: p.name for p in found} if model.device.type == "meta" else traced(model, [p.name for p in found])
    called = tuple(p for p in found if p.name in read)
    if not called:
        raise SecateurError(f"{type(model).__name__}: a forward pass calls none of its linear layers: nothing to prune")
    readers: dict[tuple[int, object], list[str]] = {}
    for p in called:
        readers.setdefault((p.block, read[p.name]), []).append(p.name)
    idle = tuple(p.name for p in found if p.name not in read)
    weights = sum(parameter.numel() for parameter in blocks.parameters())
    together = tuple(tuple(names) for names in readers.values())
    return Architecture(family, path, called, len(blocks), tied, together, weights, idle)


def _projection(name: str, module: Any, role: str, block: int, sublayer: Sublayer) -> Projection:
    if module.weight.dim() != 2 or not module.weight.is_floating_point():
        raise SecateurError(f"{name} is stored quantised; pruning needs a checkpoint with plain floating-point weights")
    transposed = type(module).__name__ == "Conv1D"
    out, into = reversed(module.weight.shape) if transposed else module.weight.shape
    return Projection(name, role, block, sublayer, int(out), int(into), transposed)


def _fits(model: Any, family: Family) -> bool:
    """Whether every path of the family is there; a variant that lacks one is left to discovery."""
    try:
        blocks = model.get_submodule(family.blocks)
        return all(_gone(b, p) or _is_linear(b.get_submodule(p)) for b in blocks for p in family.paths)
    except AttributeError:
        return False


def _gone(block: Any, path: str) -> bool:
    """Whether the sublayer that held this projection was pruned away."""
    from tools.model.pruned.modeling_pruned import NoAttention, NoMLP

    parent = path.rpartition(".")[0]
    return bool(parent) and isinstance(block.get_submodule(parent), NoAttention | NoMLP)


def _find_blocks(model: Any) -> str | None:
    """Path of the module list whose linear layers hold the most weights; of nested lists the outermost."""
    from torch import nn

    best, most = None, 0
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or any(word in name for word in ("vision", "visual", "audio")):
            continue
        size = sum(linear.weight.numel() for _, linear in _linears(module))
        if size > most:
            best, most = name, size
    return best


def _linears(root: Any) -> Iterator[tuple[str, Any]]:
    """Path and module of every linear layer below `root`, without experts and what chooses among them."""
    mixtures = {name: count for name, module in root.named_modules() if (count := _experts_in(module)) is not None}
    for name, module in root.named_modules():
        if not (name and _is_linear(module)):
            continue
        if any("router" in part for part in name.split(".")):  # whatever it chooses among
            continue
        inside = [place for place in mixtures if not place or name.startswith(f"{place}.")]
        if not any(_is_of_experts(name[len(place) :].lstrip("."), module, mixtures[place]) for place in inside):
            yield name, module


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


def _is_of_experts(path: str, linear: Any, count: int) -> bool:
    """Whether a linear layer, by its path inside a mixture of `count` experts, is of an expert or chooses among them.

    What chooses is called a router or a gate, whatever lies below that, or has one output for each expert.
    """
    first, _, rest = path.partition(".")
    chooses = "router" in first or ("gate" in first and first not in LEAVES)
    return _names_experts(first) or chooses or (not rest and count > 1 and linear.weight.shape[0] == count)


def _is_linear(module: Any) -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _guess(name: str) -> tuple[str, Sublayer]:
    """Role and sublayer of a linear layer of an unknown family, from its path inside the block."""
    path, _, leaf = name.lower().rpartition(".")
    sublayer: Sublayer = "attention" if "attn" in path or "attention" in path else "mlp"
    role = SHARED_LEAVES.get((leaf, sublayer)) or LEAVES.get(leaf, "linear")
    return role, "attention" if role in ("q", "k", "v", "qkv", "o") else sublayer


def _position(projection: Projection) -> tuple[bool, int]:
    """Sorts a block's projections: attention before MLP, then by role; unknown roles keep their order, last."""
    place = ORDER.index(projection.role) if projection.role in ORDER else len(ORDER)
    return projection.sublayer == "mlp", place


def _embeddings(model: Any) -> list[Any]:
    return [e for e in (model.get_input_embeddings(), model.get_output_embeddings()) if e is not None]


def _tied(model: Any) -> bool:
    embeddings = _embeddings(model)
    return len(embeddings) == 2 and embeddings[0].weight is embeddings[1].weight
