"""What became of a run, as its journal tells: how it ended or broke off, where, and what can be done."""

from __future__ import annotations

from runs.fold.history import History
from runs.fold.summary import summary
from runs.run import Run, Status


def happened(run: Run, history: History) -> str:
    """In one to three lines."""
    status = run.status(history)
    lines = [f"Run {run.id} ({run.goal}) {_ended(run, history, status)}"]
    if history.notes and status in (Status.FAILED, Status.INTERRUPTED):
        lines.append(f"Its journal noted last: {history.notes[-1]}")
    lines += [f"Damage: {text}" for text in history.damage[-1:] if text != history.notes[-1]]
    if history.failed:
        name = next(iter(history.failed))
        lines.append(f"{len(history.failed)} candidates failed, as {name}: {history.rejected[name]}.")
    return "\n".join(lines)


def _ended(run: Run, history: History, status: Status) -> str:
    when = "" if history.at is None else f" on {history.at.astimezone():%Y-%m-%d at %H:%M}"
    again = f'"resume {run.id}" goes on where it stopped.'
    match status:
        case Status.NEW:
            return f"has not begun. {again}"
        case Status.WORKING:
            return f"is at work{_where(history)}; nothing has gone wrong so far."
        case Status.FAILED:
            return f"failed{when}{_where(history)}: {history.problem.rstrip('.')}. {again}"
        case Status.FINISHED:
            return f"came to its end{when}. {summary(history).verdict}"
    if history.state == "working":
        return (
            f"broke off without a word{_where(history)}: it was killed, or the machine went down{_last(when)}. {again}"
        )
    return f"was interrupted on request{when}{_where(history)}. {again}"


def _last(when: str) -> str:
    return f"; it wrote last{when}" if when else ""


def _where(history: History) -> str:
    """At which stage, and after how many measurements."""
    steps = history.stages.steps
    many = len(history.divergences)
    at = f" at the stage {steps[-1].name}" if steps else ""
    return f"{at}, after {many} candidates were measured" if many else at
