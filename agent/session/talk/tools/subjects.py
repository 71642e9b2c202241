"""Which models a request means, and what measuring them costs: from what was measured on this machine before."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.session.talk.known.past import readable
from agent.session.talk.session import Session
from agent.session.talk.tools.tool import NoResult
from runs.fold.history import History
from runs.run import Run
from tools.io.errors import UsageError
from tools.measure.tasks.words import minutes

DENSE = frozenset({"dense", "original", "base", "unpruned"})
RESULT = frozenset({"result", "winner", "pruned", "it", "this"})
LIGHT = 1e11
"""Weights times tokens that any machine has read in less than ten seconds."""
SHORT = 10.0
"""Seconds that nobody is asked about."""

Pace = Callable[[History, str], float | None]
"""Seconds for each token, as a history tells of a line of its final table."""


def subjects(session: Session, named: Sequence[str]) -> list[str]:
    """The models that were named, `dense` and `result` of the run among them; with none the result of the run beside
    the model that it came from, without a run the model that is talked about.

    Raises:
        SecateurError: there is none, or what was named is no model.
    """
    if named:
        return [_meant(session, name) for name in named]
    run = session.run
    if run is not None and run.model_folder.exists():
        return [str(run.model_folder), run.goal.model]
    if run is None and session.model:
        return [session.model]
    raise NoResult("There is no pruned model yet, and none was named: say which model is meant")


def subject(session: Session, named: str) -> str:
    """The one model that is meant: as named, else that of the run or the one that is talked about.

    Raises:
        UsageError: there is none.
    """
    if found := _meant(session, named) if named else session.home_model:
        return found
    raise UsageError("Which model? A folder, a GGUF file, a hub id, or a sample: smollm2-135m, tiny.")


def _meant(session: Session, name: str) -> str:
    if re.fullmatch(r"c-\d+", name):
        name = _saved(session, name)
    low = name.lower()
    if low in DENSE or low in RESULT:
        run = session.present()
        if low in DENSE:
            return run.goal.model
        if not run.model_folder.exists():
            raise NoResult(f"Run {run.id} has no pruned model yet.")
        return str(run.model_folder)
    return name


def _saved(session: Session, candidate: str) -> str:
    """`result`, where the model of that candidate was saved.

    Raises:
        UsageError: it is another one's.
    """
    winner = session.history().winner
    if candidate == winner:
        return "result"
    saved = f"that of the result is there, {winner}" if winner else "none of this run is there yet"
    raise UsageError(
        f"{candidate} is a recipe of the run, of which no model was saved; {saved}. "
        f'"explain {candidate}" tells what was measured of it.'
    )


def called(session: Session, model: str) -> str:
    """How a model is called in an answer."""
    run = session.run
    if run is not None and model == str(run.model_folder):
        return f"the result of {run.id}"
    return model


def to_do_first(session: Session, models: Sequence[str]) -> str:
    """What has to be fetched or converted before the models can be opened; empty where they lie here ready.

    Raises:
        SecateurError: one of them does not exist.
    """
    from tools.model.checkpoint import ahead

    return " ".join(part for model in models if (part := ahead(model, session.settings.cache)))


def priced(
    session: Session, doing: str, models: Sequence[str], tokens: int, pace: Pace, *, together: bool = False
) -> str:
    """The plan to have models read so many tokens each, with its minutes and its memory; empty where it takes less
    than ten seconds.

    Args:
        together: whether all are held at once.

    Raises:
        SecateurError: a model does not exist.
    """
    first = to_do_first(session, models)
    sizes = [_weights(session, model) for model in models]
    if not first and all(size is not None and size * tokens <= LIGHT for size in sizes):
        return ""
    known = [_before(session, model, pace) for model in models]
    seconds = [tokens * found[0] for found in known if found is not None]
    if len(seconds) == len(models):
        if not first and sum(seconds) < SHORT:
            return ""
        runs = ", ".join(dict.fromkeys(found[1] for found in known if found is not None))
        cost = f"{minutes(sum(seconds) / 60)}, judged by run {runs}"
    else:
        cost = f"{tokens:,} tokens for each model; how long that takes here was not measured before"
    return " ".join(part for part in (f"Plan: {doing}: {cost}{_memory(session, sizes, together)}.", first) if part)


def _weights(session: Session, model: str) -> int | None:
    """None where it does not lie here ready to be read."""
    from tools.model.checkpoint import local_folder
    from tools.model.soundness import stored_weights

    folder = local_folder(model, session.settings.cache)
    return None if folder is None else stored_weights(folder)


def _memory(session: Session, sizes: Sequence[int | None], together: bool) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return ""
    width = 4 if session.settings.values.dtype in (None, "float32", "fp32") else 2
    held = sum(known) if together else max(known)
    size = width * held
    told = f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
    return f", {told} for the weights{' of both' if together and len(known) > 1 else ''}"


def memory(session: Session, models: Sequence[str]) -> str:
    """What the weights of models take that are held at once; empty where none lies here."""
    return _memory(session, [_weights(session, model) for model in models], together=True).removeprefix(", ")


def _before(session: Session, model: str, pace: Pace) -> tuple[float, str] | None:
    """Seconds for a token as the newest run on this machine tells of a model, and that run."""
    for run in reversed(readable(session.settings.home)):
        history = run.history()
        line = _line(run, history, model)
        if line and history.starts[-1].host == socket.gethostname() and (found := pace(history, line)):
            return found, run.id
    return None


def _line(run: Run, history: History, model: str) -> str:
    """How the final table of a run calls a model; empty where it does not hold it."""
    if not history.starts:
        return ""
    if model == run.goal.model:
        return next((name for name, of in history.finals.items() if of.recipe is None), "")
    return (history.winner or "") if Path(model) == run.model_folder else ""


def reading(history: History, line: str) -> float | None:
    """Seconds for a token of text that is read for a perplexity."""
    found = history.finals.get(line)
    return found.measurement.seconds / found.measurement.tokens if found is not None else None


def writing(history: History, line: str) -> float | None:
    """Seconds for a token that is written after a prompt."""
    found = history.continued.get(line, ())
    tokens = sum(one.tokens for one in found)
    return sum(one.seconds for one in found) / tokens if tokens else None


def surveying(history: History, line: str) -> float | None:
    """Seconds for a token of calibration text whose statistics are taken; the model is opened in that time, too."""
    if history.survey is None or history.goal is None:
        return None
    of = history.goal.calibration
    return history.survey.seconds / (of.windows * of.length)
