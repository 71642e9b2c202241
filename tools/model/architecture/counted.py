"""What the number of experts sizes: found by building the configuration with another number and comparing.

No family is named. The fields that count experts are those whose other value changes what the experts lie in, and what
they size is what differs between the network and one that its own class builds, without weights, from that value:
routers, biases and buffers of routers, slices of parameters, entries of module lists, numbers that modules keep.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tools.io.errors import SecateurError, reason

Place = tuple[str, str]
"""Path of a nested configuration, or of a module, and the name of a field of it."""
GROUPS = ("n_group", "num_expert_group")
"""Fields for the number of equal groups of experts of which a router takes some."""
TAKEN = ("topk_group",)
"""Fields for how many of these it takes."""
CHOSEN = ("per_tok", "per_token", "topk", "top_k", "moe_k")
"""Parts of the names of fields for how many experts a token goes through."""
OTHERWISE = ("index", "group", "centroid", "audio", "loss", "norm", "atoms", "method")
"""Parts of names of fields for something else that are called like it."""


@dataclass(frozen=True)
class Counted:
    """A network of `units` experts in every mixture, and what is different with `count` of them."""

    units: int
    count: int
    fields: tuple[Place, ...]
    """Of the configuration."""
    tensors: Mapping[str, tuple[int, int, int]]
    """Parameter or buffer -> axis along which experts lie, its size now, and with `count` experts."""
    lists: tuple[str, ...]
    """Paths of lists of one module per expert."""
    numbers: Mapping[Place, tuple[int, int]]
    """What modules keep beside tensors: now, and with `count` experts."""

    def indices(self, name: str, kept: torch.Tensor) -> torch.Tensor:
        """Places along the tensor's axis that stay with the experts `kept`."""
        _, size, small = self.tensors[name]
        if size * self.count == small * self.units:
            each = size // self.units
            return (kept[:, None] * each + torch.arange(each, device=kept.device)).flatten()
        return torch.cat([kept, torch.arange(self.units, size, device=kept.device)])  # what is no expert is last


def nested(config: Any, path: str) -> Any:
    """The configuration at `path` inside another."""
    for part in filter(None, path.split(".")):
        config = getattr(config, part)
    return config


def settings(config: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, name and value of every field that the language model may read."""
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict"):
            if not any(word in name for word in ("vision", "audio", "generation", "quantization")):
                yield from settings(value, f"{path}.{name}".lstrip("."))
        elif not name.startswith("_"):
            yield path, name, value


def counting(network: Any, units: int, experts: Sequence[str]) -> Counted | None:
    """The fields that count the experts which lie in the parameters `experts`, and what another number of them changes.

    A field's name decides only when it is tried: first those that speak of experts. They may count fewer than there are
    slices (LongCat: some experts have no weights, and slices that nobody reads).
    """
    held = list(settings(network.config))
    alike = [(path, name) for path, name, value in held if _counts(value, units)]
    named = [place for place in alike if "expert" in place[1]]
    tries = [(units, fields) for fields in (*((place,) for place in named), tuple(named)) if fields]
    tries += [(v, ((p, n),)) for p, n, v in held if "expert" in n and type(v) is int and 2 <= v < units]
    tries += [(units, (place,)) for place in alike if place not in named]
    step = groups_of(network.config)
    for count, fields in tries:
        try:
            found = compared(network, count, count - step if count > step else count + step, fields)
        except SecateurError:
            continue
        if found.lists or (found.tensors and set(experts) <= found.tensors.keys()):
            return found
    return None


def _counts(value: Any, units: int) -> bool:
    whole = value if isinstance(value, list) and value else [value]
    return all(type(v) is int and v == units for v in whole)


def state(config: Any, fields: Sequence[Place], count: int) -> None:
    """Write the number of experts into a configuration."""
    for path, name in fields:
        held = nested(config, path)
        before = getattr(held, name)
        setattr(held, name, [count] * len(before) if isinstance(before, list) else count)


def compared(network: Any, units: int, count: int, fields: Sequence[Place]) -> Counted:
    """What is different in a network that its class builds with `count` experts.

    Raises:
        SecateurError: it cannot be built, or is different in something else.
    """
    built = _built(network, count, fields)
    lists = _lists(network, built, units, count)
    beyond = tuple(f"{path}.{index}." for path in lists for index in range(min(units, count), max(units, count)))
    there, small = (
        {name: t for name, t in _tensors(of).items() if not name.startswith(beyond)} for of in (network, built)
    )
    if odd := sorted(there.keys() ^ small.keys()):
        raise SecateurError(f"{type(network).__name__}: another number of experts makes a difference in {odd[0]}")
    tensors = {}
    for name, tensor in there.items():
        if tensor.shape != small[name].shape:
            sized = _sized(tensor, small[name], units, count)
            if sized is None:
                raise SecateurError(f"{type(network).__name__}: {name} is sized by experts in a way that is not known")
            tensors[name] = sized
    return Counted(units, count, tuple(fields), tensors, lists, _numbers(network, built, beyond))


def _built(network: Any, count: int, fields: Sequence[Place]) -> Any:
    """The network with another number of experts, without weights, as it would be read from a file."""
    config = copy.deepcopy(network.config)
    try:
        state(config, fields, count)
        with torch.device("meta"):
            return type(network)(type(config).from_dict(config.to_dict()))
    except Exception as error:  # whatever a configuration trips over
        what = f"{type(network).__name__}: its configuration does not take {count} experts"
        raise SecateurError(f"{what}: {reason(error)}") from error


def _sized(tensor: torch.Tensor, small: torch.Tensor, units: int, count: int) -> tuple[int, int, int] | None:
    """Axis of two tensors along which experts lie, and their sizes; None where something else is different."""
    if tensor.dim() != small.dim():
        return None
    axes = [axis for axis in range(tensor.dim()) if tensor.shape[axis] != small.shape[axis]]
    size, other = tensor.shape[axes[0]], small.shape[axes[0]]
    fits = size * count == other * units or size - other == units - count
    return (axes[0], size, other) if fits and len(axes) == 1 else None


def _tensors(network: Any) -> dict[str, torch.Tensor]:
    return {**dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers())}


def _lists(network: Any, built: Any, units: int, count: int) -> tuple[str, ...]:
    """Paths of module lists that have an entry per expert."""
    from torch import nn

    there = {path: module for path, module in network.named_modules() if isinstance(module, nn.ModuleList)}
    small = {path: len(module) for path, module in built.named_modules() if isinstance(module, nn.ModuleList)}
    return tuple(path for path, of in there.items() if (len(of), small.get(path)) == (units, count))


def _numbers(network: Any, built: Any, beyond: tuple[str, ...]) -> dict[Place, tuple[int, int]]:
    small, found = dict(built.named_modules()), {}
    for path, module in network.named_modules():
        if f"{path}.".startswith(beyond) or path not in small:
            continue
        for name, value in vars(module).items():
            other = vars(small[path]).get(name)
            if type(value) is int and type(other) is int and value != other:
                found[path, name] = (value, other)
    return found


def groups_of(config: Any) -> int:
    """Equal groups of experts, of which a router takes some; 1 where it takes all."""
    return _largest(config, GROUPS)


def least_of(config: Any, units: int) -> int:
    """Experts that have to stay of a mixture, so that every token can go through as many as before."""
    named = [(n, _most(v)) for _, n, v in settings(config) if any(word in n for word in CHOSEN)]
    chosen = max((v for n, v in named if 1 <= v <= units and not any(word in n for word in OTHERWISE)), default=1)
    groups, taken = groups_of(config), _largest(config, TAKEN)
    # A group is as good as its best two experts (DeepSeek-V3), so two have to be left in each.
    return groups * max(2, -(-chosen // taken)) if groups > 1 else chosen


def _most(value: Any) -> int:
    whole = value if isinstance(value, list) else [value]
    return max((v for v in whole if type(v) is int), default=0)


def _largest(config: Any, names: Sequence[str]) -> int:
    return max((v for _, name, v in settings(config) if name in names and type(v) is int), default=1)
