"""What a model is like as it stands: its perplexity, its answers to tasks, its layers. Nothing is changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from agent.session.settings import Settings
from tools.io.errors import SecateurError
from tools.measure.perplexity import perplexity
from tools.measure.tasks import Harness, Price, Subject, TaskPlan, TaskScores, evaluate, price, subject_of
from tools.measure.tasks.evaluate import Progress
from tools.model.architecture import weight
from tools.model.checkpoint import open_reader
from tools.recipe.measurement import Measurement
from tools.statistics.collect import collect
from tools.statistics.layers import LayerRow, LayerStatistics
from tools.text.windows import Windows, windows


def perplexities(models: Sequence[str], text: str, settings: Settings) -> list[Measurement]:
    """Perplexity of models as they are, on the same tokens, one after the other, so that one is held at a time.

    Raises:
        SecateurError: their tokenizers cut the text differently; a perplexity is one of tokens.
    """
    cuts = [_test_windows(name, text, settings) for name in models]
    if len({cut.sha256 for cut in cuts}) > 1:
        raise SecateurError(
            f"{' and '.join(models)} have different tokenizers: perplexities of different tokens do not compare; "
            "evaluate each alone, or compare their --latency"
        )
    return [perplexity(settings.opened(name), cut) for name, cut in zip(models, cuts, strict=True)]


def _test_windows(model: str, text: str, settings: Settings) -> Windows:
    """What is measured on, cut before any weights are read; what is unusual about it is told at once."""
    values = settings.values
    cut = windows(
        text, open_reader(model, settings.cache), part="test", count=values.test_windows, length=values.test_length
    )
    for note in cut.notes:
        print(f"note: {model}: the windows of {cut.text} are {note}", file=sys.stderr)
    return cut


@contextmanager
def _unseen(name: str) -> Iterator[Progress]:
    yield lambda task, done, total: None


def answers(
    models: Sequence[str],
    plan: TaskPlan,
    settings: Settings,
    shown: Callable[[str], AbstractContextManager[Progress]] = _unseen,
) -> list[tuple[str, TaskScores]]:
    """Have the models answer, one after the other; each is opened only if something is left to be answered.

    Args:
        shown: for the name of a model, where its progress goes.
    """
    subjects = _subjects(models, settings)
    with Harness(plan) as harness:
        scores = []
        for name, subject in zip(models, subjects, strict=True):
            with shown(name) as progress:
                scores.append((name, evaluate(harness, subject, cache=settings.cache, progress=progress)))
    return scores


def prices(models: Sequence[str], plan: TaskPlan, settings: Settings) -> list[tuple[str, Price]]:
    """What their answers would cost."""
    subjects = _subjects(models, settings)
    with Harness(plan) as harness:
        return [(name, price(harness, of, cache=settings.cache)) for name, of in zip(models, subjects, strict=True)]


def _subjects(models: Sequence[str], settings: Settings) -> list[Subject]:
    settings.use_threads()
    dtype, device = settings.values.dtype, settings.device
    return [subject_of(name, cache=settings.cache, dtype=dtype, device=device) for name in models]


def layers(model: str, settings: Settings) -> tuple[Windows, str, list[LayerRow]]:
    """Calibration text, the model's fingerprint, and a row of statistics for every prunable linear."""
    values = settings.values
    opened = settings.opened(model)
    text = windows(
        values.calibration, opened, part="calibration", count=values.windows, length=values.length, seed=values.seed
    )
    dense = {p.name: weight(opened.network, p) for p in opened.architecture.projections}
    rows = LayerStatistics(opened, dense, collect(opened, text, cache=settings.cache)).rows()
    return text, opened.fingerprint, rows
