"""From a run's history to its reproduction file."""

from __future__ import annotations

from collections.abc import Mapping

from runs.events import SurveyDone, Timed
from runs.fold.history import History
from runs.fold.summary import summary
from runs.reproduction import Asked, Machine, Measured, Reproduction, Subject, Text, Times
from tools.measure.tasks.scores import TaskScores

DECIDING = ("python", "numpy", "torch", "transformers", "lm_eval")
"""Of the versions that a journal holds, those that can move a number."""


def reproduction(history: History) -> Reproduction | None:
    """All that is needed to measure a run's final table again.

    None while there is no table, and of a run of before its journal told by what model and texts are known again.

    Raises:
        SecateurError: the run has not even started.
    """
    found = summary(history)
    survey, protocol = found.survey, found.protocol
    if survey is None or protocol is None or not {"calibration", "test"} <= survey.texts.keys():
        return None
    finals, answered = history.finals, dict(found.answered)
    tasks = _asked(answered) if answered.keys() == {row.name for row in found.table} else None
    rows = tuple(
        Measured(
            name=row.name,
            role=row.role,
            recipe=finals[row.name].recipe,
            perplexity=row.perplexity,
            sparsity=row.sparsity,
            tokens=finals[row.name].measurement.tokens,
            scores={} if tasks is None else {name: of.value for name, of in answered[row.name].tasks.items()},
        )
        for row in found.table
    )
    if not rows:
        return None
    began, goal = history.engine_of(rows[-1].name), found.goal
    sizes = goal.evaluation.test.model_dump()
    return Reproduction(
        run=found.run,
        program=began.versions.get("secateur", ""),
        libraries={name: began.versions[name] for name in DECIDING if name in began.versions},
        machine=Machine(device=protocol.device, hardware=began.hardware, threads=began.threads),
        model=Subject(name=goal.model, dtype=protocol.dtype, **_known_by(survey)),
        calibration=Text(**goal.calibration.model_dump(), sha256=survey.texts["calibration"]),
        test=Text(source=goal.test_text, **sizes, sha256=survey.texts["test"]),
        seed=goal.seed,
        times=_times(history.timed),
        tasks=tasks,
        rows=rows,
    )


def _asked(answered: Mapping[str, TaskScores]) -> Asked | None:
    scores = next(iter(answered.values()), None)
    if scores is None:
        return None
    versions = {name: of.version for name, of in scores.tasks.items()}
    return Asked(plan=scores.protocol.plan, batch_tokens=scores.protocol.batch_tokens, versions=versions)


def _known_by(survey: SurveyDone) -> dict[str, str]:
    return survey.model_dump(include={"fingerprint", "configuration", "tokenizer"})


def _times(timed: Timed | None) -> Times | None:
    return None if timed is None else Times.model_validate(timed.model_dump(include={*Times.model_fields}))
