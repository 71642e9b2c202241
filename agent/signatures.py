"""Screening: a candidate that cannot work, or that would choose the masks of a known one, is never measured.

Two recipes are the same to us if they treat the model alike in everything but the metric's wording: same comparison
group and compensation, sparsities that differ by less than a weight in a thousand, and metrics whose scores rank a
fixed probe of the weights alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.candidate import Candidate
from tools.io.errors import SecateurError
from tools.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from agent.steering.obedience import Obedience
    from tools.prune.bench import Bench

SAME_RANKING = 0.9999
"""Rank correlation from which two metrics count as one."""
SAME_RATES = 1e-3


@dataclass(frozen=True)
class Signature:
    """What a recipe does to the model, as far as two can be told apart before they are measured."""

    treatment: tuple[str, str]
    rates: torch.Tensor
    probe: torch.Tensor

    def same(self, other: Signature) -> bool:
        """Whether both would choose the same."""
        import torch

        if self.treatment != other.treatment or float((self.rates - other.rates).abs().max()) > SAME_RATES:
            return False
        if self.probe.shape != other.probe.shape:  # of one of them the metric decides nothing
            return False
        both = torch.stack([self.probe, other.probe])
        return float(torch.corrcoef(both)[0, 1]) > SAME_RANKING


class Signatures:
    """Those of all recipes that were looked at in a run; each is probed once."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._known: dict[str, Signature | str] = {}

    def of(self, recipe: Recipe) -> Signature | str:
        """The signature, or the line that says why the recipe cannot be used."""
        name = recipe.id
        if name not in self._known:
            self._known[name] = self._taken(recipe)
        return self._known[name]

    def screen(self, known: Iterable[Candidate], obedience: Obedience | None = None) -> Screen:
        """A screen for what has to differ from these, and obey."""
        return Screen(self, known, obedience)

    def _taken(self, recipe: Recipe) -> Signature | str:
        import torch

        try:
            rates = torch.tensor(list(self._bench.prepare(recipe).sparsity.values()))
            probe = self._bench.probe(recipe)
        except SecateurError as error:
            return str(error)
        return Signature((recipe.pattern.option, recipe.compensation.kind), rates, probe)


class Screen:
    """What new candidates must differ from."""

    def __init__(self, signatures: Signatures, known: Iterable[Candidate], obedience: Obedience | None = None) -> None:
        self._signatures, self._obedience = signatures, obedience
        self._known: dict[str, Signature] = {}
        for candidate in known:
            self.admit(candidate.id, candidate.recipe)

    @property
    def obedience(self) -> Obedience | None:
        """What recipes are held to."""
        return self._obedience

    def obey(self, obedience: Obedience) -> None:
        """Hold recipes to other rules from here on."""
        self._obedience = obedience

    def admit(self, name: str, recipe: Recipe) -> None:
        """Take a candidate into account; one that cannot be prepared is not comparable to anything."""
        signature = self._signatures.of(recipe)
        if name not in self._known and isinstance(signature, Signature):
            self._known[name] = signature

    def objection(self, recipe: Recipe, name: str = "") -> str | None:
        """Why a recipe must not be measured: what the person said, what is wrong with it, or whom it repeats."""
        if self._obedience is not None and (broken := self._obedience.objection(recipe)):
            return broken
        signature = self._signatures.of(recipe)
        if isinstance(signature, str):
            return signature
        for known, other in self._known.items():
            if known != name and signature.same(other):
                return f"chooses the same weights as {known}"
        return None

    def likeness(self, name: str) -> dict[str, float]:
        """Rank correlation of a known candidate's metric with the other metrics of its comparison group; those that
        count as one with it say nothing and are left out."""
        import torch

        one = self._known.get(name)
        if one is None:
            return {}
        others = {k: s for k, s in self._known.items() if k != name and s.treatment[0] == one.treatment[0]}
        others = {k: s for k, s in others.items() if s.probe.shape == one.probe.shape}
        found = {k: float(torch.corrcoef(torch.stack([one.probe, s.probe]))[0, 1]) for k, s in others.items()}
        return {k: value for k, value in found.items() if value <= SAME_RANKING}
