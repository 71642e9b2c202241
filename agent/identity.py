"""Whether a run goes on with what it began with: numbers of other weights or texts cannot be compared with its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runs.events import SurveyDone
from runs.goal import Goal
from tools.io.errors import SecateurError
from tools.io.files import sha256
from tools.model.hub import tokenizer_sha256

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.recipe.measurement import Measurement
    from tools.text.sources import Part
    from tools.text.windows import Windows

_DECIDES_NOTHING = {"budget", "workers", "output", "compress", "masks", "max_perplexity", "max_perplexity_rise"}
"""Fields of a goal that change no number that is measured."""


def identity(model: Model, parts: Mapping[Part, Windows]) -> dict[str, Any]:
    """The fields of `SurveyDone` by which model and texts are known again."""
    return {
        "fingerprint": model.fingerprint,
        "configuration": sha256(model.folder / "config.json"),
        "tokenizer": tokenizer_sha256(model.folder),
        "texts": {name: windows.sha256 for name, windows in parts.items()},
        "dtype": model.dtype,
    }


def require_same_goal(began: Goal, goal: Goal, run: str) -> None:
    """Refuse a goal.json that was changed since the run began.

    Raises:
        SecateurError: what decides numbers differs; the line names the fields.
    """
    before, now = began.model_dump(exclude=_DECIDES_NOTHING), goal.model_dump(exclude=_DECIDES_NOTHING)
    if changed := [name for name in before if before[name] != now[name]]:
        raise _refused(run, f"goal.json is not what it began with ({', '.join(changed)})")


def require_same(
    began: SurveyDone | None, measured: Iterable[Measurement], model: Model, parts: Mapping[Part, Windows], run: str
) -> None:
    """Refuse to measure anything where model or texts are not those that the run began with.

    A journal of an older version, or one that lost its survey, holds less of them; what it holds is compared.

    Raises:
        SecateurError: they differ; the line says in what.
    """
    if began is None:
        if any(of.protocol.model != model.fingerprint for of in measured):
            raise _refused(run, f"{model.name} is not what it began with (weights or configuration)")
        return
    now = SurveyDone.model_validate(began.model_dump() | identity(model, parts))
    if changed := changed_in(began, now, model.folder):
        raise _refused(run, f"{model.name} is not what it began with ({', '.join(changed)})")
    if texts := [name for name in parts if began.texts.get(name, now.texts[name]) != now.texts[name]]:
        sources = dict.fromkeys(parts[name].text for name in texts)
        raise _refused(run, f"the text is not what it began with ({', '.join(texts)}: {', '.join(sources)})")


class Identified(Protocol):
    """By what a model is known again."""

    @property
    def fingerprint(self) -> str:
        """Hash of configuration and weights, 16 hexadecimal digits."""
        ...

    @property
    def configuration(self) -> str:
        """SHA-256 of config.json; empty in journals that are older than it."""
        ...

    @property
    def tokenizer(self) -> str:
        """SHA-256 of the tokenizer's files; empty in journals that are older than it."""
        ...

    @property
    def dtype(self) -> str:
        """What it computes in, `float32` for example."""
        ...


def changed_in(began: Identified, now: Identified, folder: Path) -> list[str]:
    """What of the model in `folder` is not as it was, in words."""
    from tools.model.checkpoint import fingerprint

    changed = []
    if began.fingerprint != now.fingerprint:
        configured = began.configuration not in ("", now.configuration)
        if not began.configuration:
            changed.append("weights or configuration")
        elif not configured or fingerprint(folder, began.configuration) != began.fingerprint:
            changed.append("weights")
        changed += ["configuration"] if configured else []
    if began.tokenizer not in ("", now.tokenizer):
        changed.append("tokenizer")
    if began.dtype != now.dtype:
        changed.append(f"precision: {began.dtype} then, {now.dtype} now")
    return changed


def _refused(run: str, what: str) -> SecateurError:
    return SecateurError(
        f"run {run}: {what}, so what it measured before cannot be compared with what it would measure now. "
        "Put that back and resume, or start a new run."
    )
