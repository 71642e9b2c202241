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
from tools.recipe import Experts, Recipe, Structured

if TYPE_CHECKING:
    import torch

    from tools.prune.bench import Workbench

SAME_RANKING = 0.9999
"""Rank correlation from which two metrics count as one."""
SAME_RATES = 1e-3


@dataclass(frozen=True)
class _Signature:
    treatment: tuple[str, str]
    rates: torch.Tensor
    probe: torch.Tensor

    def same(self, other: _Signature) -> bool:
        import torch

        if self.treatment != other.treatment or float((self.rates - other.rates).abs().max()) > SAME_RATES:
            return False
        both = torch.stack([self.probe, other.probe])
        return float(torch.corrcoef(both)[0, 1]) > SAME_RANKING


class Screen:
    """Remembers the signatures of all candidates of a run."""

    def __init__(self, bench: Workbench, known: Iterable[Candidate]) -> None:
        """`known`: the candidates that new ones must differ from."""
        self._bench = bench
        self._known: dict[str, _Signature] = {}
        for candidate in known:
            self.admit(candidate.id, candidate.recipe)

    def admit(self, name: str, recipe: Recipe) -> None:
        """Take a candidate into account; one that cannot be planned is not comparable to anything."""
        if name not in self._known and (signature := self._try(recipe)[0]) is not None:
            self._known[name] = signature

    def objection(self, recipe: Recipe, name: str = "") -> str | None:
        """Why a recipe must not be measured: what is wrong with it, or which other candidate it repeats."""
        signature, problem = self._try(recipe)
        if signature is None:
            return problem
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
        found = {k: float(torch.corrcoef(torch.stack([one.probe, s.probe]))[0, 1]) for k, s in others.items()}
        return {k: value for k, value in found.items() if value <= SAME_RANKING}

    def _try(self, recipe: Recipe) -> tuple[_Signature | None, str]:
        import torch

        try:
            ready = self._bench.ready(recipe)
            if isinstance(recipe.pattern, Structured | Experts):
                probe = self._bench.probe_structures(recipe)
            else:
                probe = self._bench.probe(recipe.metric, getattr(recipe.pattern, "group", "row"))
        except SecateurError as error:
            return None, str(error)
        rates = torch.tensor(list(ready.sparsity.values()))
        return _Signature((str(recipe.pattern), recipe.compensation.kind), rates, probe), ""
