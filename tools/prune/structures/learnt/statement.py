"""What a configuration has to say so that the smaller model is built from it: found by building, without values.

A field of the configuration gives a number of heads or neurons where the network that is built with another value has
matrices of the shapes that are wanted, and no other tensor of another shape.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tools.model.architecture.likeness import NEURONS
from tools.model.pruned.classes import narrow_class
from tools.model.pruned.marks import SHAPES
from tools.prune.structures.anatomy import Layer

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

Shapes = Mapping[str, torch.Size]
Place = tuple[str, str]
"""Name of a configuration inside the text's (empty: that one itself), and of its field."""

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "attention_heads")
GROUPS = ("num_key_value_heads", "num_kv_heads", "kv_n_heads", "n_head_kv", "num_query_groups")
"""What configurations call the numbers of query heads and of key-value heads."""

FACTORS = (1, 2, 0.5, 3, 4, 6, 8)
"""Neurons for each one that a field says: some fields count the halves of a gated MLP together (Moshi)."""


@dataclass(frozen=True)
class Knob:
    """Fields that give the number of units of some groups of layers."""

    fields: tuple[Place, ...]
    """None where no field does, and the shapes of matrices are written down (`tools.model.pruned.modeling_narrow`)."""
    units: Mapping[str, int]
    """Group -> its units in the dense model; all keep the same share of them."""
    base: int
    """Units of its smallest group."""

    def of(self, group: str, kept: int) -> int:
        """Units of a group where `kept` of the smallest one's stay; 0 where that is no whole number."""
        found, rest = divmod(self.units[group] * kept, self.base)
        return 0 if rest else found


def built_from(model: Model, config: Any) -> Shapes | None:
    """Shapes of the network that such a configuration makes once it was saved; None where it makes none."""
    from transformers.initialization import no_init_weights

    try:
        with torch.device("meta"), no_init_weights():
            network = kind_of(model, config)(saved(config))
    except Exception:  # whatever a configuration trips over: that is the answer
        return None
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def kind_of(model: Model, config: Any) -> type[Any]:
    """The class that a network of such a configuration is of."""
    kind = type(model.network)
    return narrow_class(kind) if getattr(config.get_text_config(), SHAPES, None) else kind


def saved(config: Any) -> Any:
    """The configuration as it is read from what it is saved as."""
    return type(config).from_dict(config.to_dict())


def knobs_of(model: Model, layers: Sequence[Layer]) -> list[Knob]:
    """The fields that give numbers of heads and neurons, each group by one knob at the most."""
    found: list[Knob] = []
    done: set[str] = set()
    tried = [(of, fields) for of in _one_each(layers) for fields in _candidates(model, of)]
    for layer, fields in tried:
        if layer.group in done:
            continue
        moved = _moved(model, layers, layer, fields)
        if layer.group in moved and not done & set(moved):
            units = {of.group: of.units for of in layers if of.group in moved}
            found.append(Knob(fields, units, min(units.values())))
            done |= set(moved)
    return found


def knobs_of_shapes(layers: Sequence[Layer], known: Collection[str]) -> list[Knob]:
    """One for every group of neurons that none of the `known` groups is and whose matrices are modules."""
    held = [of for of in _one_each(layers) if not of.head and of.consumer.expert is None and of.group not in known]
    return [Knob((), {of.group: of.units}, of.units) for of in held]


def state_shapes(model: Model, config: Any, layers: Sequence[Layer], sizes: Sequence[int]) -> None:
    """Write down the shapes of matrices of which so many units stay, by their path inside a block."""
    text, projections = config.get_text_config(), {p.name: p for p in model.architecture.projections}
    found = dict(getattr(text, SHAPES, None) or {})
    for layer, size in zip(layers, sizes, strict=True):
        for p in (projections[name] for name in layer.members if 0 < size < layer.units):
            rows, columns = p.out_features, p.in_features
            path = p.name.removeprefix(f"{model.architecture.blocks}.{p.block}.")
            reads = p.name == layer.consumer.name
            found[path] = [rows, layer.span * size] if reads else [rows * size // layer.units, columns]
    if found:
        setattr(text, SHAPES, found)


def _one_each(layers: Sequence[Layer]) -> list[Layer]:
    return list({of.group: of for of in layers if of.units > 1}.values())


def _candidates(model: Model, layer: Layer) -> Iterator[tuple[Place, ...]]:
    """Fields that may give a layer's number of units, the likeliest first."""
    held = list(_fields(model.network.config))
    if layer.sublayer == "attention":
        queries = layer.units * layer.queries
        ways = [(place, value) for place, value in held if value in (queries, [queries] * model.architecture.n_blocks)]
        heads = tuple(place for place, _ in ways if place[1] in HEADS)
        pairs = tuple(place for place, value in held if place[1] in GROUPS and value == layer.units)
        yield tuple(dict.fromkeys(heads + pairs))
        yield heads
        return
    for factor in FACTORS:
        for place, value in held:
            same = value[0] if isinstance(value, list) and value and len(set(map(str, value))) == 1 else value
            if type(same) is int and same * factor == layer.units:
                yield (place,)
    yield from ((place,) for place, value in held if value is None and place[1] in NEURONS)


def _fields(config: Any) -> Iterator[tuple[Place, Any]]:
    text = config.get_text_config()
    for name, value in vars(text).items():
        if hasattr(value, "to_dict"):
            yield from (((name, inner), one) for inner, one in vars(value).items() if not inner.startswith("_"))
        elif not name.startswith("_"):
            yield ("", name), value


def _moved(model: Model, layers: Sequence[Layer], layer: Layer, fields: tuple[Place, ...]) -> dict[str, int]:
    """Group -> units with half the value in these fields; empty where anything else changes with them."""
    half = layer.units // 2
    config = copy.deepcopy(model.network.config)
    if not fields or not half or not turn(config, fields, half, layer.units, layer.head):
        return {}
    built = built_from(model, config)
    if built is None:
        return {}
    sizes = [_units(model, of, built) for of in layers]
    by_group: dict[str, set[int]] = {}
    for of, size in zip(layers, sizes, strict=True):
        by_group.setdefault(of.group, set()).add(size)
    halved = by_group[layer.group] == {half}  # not where the field only rounds (xLSTM)
    if not halved or any(len(of) > 1 for of in by_group.values()) or odd(model, layers, sizes, built):
        return {}
    dense = {of.group: of.units for of in layers}
    return {group: found.copy().pop() for group, found in by_group.items() if found != {dense[group]}}


def _units(model: Model, layer: Layer, built: Shapes) -> int:
    name = layer.consumer.parameter
    if layer.units == 1 or name not in built:
        return layer.units
    now = model.network.get_parameter(name).numel()
    return int(layer.units * built[name].numel() // now)


def turn(config: Any, fields: Sequence[Place], kept: int, units: int, head: int) -> bool:
    """Set fields to the same share of what they say; whether that is a whole number."""
    text = config.get_text_config()
    if head and not getattr(text, "is_heterogeneous", False):
        with suppress(AttributeError):  # what cannot be set is no field
            text.head_dim = head  # no longer hidden size over heads; read by many that do not state it themselves
    for inner, name in fields:
        owner = getattr(text, inner) if inner else text
        value = vars(owner)[name]
        now = value[0] if isinstance(value, list) else value
        new, rest = divmod((units if now is None else now) * kept, units)
        if rest or not new:
            return False
        setattr(owner, name, [new] * len(value) if isinstance(value, list) else new)
    return True


def odd(
    model: Model, layers: Sequence[Layer], sizes: Sequence[int], built: Shapes, stay: Sequence[int] | None = None
) -> str:
    """The first tensor whose size is not what is wanted of it; empty where there is none."""
    path, blocks = f"{model.architecture.blocks}.", list(range(model.architecture.n_blocks) if stay is None else stay)
    wanted = dict(_wanted(model, layers, sizes))
    numbers = {old: new for new, old in enumerate(blocks)}
    left = dict(built)
    for name, choices in wanted.items():
        if name.startswith(path):
            number, _, rest = name.removeprefix(path).partition(".")
            if int(number) not in numbers:
                continue
            new = f"{path}{numbers[int(number)]}.{rest}"
        else:
            new, count = name, max(choices)
            if len(blocks) < model.architecture.n_blocks and not count % model.architecture.n_blocks:
                choices.add(count * len(blocks) // model.architecture.n_blocks)  # inputs of every block in one tensor
        if new not in left or left.pop(new).numel() not in choices:
            return new
    return next(iter(left), "")


def _wanted(model: Model, layers: Sequence[Layer], sizes: Sequence[int]) -> Iterator[tuple[str, set[int]]]:
    """How many elements of every tensor may stay."""
    fewer: dict[str, int] = {}
    around: dict[str, tuple[int, int]] = {}
    projections = {p.name: p for p in model.architecture.projections}
    for layer, size in zip(layers, sizes, strict=True):
        if size in (0, layer.units):
            continue
        for name in layer.members:
            p = projections[name]
            falls = p.size * (layer.units - size)
            fewer[p.parameter] = fewer.get(p.parameter, 0) + falls // layer.units
            for held in (name, p.parameter):
                around[held.rpartition(".")[0]] = (size, layer.units)
    first = first_names(model.network)
    for name, tensor in model.network.state_dict().items():
        count, own = tensor.numel(), first.get(name, name)
        choices = {count - fewer.get(own, 0)}
        if own not in fewer:  # biases, sinks
            for place in _parents(name):
                if place in around and not count * around[place][0] % around[place][1]:
                    choices.add(count * around[place][0] // around[place][1])
        yield name, choices


def first_names(network: Any) -> dict[str, str]:
    """Name of every parameter -> the first name of the same one, for blocks that share a layer (Zamba)."""
    seen: dict[int, str] = {}
    return {name: seen.setdefault(id(p), name) for name, p in network.named_parameters(remove_duplicate=False)}


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name
