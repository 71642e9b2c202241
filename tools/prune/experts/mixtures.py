"""Experts that fall: how many stay, which ones, and a model that holds only those that stay.

The router chooses among what is there, so a model without an expert is not the one with that expert's weights at zero:
a candidate's parameters really are smaller, in the resident model too. The dense ones are only put aside, and come back
bit by bit.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from tools.expression import Node, evaluate
from tools.io.errors import SecateurError
from tools.model.architecture.counted import Counted, compared, groups_of, least_of, state
from tools.model.mixtures import mixtures_of
from tools.prune.experts.proof import require_same
from tools.prune.structures.scores import highest
from tools.prune.structures.sizes import SLACK

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


def staying(units: int, chosen: int, sparsity: float, groups: int = 1) -> int:
    """Experts of every block that stay: at least `sparsity` falls, and less than one expert of each group more.

    Args:
        units: experts of a block. chosen: those that have to stay, so that a token can go through as many as before.
        groups: equal groups that they are in, for the router.

    Raises:
        SecateurError: the router would have too few left to choose from.
    """
    kept = units - math.ceil((sparsity - SLACK) * units / groups) * groups
    if kept < chosen:
        each = f"every token goes through {chosen} of {units} experts"
        if groups > 1:
            each = f"its router takes the best of {groups} equal groups and needs {chosen} of {units} experts"
        raise SecateurError(
            f"{sparsity:.4g} cannot be removed by experts: {each}, so {chosen / units:.4g} of their weights would be "
            "left at the least. Ask for less."
        )
    return kept


def stays(model: Model, units: int, sparsity: float) -> int:
    """The same of a model, whose configuration says what its router needs."""
    config = model.network.config
    return staying(units, least_of(config, units), sparsity, groups_of(config))


def expert_scores(metric: Node, used: torch.Tensor) -> torch.Tensor:
    """(experts,) float64; the lowest fall.

    Args:
        used: (2, experts) of one mixture, see `tools.statistics.routing.routed`.
    """
    return evaluate(metric, {"frequency": used[0], "reap": used[1]})


def choose(metric: Node, routing: Mapping[str, torch.Tensor], count: int, groups: int = 1) -> dict[str, torch.Tensor]:
    """Indices, ascending, of the `count` experts of every mixture that stay, as many in every group."""
    found = {}
    for name, used in routing.items():
        each = expert_scores(metric, used).chunk(groups)
        places = [highest(of, count // groups) + number * len(of) for number, of in enumerate(each)]
        found[name] = torch.cat(places)
    return found


class ResidentExperts:
    """The experts of a resident model: all of them, or those that a candidate keeps."""

    def __init__(self, model: Model) -> None:
        """Put the dense parameters aside; nothing is copied."""
        self.model = model
        self.mixtures = mixtures_of(model)
        self.kept: Mapping[str, torch.Tensor] | None = None
        """Indices of the experts that are there, by mixture; None for all."""
        self._dense = {name: _held(model.network, name) for of in self.mixtures for name in of.tensors}
        self._lists = {path: list(model.network.get_submodule(path)) for of in self.mixtures for path in of.lists}
        self._difference: Counted | None = None

    def keep(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Have the model hold only these experts, its configuration included, so that it can be saved as it is.

        Args:
            kept: indices by mixture, ascending, as many for one as for another.

        Raises:
            SecateurError: the result is not the dense model without the other experts.
        """
        first = self.mixtures[0]
        count = len(kept[first.experts])
        if self._difference is None or self._difference.count != count:
            self._difference = compared(self.model.network, first.units, count, first.fields)
        if self.model.device != "meta" and count not in _PROVEN.setdefault(self.model.network, set()):
            require_same(self.model, self.mixtures, kept, self._difference, lambda: self._small(kept))
            _PROVEN[self.model.network].add(count)
        self._keep(kept, self._difference)

    @contextmanager
    def _small(self, kept: Mapping[str, torch.Tensor]) -> Iterator[None]:
        assert self._difference is not None
        try:
            self._keep(kept, self._difference)
            yield
        finally:
            self.restore()

    def _keep(self, kept: Mapping[str, torch.Tensor], difference: Counted) -> None:
        network = self.model.network
        for of in self.mixtures:
            stay = kept[of.experts]
            for name, axis in of.tensors.items():
                dense = self._dense[name]
                places = difference.indices(name, stay).to(dense.device)
                _hold(network, name, dense.detach().index_select(axis, places))
            for path in of.lists:
                _fill(network.get_submodule(path), [self._lists[path][index] for index in stay.tolist()])
        self._number(difference, 1, difference.count)
        self.kept = dict(kept)

    def restore(self) -> None:
        """Put the dense parameters back."""
        for name, dense in self._dense.items():
            _hold(self.model.network, name, dense)
        for path, modules in self._lists.items():
            _fill(self.model.network.get_submodule(path), modules)
        if self._difference is not None:
            self._number(self._difference, 0, self._difference.units)
        self.kept = None

    def smaller(self) -> Model:
        """The model as it is now, described with the experts that it has."""
        if self.kept is None:
            return self.model
        whole, first = self.model.architecture, self.mixtures[0]
        fell = first.units - len(self.kept[first.experts])
        slices = slices_of(self.model)
        there = {p.name for p in whole.projections if p.expert is None or p.expert < slices[p.kin] - fell}
        return replace(self.model, architecture=whole.only(there))

    def shares(self) -> dict[str, float]:
        """The share of every mixture's weights that is gone, by its name, from the parameters as they are."""
        found = {}
        for of in self.mixtures:
            held = {name: _held(self.model.network, name) for name in of.tensors}
            gone = sum(self._dense[name].numel() - tensor.numel() for name, tensor in held.items())
            dense = sum(of_experts(self._dense[name], axis, of.units) for name, axis in of.tensors.items())
            for path in of.lists:
                each = [sum(p.numel() for p in module.parameters()) for module in self._lists[path]]
                dense += sum(each)
                gone += sum(each) - sum(p.numel() for p in self.model.network.get_submodule(path).parameters())
            found[of.experts] = gone / dense
        return found

    def _number(self, difference: Counted, which: int, count: int) -> None:
        """Write the number of experts, and what modules make of it, wherever transformers keeps it."""
        network = self.model.network
        state(network.config, difference.fields, count)
        for (path, name), values in difference.numbers.items():
            setattr(network.get_submodule(path), name, values[which])


_PROVEN: weakref.WeakKeyDictionary[Any, set[int]] = weakref.WeakKeyDictionary()
"""Networks -> numbers of experts with which they were tried."""


def slices_of(model: Model) -> dict[str, int]:
    """Matrices of experts that are alike -> how many there are: in LongCat's parameters some are of no expert."""
    found: dict[str, int] = {}
    for p in model.architecture.projections:
        if p.expert is not None:
            found[p.kin] = max(found.get(p.kin, 0), p.expert + 1)
    return found


def of_experts(tensor: torch.Tensor, axis: int, units: int) -> int:
    """Weights of a tensor that are those of experts: what lies beyond them along the axis is none."""
    size = tensor.shape[axis]
    return tensor.numel() // size * (size // units * units)


def size_of(model: Model) -> int:
    """Weights of all routers and experts."""
    total = 0
    for of in mixtures_of(model):
        total += sum(of_experts(_held(model.network, name), axis, of.units) for name, axis in of.tensors.items())
        total += sum(p.numel() for path in of.lists for p in model.network.get_submodule(path).parameters())
    return total


def _held(network: Any, name: str) -> torch.Tensor:
    path, _, leaf = name.rpartition(".")
    tensor: torch.Tensor = getattr(network.get_submodule(path), leaf)
    return tensor


def _hold(network: Any, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in a parameter's or a buffer's place."""
    path, _, leaf = name.rpartition(".")
    module = network.get_submodule(path)
    if leaf in module._parameters and not isinstance(tensor, torch.nn.Parameter):
        tensor = torch.nn.Parameter(tensor, requires_grad=False)
    setattr(module, leaf, tensor)


def _fill(modules: Any, entries: Sequence[Any]) -> None:
    """Have a module list hold these modules and no others; it may be of a class of its own, and stays."""
    modules._modules.clear()
    modules._modules.update({str(index): module for index, module in enumerate(entries)})
