"""A model in memory on which recipes are tried: its dense weights are put aside, its statistics are at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from tools.io.heap import keep_freed_memory
from tools.model.architecture import Projection, weight
from tools.model.checkpoint import Model
from tools.model.room import bench_parts, require_memory
from tools.prune.losses import losses
from tools.prune.metric import is_silent
from tools.prune.prepared import Made
from tools.prune.structures.anatomy import CONSUMERS, Layer, layers_of
from tools.prune.structures.learnt.plan import Learnt, is_described, learn
from tools.prune.structures.seconds import Seconds
from tools.prune.structures.timed import seconds_of
from tools.recipe import Request
from tools.statistics.collect import Statistics, add, collect
from tools.statistics.layers import LayerStatistics
from tools.text.windows import Windows


@dataclass(frozen=True)
class Snapshot:
    """A pruned model, to be put back later."""

    weights: dict[str, torch.Tensor]
    """(out, in) by projection, on the CPU."""
    biases: dict[str, torch.Tensor | None]
    made: Made | None


class Resident:
    """Weights that can be put back, statistics that are collected when they are first asked for."""

    def __init__(
        self,
        model: Model,
        calibration: Windows,
        search: Windows | None,
        cache: Path | None = None,
        needs: frozenset[str] = frozenset(),
        seconds: Seconds | None = None,
    ) -> None:
        """Take the dense model's statistics.

        Args:
            search: windows on which recipes are compared. needs: the optional statistics that will surely be asked for.
            seconds: measured elsewhere, for their request.

        Raises:
            SecateurError: what it holds does not fit into memory.
        """
        keep_freed_memory()
        longest = max(part.ids.shape[1] for part in (calibration, search) if part is not None)
        parts = bench_parts(model.architecture, model.network, gram="gram" in needs, window=longest)
        require_memory(parts, model.device)
        self.model, self.calibration, self.search, self.cache = model, calibration, search, cache
        self.dense = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
        self.made: Made | None = None
        """What was made of the model as it is now; None while it is dense."""
        self.touched = False
        """Whether weights were written since they were dense, perhaps not to the end."""
        self._biases = self._read_biases()
        self.statistics: Statistics = collect(model, calibration, needs=needs, cache=cache)
        self.layers = LayerStatistics(model, self.dense, self.statistics)
        self.layers.losses = partial(losses, self)
        self._seconds: dict[Request, Seconds] = {} if seconds is None else {seconds.request: seconds}

    @cached_property
    def anatomy(self) -> tuple[Layer, ...]:
        """The structures of the dense model.

        Raises:
            SecateurError: its family is known, and not well enough.
        """
        return layers_of(self.model) if self.learnt is None else self.learnt.layers

    @cached_property
    def learnt(self) -> Learnt | None:
        """What was learnt of the structures of a model that no entry describes; None where one does."""
        if is_described(self.model):
            return None
        self.restore()
        return learn(self.model)

    @property
    def silent(self) -> dict[str, str]:
        """Projections that no metric can rank -> why: of zeros any half is as good as the other."""
        return {
            name: "its weights are all zero" if not w.any() else "its inputs are always zero"
            for name, w in self.dense.items()
            if is_silent(w, self.statistics.inputs[name])
        }

    def restore(self) -> None:
        """Write the dense weights back."""
        if self.touched:
            self.clear()
            self._write(self.dense)
            self.touched = False

    def clear(self) -> None:
        """Restore all but the weights, which the next candidate writes anyhow."""
        if self.made is not None:
            self.made.undo()
            self.made = None
        self._write_biases(self._biases)

    def require(self, needs: frozenset[str]) -> None:
        """Collect the optional statistics that are still missing (from the dense model)."""
        held = {
            "gram": next(iter(self.statistics.inputs.values())).gram is not None,
            "gradient": bool(self.statistics.gradient),
            "regional": bool(self.statistics.regional),
            "routing": bool(self.statistics.routing),
        }
        if missing := frozenset(need for need in needs if not held[need]):
            self.restore()
            if "gram" not in missing:
                add(self.statistics, self.model, self.calibration, missing, self.cache)
                return
            wanted = missing | frozenset(need for need, there in held.items() if there)
            self.statistics = collect(self.model, self.calibration, needs=wanted, cache=self.cache)
            self.layers.statistics = self.statistics

    def seconds(self, request: Request) -> Seconds:
        """What layers take in a request: measured once per machine."""
        if request not in self._seconds:
            self.restore()
            self._seconds[request] = seconds_of(self.model, self.anatomy, request, self.cache)
        return self._seconds[request]

    def snapshot(self) -> Snapshot:
        """The pruned model as it is now."""
        network = self.model.network
        weights = {p.name: weight(network, p).to("cpu", copy=True) for p in self._there()}
        return Snapshot(weights, self._read_biases(), self.made)

    def _there(self) -> list[Projection]:
        """Projections that are where they were: of a model with fewer experts, those that are of none."""
        fewer = self.made is not None and self.made.resizes
        return [p for p in self.model.architecture.projections if not (fewer and p.expert is not None)]

    def load(self, snapshot: Snapshot) -> None:
        """Write a snapshot back."""
        self.clear()
        self.touched = True
        self._write({**self.dense, **snapshot.weights})
        self._write_biases(snapshot.biases)
        self.made = snapshot.made
        if self.made is not None:
            self.made.again()

    def _write(self, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.inference_mode():
            for p in self.model.architecture.projections:
                weight(self.model.network, p).copy_(weights[p.name])

    def _read_biases(self) -> dict[str, torch.Tensor | None]:
        """Biases of the matrices that read heads and neurons: what else than weights a recipe may change."""
        found = {}
        for p in self._there():
            if p.role in CONSUMERS and p.part is None:
                bias = self.model.network.get_submodule(p.name).bias
                found[p.name] = None if bias is None else bias.detach().clone()
        return found

    def _write_biases(self, biases: Mapping[str, torch.Tensor | None]) -> None:
        for name, values in biases.items():
            module = self.model.network.get_submodule(name)
            module.bias = None if values is None else torch.nn.Parameter(values.to(self.model.device).clone(), False)
