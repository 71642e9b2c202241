"""What is remembered of a candidate, and how a run's journal becomes memories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from memory.fingerprint import MODEL_SIZE, model_vector
from runs.events import (
    CandidateMeasured,
    CandidateProposed,
    Event,
    FinalMeasured,
    ReferenceMeasured,
    RunStarted,
    SurveyDone,
)
from tools.io.frozen import Frozen
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement


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
        """One line that a search by words looks through."""
        return f"{self.id} {self.model} {self.recipe} {self.recipe.sparsity:g}"


def from_events(events: Iterable[Event]) -> list[Remembered]:
    """The measured candidates of one run, in the order of their proposal; none before the model was surveyed."""
    journal = list(events)
    started = next((event for event in journal if isinstance(event, RunStarted)), None)
    survey = next((event for event in journal if isinstance(event, SurveyDone)), None)
    if started is None or survey is None:
        return []
    vector = tuple(model_vector(survey.units).tolist())
    best = _most_faithful(journal)
    finals = {event.name: event for event in journal if isinstance(event, FinalMeasured)}
    candidates = [event.candidate for event in journal if isinstance(event, CandidateProposed)]
    return [
        Remembered(
            id=f"{started.run}/{candidate.id}",
            model=started.goal.model,
            fingerprint=survey.fingerprint,
            model_vector=vector,
            recipe=candidate.recipe,
            when=(best.get(candidate.id) or finals[candidate.id]).at,
            **_divergences(journal, best.get(candidate.id)),
            **_perplexities(finals, candidate.id),
        )
        for candidate in candidates
        if candidate.id in best or candidate.id in finals
    ]


def _most_faithful(journal: Sequence[Event]) -> dict[str, CandidateMeasured]:
    """The divergence over the most tokens of each candidate."""
    best: dict[str, CandidateMeasured] = {}
    for event in journal:
        if isinstance(event, CandidateMeasured) and event.measurement.kind == "divergence":
            known = best.get(event.candidate_id)
            if known is None or event.measurement.tokens >= known.measurement.tokens:
                best[event.candidate_id] = event
    return best


def _divergences(journal: Sequence[Event], measured: CandidateMeasured | None) -> dict[str, Any]:
    if measured is None:
        return {"divergence": None, "tokens": 0, "reference": None}
    found = measured.measurement
    return {"divergence": found.value, "tokens": found.tokens, "reference": _best_reference(journal, found)}


def _best_reference(journal: Sequence[Event], measured: Measurement) -> float | None:
    """Smallest value that a reference got under the very protocol of `measured`."""

    def protocol(of: Measurement) -> tuple[Literal["perplexity", "divergence"], int, str]:
        return of.kind, of.tokens, of.protocol.text_sha256

    values = [
        event.measurement.value
        for event in journal
        if isinstance(event, ReferenceMeasured)
        and event.recipe is not None
        and protocol(event.measurement) == protocol(measured)
    ]
    return min(values, default=None)


def _perplexities(finals: Mapping[str, FinalMeasured], name: str) -> dict[str, Any]:
    if name not in finals:
        return {}
    references = [of.measurement.value for other, of in finals.items() if of.recipe is not None and other != name]
    return {
        "perplexity": finals[name].measurement.value,
        "dense_perplexity": next((of.measurement.value for of in finals.values() if of.recipe is None), None),
        "reference_perplexity": min(references, default=None),
    }
