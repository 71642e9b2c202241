"""The smaller model of a family that is learnt from the model, and what stands for it in the resident one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError
from tools.model.architecture import Projection, describe
from tools.prune.prepared import Made
from tools.prune.structures.anatomy import Layer
from tools.prune.structures.cut import Layout, fallen
from tools.prune.structures.learnt.plan import Learnt, stays
from tools.prune.structures.learnt.proof import logits, norm_between, rows_of_bias
from tools.prune.structures.learnt.statement import built_from, first_names, kind_of, saved
from tools.prune.structures.shrink import build

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

AGREES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Relative error up to which the smaller model is the one with zeros."""


@dataclass
class LearntSmaller(Made):
    """A model with zeros where structures fell, whose blocks that fell hand on what they are given."""

    layout: Layout
    learnt: Learnt
    _handles: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.again()

    def gone(self) -> dict[str, float]:
        """By projection: what lies in structures that fall and is really zero."""
        return fallen(self.model, self.layout)

    def result(self) -> Model:
        """A smaller model, on the CPU.

        Raises:
            SecateurError: it does not say what the model with zeros says.
        """
        config, tensors = _written(self.model, self.layout, self.learnt)
        network = build(kind_of(self.model, config), config, tensors, self.model)
        found = replace(self.model, network=network, architecture=describe(network), device="cpu")
        expected = logits(self.model)
        error = float((logits(found) - expected).norm() / expected.norm())
        if not error <= AGREES[self.model.dtype]:
            raise SecateurError(
                f"{type(network).__name__}: what is left, written down as its configuration can, is another model "
                f"(relative error {error:.2g}): use another pattern"
            )
        return found

    def undo(self) -> None:
        """Have all blocks run again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def again(self) -> None:
        """Have blocks that fell hand on what they are given."""
        blocks = self.model.network.get_submodule(self.model.architecture.blocks)
        stay = stays(self.layout.layers, self.layout.sizes)
        for index, block in enumerate(blocks):
            if index not in stay:
                self._handles.append(block.register_forward_hook(_handed_on, with_kwargs=True))


def _handed_on(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    given = [*args[:1], kwargs.get("hidden_states"), *kwargs.values()]
    hidden = next(value for value in given if isinstance(value, torch.Tensor))
    make = getattr(result, "_make", type(result))  # a tuple with names takes its members one by one (Reformer)
    return make((hidden, *result[1:])) if isinstance(result, tuple | list) else hidden


def _written(model: Model, layout: Layout, learnt: Learnt) -> tuple[Any, dict[str, torch.Tensor]]:
    """The configuration, and the state of the smaller network: renumbered, cut, on the CPU."""
    config = saved(learnt.config(model, layout.sizes))
    shapes = built_from(model, config) or {}
    path = f"{model.architecture.blocks}."
    numbers = {old: new for new, old in enumerate(stays(layout.layers, layout.sizes))}
    cuts, first = _cuts(model, layout), first_names(model.network)
    found = {}
    for name, tensor in model.network.state_dict().items():
        new = name
        if name.startswith(path):
            number, _, rest = name.removeprefix(path).partition(".")
            if int(number) not in numbers:
                continue
            new = f"{path}{numbers[int(number)]}.{rest}"
        own = first.get(name, name)
        less = own in cuts and shapes.get(new) != tensor.shape
        kept = _cut(tensor, own, cuts).view(shapes[new]) if less else tensor
        if less and own.endswith("norm.weight"):  # the mean of squares is over fewer channels, and that much larger
            kept = kept * (tensor.numel() / kept.numel()) ** 0.5
        if kept.shape != shapes.get(new, kept.shape):
            kept = _of_blocks(kept, shapes[new], list(numbers), model.architecture.n_blocks)
        found[new] = kept.detach().cpu()
    return config, found


def _of_blocks(tensor: torch.Tensor, shape: torch.Size, stay: list[int], n_blocks: int) -> torch.Tensor:
    """What blocks that stay have of a tensor that holds as much of every block (the inputs of Gemma 3n's)."""
    axis = next(axis for axis in range(tensor.dim()) if tensor.shape[axis] != shape[axis])
    size = tensor.shape[axis] // n_blocks
    at = torch.tensor([block * size + k for block in stay for k in range(size)], device=tensor.device)
    return tensor.index_select(axis, at)


Cuts = dict[str, list[tuple[Projection | None, Layer, torch.Tensor]]]


def _cuts(model: Model, layout: Layout) -> Cuts:
    """Tensor -> what falls of it; without a projection where it has as many entries for every unit."""
    projections = {p.name: p for p in model.architecture.projections}
    state = model.network.state_dict()
    found: Cuts = {}
    for layer, kept in zip(layout.layers, layout.kept, strict=True):
        if len(kept) in (0, layer.units):
            continue
        for name in layer.members:
            p = projections[name]
            found.setdefault(p.parameter, []).append((p, layer, kept))
            offset = f"{name}.bias" if p.part is None else f"{p.parameter}_bias"
            if name in layer.producers and offset in state:
                found.setdefault(offset, []).append((p, layer, kept))
        if norm := norm_between(model.network, layer):
            found[norm] = [(None, layer, kept)]
        if layer.head:  # what else an attention holds for every head: sinks, scales
            owner = layer.consumer.name.rpartition(".")[0]
            for name, tensor in state.items():
                heads = layer.units * layer.queries
                inside = name.rpartition(".")[0] == owner and name not in found
                if inside and tensor.dim() and heads in tensor.shape:
                    found[name] = [(None, layer, kept)]
    return found


def _cut(tensor: torch.Tensor, name: str, cuts: Cuts) -> torch.Tensor:
    """What stays of a tensor, flat."""
    stay = torch.ones(tensor.shape, dtype=torch.bool, device=tensor.device)
    for p, layer, kept in cuts[name]:
        falls = torch.ones(layer.units, dtype=torch.bool, device=kept.device)
        falls[kept] = False
        lost = falls.nonzero().flatten().to(tensor.device)
        if p is None and not layer.head:
            stay.index_fill_(0, lost, False)
        elif p is None:
            size = layer.queries
            at = (lost.unsqueeze(1) * size + torch.arange(size, device=lost.device)).flatten()
            axis = list(tensor.shape).index(layer.units * layer.queries)
            stay.index_fill_(axis, at, False)
        elif name == p.parameter:
            matrix = (
                p.part.inside(stay, (p.out_features, p.in_features)) if p.part else stay.T if p.transposed else stay
            )
            reads = p.name == layer.consumer.name
            matrix.index_fill_(1 if reads else 0, layer.channels(lost) if reads else layer.rows(p, lost), False)
        elif p.part is None:
            stay.index_fill_(0, layer.rows(p, lost), False)
        else:
            rows = rows_of_bias(p, layer.rows(p, lost), tensor.shape[-1])
            stay[p.part.expert].index_fill_(0, rows, False)
    return tensor[stay]
