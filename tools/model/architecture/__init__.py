"""Which weights of a network may be pruned and what they do. Families are data, unknown ones are discovered.

Only the linear maps inside the repeated blocks count: embeddings, the output head (tied or not), norms and biases are
never prunable. Experts of mixtures are projections, one by one, though their weights are slices of one parameter
(`experts`); routers never are. `Architecture.reach` says how much of the blocks all that is.

One forward pass over a few tokens tells what a description by names cannot: which maps read the same tensor, and which
are never called (Mamba multiplies with the weight of its `dt_proj` by itself), so that nothing can be known of their
inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError
from tools.model.architecture.discovery import expert_of, find_blocks, is_linear, linears, role_of
from tools.model.architecture.families import Family, Sublayer, family_named
from tools.model.architecture.likeness import family_like
from tools.model.architecture.trace import traced

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tools.model.architecture.experts import Part, Stack

ORDER = ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "fc1", "down", "fc2")
"""Roles in the order in which a block computes them."""

STEP = "dt_proj"
"""What drives the step of a recurrence's state is called so (Mamba, Doge), and stays."""


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
    part: Part | None = None
    """Of an expert that is no module: which part of a parameter it is."""

    @property
    def parameter(self) -> str:
        """Path of the parameter that holds its weights."""
        return f"{self.name}.weight" if self.part is None else self.part.parameter

    @property
    def expert(self) -> int | None:
        """The number of the expert that it is of; None where no router decides what it reads."""
        return expert_of(self.name) if self.part is None else self.part.expert

    @property
    def kin(self) -> str:
        """What it and the same matrix of the layer's other experts are called: its name without the expert's number."""
        return self.name if self.expert is None else "".join(self.name.rsplit(f".{self.expert}", 1))

    @property
    def size(self) -> int:
        """Number of its weights."""
        return self.out_features * self.in_features


@dataclass(frozen=True)
class Architecture:
    """What describing a network found."""

    model_type: str
    """The configuration's where a family knows it, otherwise `discovered`."""
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
    """Linear maps of the blocks that are no projections: not called in a forward pass, or the step of a state."""
    uncalled: int = 0
    """Weights of linear maps of the blocks which a causal pass never calls: a decoder's cross-attention without its
    encoder, keys and values of layers that use those of others."""
    family: Family | None = field(default=None, compare=False)
    """What is known of its family, or what its blocks look like; None where that is nothing known."""

    @property
    def guessed(self) -> bool:
        """Whether the family is what the blocks look like, and has to be tried before it is believed."""
        return self.family is not None and not self.family.model_types

    @property
    def known_family(self) -> Family:
        """The family, for what is only done where one is known.

        Raises:
            SecateurError: the network was discovered.
        """
        if self.family is None:
            raise SecateurError("this network is of no family whose structures are known: use --pattern unstructured")
        return self.family

    @cached_property
    def _by_block(self) -> tuple[tuple[Projection, ...], ...]:
        return tuple(tuple(p for p in self.projections if p.block == block) for block in range(self.n_blocks))

    def of_block(self, block: int) -> tuple[Projection, ...]:
        """The projections of one block, in forward order."""
        return self._by_block[block]

    def only(self, names: Collection[str]) -> Architecture:
        """The same with these projections alone."""
        there = tuple(p for p in self.projections if p.name in names)
        readers = [tuple(name for name in of if name in names) for of in self.readers]
        fewer = self.block_weights - self.size + sum(p.size for p in there)
        return replace(self, projections=there, readers=tuple(filter(None, readers)), block_weights=fewer)

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
        SecateurError: nothing prunable was found, it reads no text, the weights are stored quantised, or a forward pass
            fails.
    """
    model_type = str(getattr(model.config, "model_type", ""))
    if not _reads_text(model):
        raise SecateurError(f"{type(model).__name__} has no embedding of text tokens: it is no language model")
    family = family_named(model_type)
    if family is not None and _fits(model, family):
        return _described(model, family.blocks, model_type, family)
    blocks = find_blocks(model)
    if blocks is None:
        raise SecateurError(f"{type(model).__name__} has no list of blocks with linear layers: nothing can be pruned")
    return _described(model, blocks, "discovered", None)


def weight(model: PreTrainedModel, projection: Projection) -> torch.Tensor:
    """The projection's weights as (out, in): a view, so writing into it changes the model."""
    if projection.part is not None:
        return projection.part.of(model, (projection.out_features, projection.in_features))
    parameter: torch.Tensor = attrgetter(f"{projection.name}.weight")(model).data
    return parameter.T if projection.transposed else parameter


def bias(model: PreTrainedModel, projection: Projection) -> torch.Tensor | None:
    """The projection's bias (out,), a view; None where it has none."""
    if projection.part is None:
        found: torch.Tensor | None = model.get_submodule(projection.name).bias
        return found
    part = projection.part
    return model.get_parameter(part.bias).data[part.expert] if part.bias else None


def _described(model: Any, path: str, model_type: str, family: Family | None) -> Architecture:
    from tools.model.architecture.experts import candidates

    blocks = model.get_submodule(path)
    linear = _projections(model, path, {} if family is None else family.paths)
    read, stacks = _read(model, [p.name for p in linear], candidates(model, path))
    found = _with_experts(_once(model, linear, read), stacks, path, read)
    called = tuple(p for p in found if p.name in read and not p.name.endswith(f".{STEP}"))
    if not called:
        raise SecateurError(f"{type(model).__name__}: a forward pass calls none of its linear layers: nothing to prune")
    names = {p.name for p in called}
    readers: dict[tuple[int, object], list[str]] = {}
    for p in called:
        readers.setdefault((p.block, read[p.name]), []).append(p.name)
    if family is None:
        family = family_like(model, path, called)
    return Architecture(
        model_type=model_type,
        blocks=path,
        projections=called,
        n_blocks=len(blocks),
        tied_head=_tied(model),
        readers=tuple(map(tuple, readers.values())),
        block_weights=sum(parameter.numel() for parameter in blocks.parameters()),
        idle=tuple(p.name for p in found if p.name not in names),
        uncalled=sum(p.size for p in found if p.name not in read),
        family=family,
    )


def _read(model: Any, names: Sequence[str], stored: Mapping[str, Any]) -> tuple[dict[str, object], Sequence[Stack]]:
    """What every linear map that is called reads, and how experts lie in the parameters that may hold them."""
    from tools.model.architecture.experts import StackTrace, stacks_by_shape
    from tools.model.architecture.products import plainly

    if model.device.type == "meta":
        return {name: name for name in names}, stacks_by_shape(model, stored)
    if not stored:
        return traced(model, names), ()
    trace = StackTrace(stored)
    with plainly(model):
        return traced(model, names, trace), trace.stacks()


def _with_experts(
    linear: Sequence[Projection], stacks: Sequence[Stack], path: str, read: dict[str, object]
) -> Sequence[Projection]:
    """Linear maps and the experts of stacks, in forward order; what experts read is added to `read`."""
    found = []
    for stack in stacks:
        block, sublayer = int(stack.parameter[len(path) + 1 :].partition(".")[0]), role_of(stack.parameter)[1]
        for expert in range(stack.count):
            for name, role, (out, into), part in stack.slices(expert):
                found.append(Projection(name, role, block, sublayer, out, into, False, part))
                read[name] = (stack.reads, expert)
    found.sort(key=lambda p: (p.expert or 0, _position(p)))
    listed = {p.kin: p for p in reversed(linear) if p.expert is not None and p.name in read}  # of the first that spoke
    for p in linear:  # an expert that no token of the trace reached is read like one that was
        if p.name not in read and p.kin in listed:
            read[p.name] = (read[listed[p.kin].name], p.expert)
    return sorted([*linear, *found], key=lambda p: (p.block, p.sublayer == "mlp", p.part is not None))


def _projections(model: Any, path: str, roles: Mapping[str, tuple[str, Sublayer]]) -> Sequence[Projection]:
    """Every linear map of the blocks at `path`, in forward order; all that are there where no roles are known.

    Raises:
        SecateurError: there is none, or its weights are stored quantised.
    """
    embeddings = {id(e.weight) for e in _embeddings(model)}
    found: list[Projection] = []
    for index, block in enumerate(model.get_submodule(path)):
        maps = {p: block.get_submodule(p) for p in roles if not _gone(block, p)} if roles else dict(linears(block))
        members = []
        for name, module in maps.items():
            if id(module.weight) in embeddings:
                continue
            role, sublayer = roles.get(name) or role_of(name)
            members.append(_projection(f"{path}.{index}.{name}", module, role, index, sublayer))
        found += sorted(members, key=_position)
    if not found:
        raise SecateurError(
            f"{type(model).__name__}: the blocks at {path} hold no linear layers: nothing can be pruned"
        )
    return found


def _once(model: Any, linear: Sequence[Projection], read: Mapping[str, object]) -> Sequence[Projection]:
    """Of maps that share their weights, the first that is called (of Zamba 2's adapters each block calls its own)."""
    first: dict[int, Projection] = {}
    for p in linear:
        key = id(model.get_submodule(p.name).weight)
        if key not in first or (p.name in read and first[key].name not in read):
            first[key] = p
    kept = {p.name for p in first.values()}
    return [p for p in linear if p.name in kept]


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
        return all(_gone(b, p) or is_linear(b.get_submodule(p)) for b in blocks for p in family.paths)
    except AttributeError:
        return False


def _gone(block: Any, path: str) -> bool:
    """Whether the sublayer that held this projection was pruned away."""
    from tools.model.pruned.modeling_pruned import NoAttention, NoMLP

    parent = path.rpartition(".")[0]
    return bool(parent) and isinstance(block.get_submodule(parent), NoAttention | NoMLP)


def _reads_text(model: Any) -> bool:
    """Whether it has one embedding of tokens; MusicGen has one for each of several codes of sound."""
    try:
        return hasattr(model.get_input_embeddings(), "weight")
    except NotImplementedError:
        return False


def _tied(model: Any) -> bool:
    embeddings = _embeddings(model)
    return len(embeddings) == 2 and embeddings[0].weight is embeddings[1].weight


def _embeddings(model: Any) -> list[Any]:
    return [e for e in (model.get_input_embeddings(), model.get_output_embeddings()) if e is not None]


def _position(projection: Projection) -> tuple[bool, int]:
    """Sorts a block's projections: attention before MLP, then by role; unknown roles keep their order, last."""
    place = ORDER.index(projection.role) if projection.role in ORDER else len(ORDER)
    return projection.sublayer == "mlp", place
