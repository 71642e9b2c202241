"""Mixtures of experts: where a model has them, how many experts each holds, and what lies along their number."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError
from tools.model.architecture.counted import Counted, Place, counting, nested

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


@dataclass(frozen=True)
class Mixture:
    """The experts of one block, and the router that chooses among them for every token."""

    router: str
    """Path of the module."""
    experts: str
    """Path of the module; also what the mixture is called."""
    units: int
    """Number of experts."""
    tensors: Mapping[str, int]
    """Parameters and buffers that lie along the experts -> the axis along which they do."""
    routing: tuple[str, ...]
    """Those that choose."""
    lists: tuple[str, ...]
    """Paths of module lists with an entry per expert."""
    fields: tuple[Place, ...]
    """The configuration's fields for that number."""

    @property
    def around(self) -> str:
        """Path of the module that holds router and experts."""
        return _common([self.router, self.experts])


_FOUND: weakref.WeakKeyDictionary[Any, tuple[Mixture, ...]] = weakref.WeakKeyDictionary()


def mixtures_of(model: Model) -> tuple[Mixture, ...]:
    """Every mixture of a model as it is now, in forward order.

    Raises:
        SecateurError: the model has no experts, or none whose number its configuration can state.
    """
    if model.network not in _FOUND:
        _FOUND[model.network] = _found(model)
    found = _FOUND[model.network]
    path, name = found[0].fields[0]
    now = getattr(nested(model.network.config, path), name)  # a candidate may hold fewer
    return tuple(replace(of, units=now[0] if isinstance(now, list) else now) for of in found)


def _found(model: Model) -> tuple[Mixture, ...]:
    name, units = type(model.network).__name__, _units(model)
    if not units:
        raise SecateurError(f"{name} has no experts that are known here: use --pattern unstructured")
    if len(set(units.values())) > 1:
        raise SecateurError(f"{name}: its blocks hold different numbers of experts: use --pattern unstructured")
    count = next(iter(units.values()))
    stacked = sorted({p.part.parameter for p in model.architecture.projections if p.part is not None})
    difference = counting(model.network, count, stacked)
    if difference is None:
        raise SecateurError(f"{name}: no field of its configuration counts its experts: use --pattern unstructured")
    return tuple(of for block in sorted(units) for of in _of_block(model, difference, block, stacked))


def _units(model: Model) -> dict[int, int]:
    """By block that has any, the number of experts."""
    found: dict[int, int] = {}
    for p in model.architecture.projections:
        if p.expert is not None:
            found[p.block] = max(found.get(p.block, 0), p.expert + 1)
    return found


def _of_block(model: Model, difference: Counted, block: int, stacked: Sequence[str]) -> list[Mixture]:
    """Its mixtures: what lies in one child of the block, where each child has experts and a router."""
    prefix = f"{model.architecture.blocks}.{block}."
    owners = {name.rpartition(".")[0] for name in stacked}
    lists = [path for path in difference.lists if path.startswith(prefix)]
    names = [name for name in difference.tensors if name.startswith(prefix)]
    holding = {name for name in names if _holds(name, names, owners, stacked)}
    children: dict[str, list[str]] = {}
    for name in [*names, *lists]:
        children.setdefault(name[len(prefix) :].partition(".")[0], []).append(name)
    parts = list(children.values())
    if not all(_whole(part, holding, lists) for part in parts):
        parts = [[*names, *lists]]
    if not all(_whole(part, holding, lists) for part in parts):
        raise SecateurError(f"{type(model.network).__name__}: block {block} has experts and no router that is known")
    found = [_mixture(part, holding, lists, difference) for part in parts]
    for of in found:
        _require_choice(model.network, of)
    return found


def _require_choice(network: Any, of: Mixture) -> None:
    """Refuse a router that knows its experts by number: DeepSeek-V4 looks some up by the token."""
    tables = [name for name, b in network.get_submodule(of.router).named_buffers() if not b.is_floating_point()]
    if any(network.get_submodule(of.router).get_buffer(name).dim() > 1 for name in tables):
        what = f"{of.router} looks its experts up in a table instead of choosing them"
        raise SecateurError(f"{what}, so none can fall: use --pattern unstructured")


def _holds(name: str, names: Sequence[str], owners: set[str], stacked: Sequence[str]) -> bool:
    """Whether a tensor is of the experts themselves: their matrices, and biases that are called like them."""
    owner, _, leaf = name.rpartition(".")
    return name in stacked or (owner in owners and (leaf.endswith("bias") and leaf != "bias"))


def _whole(part: Iterable[str], holding: set[str], lists: Sequence[str]) -> bool:
    kinds = {name in holding or name in lists for name in part}
    return kinds == {True, False}


def _mixture(part: Sequence[str], holding: set[str], lists: Sequence[str], difference: Counted) -> Mixture:
    routing = tuple(name for name in part if name not in holding and name not in lists)
    own = [name for name in part if name in lists]
    experts = _common([*own, *(name.rpartition(".")[0] for name in part if name in holding)])
    maps = [name for name in routing if name.endswith("weight")] or list(routing)
    tensors = {name: difference.tensors[name][0] for name in part if name not in lists}
    router = maps[0].rpartition(".")[0]
    return Mixture(router, experts, difference.units, tensors, routing, tuple(own), difference.fields)


def _common(paths: Sequence[str]) -> str:
    """The path of the module that holds all of these."""
    first, *others = [path.split(".") for path in paths]
    length = next((i for i, part in enumerate(first) if any(o[i : i + 1] != [part] for o in others)), len(first))
    return ".".join(first[:length])
