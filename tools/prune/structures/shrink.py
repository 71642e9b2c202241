"""The model that is really smaller: weights cut, blocks left out, configuration changed.

Where every block that stays has the same sizes, the result is an ordinary model of its family. Otherwise it is the
family's class with `modeling_pruned.Pruned` mixed in, and the configuration's `per_layer_config` holds what differs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError
from tools.model.architecture import describe
from tools.model.architecture.families import Family
from tools.model.pruned.classes import module_of, plain_class, pruned_class
from tools.prune.structures.anatomy import Layer, head_size
from tools.prune.structures.cut import Layout

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


@dataclass(frozen=True)
class KeptBlock:
    """What stays of one block."""

    index: int
    """In the dense model."""
    attention: int
    """Head groups; 0 where the attention is gone."""
    mlp: int
    """Neurons."""
    queries: int
    """Query heads of a group; 0 where the family's heads cannot be cut."""
    apart: bool = True
    """Whether `mlp` counts neurons; otherwise it is 1 for all of them."""

    @property
    def shape(self) -> tuple[int, int]:
        """Head groups and neurons."""
        return self.attention, self.mlp


def blocks_of(layout: Layout) -> list[KeptBlock]:
    """The blocks of which something stays, in forward order."""
    found: dict[int, KeptBlock] = {}
    for layer, kept in zip(layout.layers, layout.kept, strict=True):
        known = found.get(layer.block, KeptBlock(layer.block, 0, 0, 0))
        change = {layer.sublayer: len(kept)} | ({"queries": layer.queries} if layer.queries else {})
        apart = layer.units > 1 if layer.sublayer == "mlp" else known.apart
        found[layer.block] = replace(known, apart=apart, **change)
    return [block for block in found.values() if any(block.shape)]


def is_uniform(layout: Layout) -> bool:
    """Whether every block that stays has an attention and an MLP, all of one size that the configuration accepts."""
    shapes = {block.shape for block in blocks_of(layout)}
    said = all(
        not layer.statable or len(kept) in (0, *layer.statable)
        for layer, kept in zip(layout.layers, layout.kept, strict=True)
    )
    return said and len(shapes) == 1 and all(next(iter(shapes)))


def shrink(model: Model, layout: Layout) -> Model:
    """A new model with what stays of `model`, which holds the candidate (see `cut`); on the CPU.

    On a CPU it shares the memory of what was not cut.

    Raises:
        SecateurError: the family's configuration cannot say what the result looks like.
    """
    family = model.architecture.known_family
    blocks = blocks_of(layout)
    uniform = is_uniform(layout)
    check_sayable(model, layout.layers, layout.sizes)
    config = _configured(model, blocks, uniform)
    tensors = _tensors(model, layout, blocks)
    _set_biases(model, config.get_text_config(), family, tensors)
    base = plain_class(type(model.network))
    if base is not type(model.network):
        vars(config).pop("auto_map", None)  # the code beside the weights, which the result may not need
    kind = base if uniform else pruned_class(base, family)
    network = build(kind, config, tensors, model)
    return replace(model, network=network, architecture=describe(network), device="cpu")


def _configured(model: Model, blocks: Sequence[KeptBlock], uniform: bool) -> Any:
    config = copy.deepcopy(model.network.config)
    shorten(config.get_text_config(), [block.index for block in blocks], model.architecture.n_blocks)
    _set_sizes(config.get_text_config(), model.architecture.known_family, blocks, uniform)
    return config


def build(kind: type[Any], config: Any, tensors: dict[str, torch.Tensor], model: Model) -> Any:
    """The network of a smaller model, with the given tensors as they are; nothing is initialised at random."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        network = kind(config).eval()
    network.generation_config = copy.deepcopy(model.network.generation_config)
    network.load_state_dict(tensors, strict=True, assign=True)
    network.tie_weights()
    network.requires_grad_(False)
    return network


def check_sayable(model: Model, layers: Sequence[Layer], sizes: Sequence[int]) -> None:
    """Complain unless a configuration of the family can say what these numbers of units come to.

    Raises:
        SecateurError: blocks fall that cannot, or a part of a block that is no module.
    """
    family = model.architecture.known_family
    stay = {layer.block for layer, size in zip(layers, sizes, strict=True) if size}
    if len(stay) < model.architecture.n_blocks and getattr(
        model.network.config, "scale_attn_by_inverse_layer_idx", False
    ):
        raise SecateurError("this model scales attention by the layer's index, so no block can be left out: use width")
    for layer, size in zip(layers, sizes, strict=True):
        if not size and layer.block in stay and not _sublayer(family, layer.sublayer):
            what = f"in this family the {layer.sublayer} is no module of its own, so it cannot be left out alone"
            raise SecateurError(f"{what}: use depth, width or width/free")


def shorten(text: Any, stay: Sequence[int], n_blocks: int) -> None:
    """Have the configuration speak of these blocks alone: its depth, and every list that has one entry per block."""
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == n_blocks and not name.startswith("_"):
            setattr(text, name, [value[index] for index in stay])
    text.num_hidden_layers = len(stay)


def _sizes(block: KeptBlock, family: Family) -> dict[str, int]:
    """A block's sizes as the family's configuration calls them."""
    heads = {"num_attention_heads": block.attention * block.queries, "num_key_value_heads": block.attention}
    return (heads if block.queries and block.attention else {}) | (
        {family.neurons: block.mlp} if block.mlp and block.apart else {}
    )


def _set_sizes(text: Any, family: Family, blocks: Sequence[KeptBlock], uniform: bool) -> None:
    if getattr(text, "per_layer_config", None):
        text.per_layer_config = None  # of a model whose blocks differed before
    if family.heads:
        text.head_dim = head_size(text)  # no longer hidden size over heads
    if uniform:
        for name, value in _sizes(blocks[0], family).items():
            setattr(text, name, value)
        return
    layers = {}
    for index, block in enumerate(blocks):
        skip = [name for name, size in (("attention", block.attention), ("mlp", block.mlp)) if not size]
        layers[index] = _sizes(block, family) | ({"skip": skip} if skip else {})
    text.allow_global_per_layer_attribute_access = True  # or transformers' own checks trip over what differs
    text.per_layer_config = layers


def _tensors(model: Model, layout: Layout, blocks: Sequence[KeptBlock]) -> dict[str, torch.Tensor]:
    """The state of the smaller network: renumbered, cut, on the CPU."""
    found = {}
    for name, tensor, axis, indices in _stays(model, layout, blocks):
        kept = tensor if indices is None else tensor.index_select(axis, indices).contiguous()
        found[name] = kept.detach().cpu()
    return found


def _stays(
    model: Model, layout: Layout, blocks: Sequence[KeptBlock]
) -> Iterator[tuple[str, torch.Tensor, int, torch.Tensor | None]]:
    """New name, tensor, and axis and indices of what stays of it where that is less."""
    architecture = model.architecture
    numbers = {block.index: new for new, block in enumerate(blocks)}
    cuts, gone = _cuts(model, layout)
    for name, tensor in model.network.state_dict().items():
        if not name.startswith(f"{architecture.blocks}."):
            yield name, tensor, 0, None
            continue
        number, _, rest = name.removeprefix(f"{architecture.blocks}.").partition(".")
        if int(number) not in numbers or any(name.startswith(prefix) for prefix in gone):
            continue
        yield f"{architecture.blocks}.{numbers[int(number)]}.{rest}", tensor, *cuts.get(name, (0, None))


def _cuts(model: Model, layout: Layout) -> tuple[dict[str, tuple[int, torch.Tensor]], tuple[str, ...]]:
    """Parameter -> (axis, indices that stay), and the prefixes of the modules that are left out whole."""
    family = model.architecture.known_family
    cuts: dict[str, tuple[int, torch.Tensor]] = {}
    gone = []
    for layer, kept in zip(layout.layers, layout.kept, strict=True):
        if not len(kept):
            gone.append(f"{family.blocks}.{layer.block}.{_sublayer(family, layer.sublayer)}.")
            continue
        if len(kept) == layer.units:
            continue
        consumer = layer.consumer
        cuts[f"{consumer.name}.weight"] = (0 if consumer.transposed else 1, layer.channels(kept))
        for p in model.architecture.of_block(layer.block):
            if p.name in layer.producers:
                rows = layer.rows(p, kept)
                cuts[f"{p.name}.weight"] = (1 if p.transposed else 0, rows)
                cuts[f"{p.name}.bias"] = (0, rows)
    return cuts, tuple(gone)


def _set_biases(model: Model, text: Any, family: Family, tensors: dict[str, torch.Tensor]) -> None:
    """Where the compensation gave consumers biases that the configuration knows nothing of: switch them on.

    The switch gives every projection of the sublayer a bias; those of the producers are zero.
    """
    for sublayer, switch in family.biases.items():
        if getattr(text, switch, False):
            continue
        members = [n for n in tensors if n.endswith(".weight") and f".{_sublayer(family, sublayer)}." in n]
        biases = {f"{name.removesuffix('.weight')}.bias": tensors[name].shape[0] for name in members}
        if any(bool(tensors[name].any()) for name in biases if name in tensors):
            setattr(text, switch, True)
            for name, size in biases.items():
                tensors.setdefault(name, torch.zeros(size, dtype=model.network.dtype))
        else:
            for name in biases:
                tensors.pop(name, None)


def _sublayer(family: Family, sublayer: str) -> str:
    return module_of(family.attention if sublayer == "attention" else family.mlp)
