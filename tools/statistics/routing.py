"""How a mixture's router spreads a text over its experts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError, reason
from tools.model.blocks import output_of, trunk_of
from tools.model.mixtures import Mixture, mixtures_of

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

SAME = 1e-3
"""Relative difference up to which two outputs are one."""
TRIED = 16
"""Tokens on which that is tried."""
ROUNDING = 1e-6
"""Share of a token's output up to which a difference is none."""


def routed(model: Model, batches: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """How the experts are used on a text: one forward pass, of which only sums are kept.

    Returns:
        By the name of every mixture (2, experts) float64: tokens that are routed to an expert, as a share of all
        tokens, and the sum over these of router weight times norm of the expert's output, over their number (REAP's
        saliency, CerebrasResearch/reap; 0 for an expert that no token reaches).
    """
    mixtures = mixtures_of(model)
    found = {of.experts: torch.zeros(2, of.units, dtype=torch.float64, device=model.device) for of in mixtures}
    ways = {of.experts: _Met(model, of, found[of.experts]) for of in mixtures}
    tokens, trunk = 0, trunk_of(model.network, model.architecture.blocks)
    try:
        with torch.inference_mode():
            for ids in batches:
                tokens += ids.numel()
                trunk(ids.to(model.device), use_cache=False)
    finally:
        for way in ways.values():
            way.remove()
    if unmet := [name for name, way in ways.items() if not way.met]:
        raise SecateurError(f"{unmet[0]}: its experts cannot be told apart: use --pattern unstructured")
    return {name: torch.stack([sums[0] / tokens, sums[1] / sums[0].clamp_min(1)]) for name, sums in found.items()}


class _Met:
    """Adds to the sums (2, experts) of one mixture whenever it is called: tokens, and weight times norm of the output.

    Where the module of the experts is handed tokens, choices and weights, it is asked for each expert alone; what they
    say sums up to its output, so that all experts at once are asked no more once a first call has shown it. Where a
    family goes another way, what an expert adds is what the output of the innermost module around the experts that is
    called lacks when that expert's weights are zero.
    """

    def __init__(self, model: Model, of: Mixture, sums: torch.Tensor) -> None:
        self._of, self._sums, self._network = of, sums, model.network
        self._speaker: Any = None
        self._busy = False
        self._sums_up: bool | None = None
        """Whether what experts say one by one is in all what their module puts out; None before it is known."""
        self._module = model.network.get_submodule(of.experts)
        self._forward = self._module.forward
        self._module.forward = self._instead
        self._handles = [self._module.register_forward_hook(self._handed, with_kwargs=True)]
        around = of.around
        while True:
            module = model.network.get_submodule(around)
            self._handles.append(module.register_forward_hook(self._silenced, with_kwargs=True))
            around, _, leaf = around.rpartition(".")
            if leaf.isdigit() or not around:  # the block
                break

    @property
    def met(self) -> bool:
        """Whether anything was added."""
        return self._speaker is not None

    def remove(self) -> None:
        """Take the hooks away."""
        del self._module.forward
        for handle in self._handles:
            handle.remove()

    def _may_speak(self, module: Any) -> bool:
        """Whether nobody is asked yet, or this module is."""
        return not self._busy and self._speaker in (None, module)

    def _speaks(self, module: Any) -> bool:
        """Whether it is this module that is asked: the first that was, which is the innermost."""
        if may := self._may_speak(module):
            self._speaker = module
        return may

    def _handed(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        given = (*args, *kwargs.values())
        if self._is_spread(given, result) and self._speaks(module):
            self._add(result.unflatten(0, (self._of.units, -1)), given[0].unflatten(0, (self._of.units, -1)))

    def _instead(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass of the module of the experts while tokens are counted."""
        call = _Call(self._forward, args, kwargs)
        places = _places(call.given) if self._may_speak(self._module) else None
        if places is None:
            return self._forward(*args, **kwargs)
        if self._sums_up is None:
            self._sums_up = self._adds_up(call, places)
        if self._sums_up and int(call.given[places[1]].max()) < self._of.units:
            self._speaker = self._module
            return self._alone(call, places, self._sums)
        result = self._forward(*args, **kwargs)
        if getattr(result, "shape", ()) == call.given[places[0]].shape and self._speaks(self._module):
            self._alone(call, places, self._sums)
        return result

    def _adds_up(self, call: _Call, places: tuple[int, int, int]) -> bool:
        """Whether what experts say one by one is in all what their module puts out, tried on a few tokens."""
        few = call.of(places, [call.given[place][:TRIED] for place in places])
        try:
            whole, total = few.said(), self._alone(few, places, self._sums.clone())
        except (ValueError, IndexError, RuntimeError):
            return False
        same = getattr(whole, "shape", ()) == total.shape
        return same and bool(torch.allclose(total, whole, rtol=SAME, atol=SAME * float(whole.abs().max())))

    def _alone(self, call: _Call, places: tuple[int, int, int], sums: torch.Tensor) -> torch.Tensor:
        """Ask the module of the experts for each one alone, with a router weight of one; what they say in all."""
        hidden, chosen, weights = (call.given[place] for place in places)  # (tokens, width), (tokens, k), (tokens, k)
        total = torch.zeros_like(hidden)
        for expert in chosen.unique().tolist():
            if expert >= self._of.units:  # no expert with weights (LongCat: it returns what it is given)
                continue
            token, place = torch.where(chosen == expert)
            try:
                said = call.alone(places, hidden[token], expert, 1)
            except (ValueError, IndexError, RuntimeError):  # LongCat knows no choice of one
                said = call.alone(places, hidden[token], expert, 2)
            norm = torch.linalg.vector_norm(said.float(), dim=-1)
            sums[0, expert] += len(token)
            sums[1, expert] += torch.dot(weights[token, place].double(), norm.double())
            total.index_add_(0, token, (said * weights[token, place, None]).to(total.dtype))
        return total

    def _is_spread(self, given: Sequence[Any], result: Any) -> bool:
        """Whether experts are handed all tokens, each times its router weight, one expert after the other (Llama 4)."""
        one = len(given) == 1 and isinstance(given[0], torch.Tensor) and given[0].dim() == 2
        inside = self._of.experts == self._of.around  # the router, too, so what is handed is not weighted yet
        fits = one and isinstance(result, torch.Tensor) and result.shape == given[0].shape
        return fits and not inside and not len(given[0]) % self._of.units

    def _add(self, said: torch.Tensor, handed: torch.Tensor) -> None:
        """Of tensors (experts, tokens, width): what was not routed to an expert is zero."""
        self._sums[0] += handed.any(dim=-1).sum(dim=-1)
        self._sums[1] += torch.linalg.vector_norm(said.double(), dim=-1).sum(dim=-1)

    def _silenced(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if not self._speaks(module):
            return
        self._busy = True
        try:
            whole = output_of(result).flatten(0, -2)
            for expert in range(self._of.units):
                with silent(self._network, self._of, expert):
                    lacks = whole - output_of(module(*args, **kwargs)).flatten(0, -2)
                norm = torch.linalg.vector_norm(lacks.double(), dim=-1)
                there = norm > ROUNDING * torch.linalg.vector_norm(whole.double(), dim=-1)
                self._sums[0, expert] += there.count_nonzero()
                self._sums[1, expert] += norm[there].sum()
        except Exception as error:  # whatever a module trips over when it is called twice
            raise SecateurError(f"{self._of.experts}: its experts cannot be told apart: {reason(error)}") from error
        finally:
            self._busy = False


@dataclass(frozen=True)
class _Call:
    """A call of the module that holds the experts."""

    forward: Any
    """Its own."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def given(self) -> tuple[Any, ...]:
        return (*self.args, *self.kwargs.values())

    def of(self, places: tuple[int, int, int], handed: Sequence[torch.Tensor]) -> _Call:
        """The same with other tokens, choices and weights."""
        given = list(self.given)
        for place, value in zip(places, handed, strict=True):
            given[place] = value
        positional = len(self.args)
        return _Call(self.forward, tuple(given[:positional]), dict(zip(self.kwargs, given[positional:], strict=True)))

    def said(self) -> Any:
        """What the module's own forward says."""
        return self.forward(*self.args, **self.kwargs)

    def alone(self, places: tuple[int, int, int], rows: torch.Tensor, expert: int, slots: int) -> torch.Tensor:
        """What it says to rows that are routed to one expert; other slots weigh nothing."""
        chosen, weights = self.given[places[1]], self.given[places[2]].new_zeros(len(rows), slots)
        weights[:, 0] = 1
        said: torch.Tensor = self.of(places, (rows, chosen.new_full((len(rows), slots), expert), weights)).said()
        return said


def _places(given: Sequence[Any]) -> tuple[int, int, int] | None:
    """Where tokens, the experts chosen for them and their weights stand among what experts are handed."""
    flat = {place: v for place, v in enumerate(given) if isinstance(v, torch.Tensor) and v.dim() == 2}
    chosen = [place for place, v in flat.items() if v.dtype == torch.int64]
    if len(chosen) != 1 or len(flat) != 3:
        return None
    rest = [place for place in flat if place not in chosen]
    weights = [place for place in rest if flat[place].shape == flat[chosen[0]].shape]
    hidden = [place for place in rest if place not in weights and len(flat[place]) == len(flat[chosen[0]])]
    return (hidden[0], chosen[0], weights[0]) if len(hidden) == len(weights) == 1 else None


@contextmanager
def silent(network: Any, of: Mixture, expert: int) -> Iterator[None]:
    """While open, one expert's own weights are zero, so that it says nothing; its router chooses it as before."""
    views = [p.data for path in of.lists for p in network.get_submodule(path)[expert].parameters()]
    for name, axis in of.tensors.items():
        if name not in of.routing:
            held = network.get_parameter(name).data
            each = held.shape[axis] // of.units
            views.append(held.narrow(axis, expert * each, each))
    before = [view.clone() for view in views]
    try:
        for view in views:
            view.zero_()
        yield
    finally:
        for view, values in zip(views, before, strict=True):
            view.copy_(values)
