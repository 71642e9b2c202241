"""What is remembered of a candidate, and how a run's history becomes memories."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from memory.fingerprint import MODEL_SIZE, model_vector
from runs.events import FinalMeasured
from runs.fold.history import History
from tools.io.frozen import Frozen
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement
from tools.recipe.methods import names_of


class Remembered(Frozen):
    """A measured candidate of a past run, with the numbers it has to be compared with."""

    id: str
    """`run/candidate`."""
    model: str
    fingerprint: str
    model_vector: Annotated[tuple[float, ...], Field(min_length=MODEL_SIZE, max_length=MODEL_SIZE)]
    recipe: Recipe
    divergence: float | None
    """Mean KL to the dense model, nats per token, at the highest fidelity that was measured; None for a winner that
    was only measured in its final form."""
    tokens: int
    reference: float | None
    """Divergence of the best reference under the same protocol, where one was measured."""
    perplexity: float | None = None
    """On the held-out text; only the winner of a run has it."""
    dense_perplexity: float | None = None
    reference_perplexity: float | None = None
    """Of the best reference on the held-out text."""
    when: datetime

    @property
    def relative(self) -> float | None:
        """Divergence over the best reference's, else perplexity over theirs: below 1 it won.

        Comparable between models, texts and sparsities.
        """
        if self.divergence is not None:
            return self.divergence / self.reference if self.reference else None
        if self.perplexity is not None and self.reference_perplexity:
            return self.perplexity / self.reference_perplexity
        return None

    @property
    def summary(self) -> str:
        """One line that a search by words looks through; a published method is called by its name, too."""
        return f"{self.id} {self.model} {self.recipe} {self.recipe.sparsity:g} {' '.join(names_of(self.recipe))}"


def of_run(history: History) -> list[Remembered]:
    """The measured candidates of one run, in the order of their proposal; none before the model was surveyed."""
    goal, survey, finals = history.goal, history.survey, history.finals
    if goal is None or survey is None:
        return []
    vector = tuple(model_vector(survey.units).tolist())
    return [
        Remembered(
            id=f"{history.run}/{candidate.id}",
            model=goal.model,
            fingerprint=survey.fingerprint,
            model_vector=vector,
            recipe=candidate.recipe,
            when=history.measured_at.get(candidate.id) or finals[candidate.id].at,
            **_divergences(history, candidate.id),
            **_perplexities(finals, candidate.id),
        )
        for candidate in history.candidates.values()
        if candidate.id in history.divergences or candidate.id in finals
    ]


def _divergences(history: History, name: str) -> dict[str, Any]:
    """That over the most tokens, and the best reference's under the same protocol."""
    if name not in history.divergences:
        return {"divergence": None, "tokens": 0, "reference": None}
    of = history.divergences[name]
    measured = of[max(of)]
    return {"divergence": measured.value, "tokens": measured.tokens, "reference": _best_reference(history, measured)}


def _best_reference(history: History, measured: Measurement) -> float | None:
    """Smallest value that a reference got under the very protocol of `measured`."""

    def protocol(of: Measurement) -> tuple[str, int, str]:
        return of.kind, of.tokens, of.protocol.text_sha256

    others = (of.measurement for of in history.methods)
    return min((other.value for other in others if protocol(other) == protocol(measured)), default=None)


def _perplexities(finals: Mapping[str, FinalMeasured], name: str) -> dict[str, Any]:
    if name not in finals:
        return {}
    references = [of.measurement.value for other, of in finals.items() if of.recipe is not None and other != name]
    return {
        "perplexity": finals[name].measurement.value,
        "dense_perplexity": next((of.measurement.value for of in finals.values() if of.recipe is None), None),
        "reference_perplexity": min(references, default=None),
    }
