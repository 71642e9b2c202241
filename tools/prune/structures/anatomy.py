"""What a model can lose as a whole: the head groups of an attention, the neurons of an MLP.

Under grouped-query attention a structure is a key-value head with all query heads that read it. Whatever falls reaches
the rest of the model only through the matrix that reads it (`o`, `down`, `fc2`), its consumer: zeros in the columns of
the consumer are the same model as one without the structure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError
from tools.model.architecture import Architecture, Projection
from tools.model.architecture.families import Sublayer

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

CONSUMERS = ("o", "down", "fc2")

Segments = tuple[tuple[int, int], ...]
"""Where a projection's rows of one structure lie: (offset, rows per structure) for each part of a fused matrix."""


@dataclass(frozen=True)
class Layer:
    """The attention or the MLP of a block, as structures that can fall."""

    block: int
    sublayer: Sublayer
    units: int
    """Head groups or neurons; 1 where the layer can only fall as a whole."""
    cost: int
    """Prunable weights of one unit."""
    span: int
    """Input channels of the consumer that one unit writes."""
    consumer: Projection
    producers: Mapping[str, Segments]
    """Name of a projection -> its rows of every unit; none where the layer can only fall as a whole."""
    head: int = 0
    """Channels of a head; 0 for an MLP."""
    statable: tuple[int, ...] = ()
    """Of head groups: the numbers that the family's configuration accepts for a whole model. Llama's refuses a hidden
    size that is no multiple of the number of heads, even where the size of a head is given."""
    group: str = ""
    """Of a family that is learnt from the model: layers of one group have one number of units."""

    @property
    def name(self) -> str:
        """`3.mlp` for example."""
        return f"{self.block}.{self.sublayer}"

    @property
    def members(self) -> tuple[str, ...]:
        """Names of its projections."""
        return *self.producers, self.consumer.name

    @property
    def size(self) -> int:
        """Its prunable weights."""
        return self.units * self.cost

    @property
    def queries(self) -> int:
        """Query heads of one group."""
        return self.span // self.head if self.head else 0

    def channels(self, kept: torch.Tensor) -> torch.Tensor:
        """Indices of the consumer's input channels of the units `kept` (indices, ascending)."""
        return _ranges(kept, ((0, self.span),))

    def rows(self, producer: Projection, kept: torch.Tensor) -> torch.Tensor:
        """Indices of the rows of `producer` that the units `kept` need."""
        segments = self.producers[producer.name]
        if segments:
            return _ranges(kept, segments)
        return torch.arange(producer.out_features if len(kept) else 0, device=kept.device)


def _ranges(kept: torch.Tensor, segments: Segments) -> torch.Tensor:
    if segments == ((0, 1),):  # one row a unit
        return kept
    parts = [
        (offset + kept.unsqueeze(1) * width + torch.arange(width, device=kept.device)).flatten()
        for offset, width in segments
    ]
    return torch.cat(parts)


def layers_of(model: Model) -> tuple[Layer, ...]:
    """Every attention and MLP of a model, in forward order, as `allocation.units` lists them at granularity `layer`.

    Raises:
        SecateurError: the architecture is not known well enough to cut structures out of it.
    """
    architecture = model.architecture
    family = architecture.family
    if family is None:
        name = type(model.network).__name__
        raise SecateurError(f"{name} is not a family whose heads and neurons are known: use --pattern unstructured")
    head = head_size(model.network.config)
    accepted: dict[int, tuple[int, ...]] = {}
    found = []
    for block in range(architecture.n_blocks):
        for sublayer in ("attention", "mlp"):
            members = [p for p in architecture.of_block(block) if p.sublayer == sublayer]
            if members:
                layer = _layer(block, sublayer, members, head if family.heads else 0)
                if sublayer == "mlp" and not family.neurons:
                    layer = as_one(layer)
                if layer.head:
                    if layer.units not in accepted:
                        accepted[layer.units] = _accepted(model.network.config.get_text_config(), layer)
                    layer = replace(layer, statable=accepted[layer.units])
                found.append(layer)
    return tuple(found)


def as_one(layer: Layer) -> Layer:
    """The same layer, which can only fall as a whole."""
    producers: dict[str, Segments] = dict.fromkeys(layer.producers, ())
    whole = replace(layer, units=1, cost=layer.size, span=layer.span * layer.units)
    return replace(whole, producers=producers, head=0, statable=())


def _accepted(text: Any, layer: Layer) -> tuple[int, ...]:
    """The numbers of head groups with which the configuration passes its own check."""
    found = []
    for groups in range(1, layer.units + 1):
        config = copy.deepcopy(text)
        config.per_layer_config = None
        config.head_dim, config.num_key_value_heads = layer.head, groups
        config.num_attention_heads = groups * layer.queries
        try:
            config.validate()
        except Exception:  # a refusal, whatever its class: that is the answer
            continue
        found.append(groups)
    return tuple(found)


def require_biases(model: Model, layers: Sequence[Layer]) -> None:
    """Complain unless every consumer has a bias, or the family's configuration can say that it has one.

    Raises:
        SecateurError: a bias could not be saved.
    """
    family = model.architecture.family
    for layer in layers:
        p = layer.consumer
        held = p.part is None and p.role in CONSUMERS and model.network.get_submodule(p.name).bias is not None
        if not held and (family is None or layer.sublayer not in family.biases):
            what = f"the configuration of {model.architecture.model_type} cannot give {layer.consumer.name} a bias"
            raise SecateurError(f"{what}: compensate by least squares instead")


def head_size(config: Any) -> int:
    """Channels of one attention head; not always hidden size over heads."""
    text = config.get_text_config()
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def _layer(block: int, sublayer: Sublayer, members: Sequence[Projection], head: int) -> Layer:
    by_role = {p.role: p for p in members}
    consumer = next((by_role[role] for role in CONSUMERS if role in by_role), None)
    if consumer is None:
        raise SecateurError(f"block {block}: what reads its {sublayer} is not known, so no structure can be cut out")
    size, width = sum(p.size for p in members), consumer.in_features
    if sublayer == "attention":
        if not head:  # the configuration has no room for fewer heads: all or nothing
            return Layer(block, sublayer, 1, size, width, consumer, dict.fromkeys(_producers(members), ()))
        units, segments = _head_groups(by_role, width, head)
    else:
        units, segments = width, {role: _neuron_rows(role, width) for role in by_role if role not in CONSUMERS}
    producers = {by_role[role].name: rows for role, rows in segments.items()}
    head = head if sublayer == "attention" else 0
    return Layer(block, sublayer, units, size // units, width // units, consumer, producers, head)


def _producers(members: Sequence[Projection]) -> list[str]:
    return [p.name for p in members if p.role not in CONSUMERS]


def _neuron_rows(role: str, width: int) -> Segments:
    return ((0, 1), (width, 1)) if role == "gate_up" else ((0, 1),)


def _head_groups(by_role: Mapping[str, Projection], width: int, head: int) -> tuple[int, dict[str, Segments]]:
    """Number of groups, and the rows of each projection: q k v apart, or one above the other in `qkv`."""
    fused = by_role.get("qkv")
    pairs = (fused.out_features - width) // 2 if fused else by_role["k"].out_features
    groups, rest = divmod(pairs, head)
    if rest or not groups or width % (groups * head):
        raise SecateurError(f"{by_role['o'].name}: {width} channels are no whole number of head groups of size {head}")
    span = width // groups
    if fused:
        return groups, {"qkv": ((0, span), (width, head), (width + pairs, head))}
    return groups, {"q": ((0, span),), "k": ((0, head),), "v": ((0, head),)}


def sized(architecture: Architecture, layers: Sequence[Layer], kept: Sequence[int]) -> dict[str, float]:
    """The share of every projection that falls where `kept[i]` units of layer i stay."""
    shares = {name: 1 - n / of.units for of, n in zip(layers, kept, strict=True) for name in of.members}
    return {p.name: shares[p.name] for p in architecture.projections}
