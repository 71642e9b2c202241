"""The bench: a resident model on which recipes are measured.

Opening it costs one pass over the calibration text; after that a candidate costs scores, masks and one forward pass
over the tokens of its fidelity. A recipe is prepared once, whoever asks. The model is always left as the last candidate
made it; whoever needs dense weights calls `restore`.
"""

from __future__ import annotations

import time
from functools import cached_property

import torch

from tools.expression import METRIC, parse
from tools.io.errors import SecateurError
from tools.measure.divergence import DenseLogits, divergence, remember_dense
from tools.measure.perplexity import perplexity
from tools.model.checkpoint import Model
from tools.model.precision import round_to_delivered
from tools.model.sparsity import overall, sparsities
from tools.prune.metric import needs_of
from tools.prune.prepared import Prepared
from tools.prune.probe import ranks_within
from tools.prune.resident import Resident
from tools.prune.way import Progress, way_of
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement
from tools.text.windows import Windows

TOLERANCE = 1e-3
"""How far the measured sparsity may be from what was prepared: 0.1 % of the prunable weights."""


class Bench(Resident):
    """Measures recipes on one model."""

    @cached_property
    def _prepared(self) -> dict[str, Prepared]:
        return {}

    def prepare(self, recipe: Recipe) -> Prepared:
        """Collect what the recipe needs and decide how much of what falls; remembered.

        Raises:
            SecateurError: the recipe cannot be used on this model.
        """
        name = recipe.id
        if name not in self._prepared:
            self.require(needs_of(recipe))
            self._prepared[name] = way_of(recipe.pattern).prepare(self, recipe)
        return self._prepared[name]

    def probe(self, recipe: Recipe) -> torch.Tensor:
        """Ranks (0 to 1) that the recipe's metric gives to a fixed sample of what may fall, flat.

        Raises:
            SecateurError: the recipe cannot be used, or its metric is not finite or ranks nothing on this model.
        """
        return way_of(recipe.pattern).probe(self, self.prepare(recipe))

    def ranks(self, metric: str) -> dict[str, torch.Tensor]:
        """Ranks (0 to 1) within rows that a metric for weights gives to a few dense matrices, by name; (rows, in).

        Raises:
            SecateurError: the metric is malformed, or its values are not finite or all the same.
        """
        self.require(needs_of(Recipe(sparsity=0.5, metric=metric)))
        return ranks_within(self, parse(metric, METRIC), "row")

    @cached_property
    def logits(self) -> DenseLogits:
        """The dense model's top logits on the search windows, computed when first asked for."""
        assert self.search is not None, "this bench was opened without search windows"
        self.restore()
        return remember_dense(self.model, self.search)

    def divergence(self, recipe: Recipe, tokens: int) -> Measurement:
        """Fitness of a recipe in its search form: KL to the dense model over about `tokens` search tokens."""
        start = time.perf_counter()
        logits = self.logits
        share = self._to_search_form(recipe)
        count = max(1, tokens // logits.windows.ids.shape[1])
        found = divergence(self.model, logits, count, sparsity=share)
        return found.model_copy(update={"seconds": time.perf_counter() - start})

    def search_form(self, recipe: Recipe) -> Model:
        """The model as `divergence` measures it."""
        self._to_search_form(recipe)
        return self.result()

    def finish(self, recipe: Recipe, progress: Progress | None = None) -> None:
        """Prune the dense model by the recipe in its final form; the weights are then rounded to the precision they are
        saved in."""
        ready = self.prepare(recipe)
        self.restore()
        self.touched = True
        self.made = way_of(recipe.pattern).final_form(self, ready, progress)
        round_to_delivered(self.model)
        self.proven(ready)

    def _to_search_form(self, recipe: Recipe) -> float:
        """Have the model hold the search form; returns what is really gone."""
        ready = self.prepare(recipe)
        self.clear()
        self.touched = True
        self.made = way_of(recipe.pattern).search_form(self, ready)
        return self.proven(ready)

    def result(self) -> Model:
        """The model as it stands, to be saved: the resident one, or a smaller one."""
        return self.model if self.made is None else self.made.result()

    def perplexity(self, windows: Windows, form: str) -> Measurement:
        """Perplexity of the model as it stands (dense after `restore`, pruned after `finish`)."""
        return perplexity(self.model, windows, sparsity=self.share(), form=form)

    def share(self) -> float:
        """What is gone of the model as it stands, of all that the pattern can remove."""
        return overall(self.model, self.gone()) if self.made is None else self.made.share()

    def gone(self) -> dict[str, float]:
        """What is gone of the model as it stands: the share of every projection, or of the experts of every block."""
        return sparsities(self.model) if self.made is None else self.made.gone()

    @cached_property
    def _zeros(self) -> float:
        """Share of the dense weights that is zero: quantised weights, or a model that was pruned before."""
        return overall(self.model, {name: 1 - int(w.count_nonzero()) / w.numel() for name, w in self.dense.items()})

    def proven(self, ready: Prepared) -> float:
        """The share of what the pattern can remove that really fell.

        Raises:
            SecateurError: it is not what was prepared within 0.1 % (zeros that were there before may come on top), or
                less than was asked for; "0 % pruned, success" must be impossible.
        """
        share, pattern = self.share(), ready.recipe.pattern
        least = ready.share if pattern.timed else max(ready.share, ready.recipe.sparsity)
        most = ready.share + TOLERANCE + (self._zeros if pattern.zeros else 0.0)
        if not least - TOLERANCE <= share <= most or share == 0.0:
            raise SecateurError(
                f"planned sparsity {ready.share:.4f}, measured {share:.4f}: the weights were not pruned as asked"
            )
        return share
