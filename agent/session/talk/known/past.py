"""Earlier runs that can be talked about, and what they left."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

from runs.run import UNREADABLE, Run, list_runs
from tools.io.files import aside, expanded


def readable(home: Path) -> list[Run]:
    """The runs that can be talked about; the list of runs tells of the others."""
    return [run for run in list_runs(home) if run.glance()[0] != UNREADABLE]


def newest(home: Path, said: str, day: str = "any") -> Run | None:
    """The newest run that the words and the day fit: an id, or words of the goal."""
    days = {"today": date.today(), "yesterday": date.today() - timedelta(days=1)}
    words, found = said.lower().split(), readable(home)
    if (exact := [run for run in found if [run.id] == words]) and day == "any":  # not a run of that one's result
        return exact[0]
    for run in reversed(found):
        text = f"{run.id} {run.goal}".lower()
        when = date.fromtimestamp(run.created)
        if all(word in text.replace("-", " ") + text for word in words) and (day == "any" or when == days[day]):
            return run
    return None


def none_fits(home: Path, said: str, day: str = "any") -> str:
    """Says that there is no such run, and what there is instead."""
    what = f"of {said}" if said else "to go on with"
    when = "" if day == "any" else f" from {day}"
    found = readable(home)
    if not found:
        model = said if said and " " not in said and "/" not in said else "MODEL"
        return f'There is no run {what}{when}, as there are no runs here yet: "prune {model} to 50 %" starts one.'
    last = found[-1]
    return (
        f"There is no run {what}{when}. The newest is {last.id} ({last.glance()[1]}, "
        f'{date.fromtimestamp(last.created)}): "resume {last.id}" opens it, "which runs are there?" lists all.'
    )


def listed(home: Path, words: str = "", most: int = 12) -> str:
    """The runs that words fit, newest first, a line each."""
    wanted = words.lower().split()
    found = [
        run
        for run in reversed(list_runs(home))
        if all(word in f"{run.id} {run.glance()[1]}".lower() for word in wanted)
    ]
    if not found:
        return "There are no runs yet." if not wanted else "No run fits that."
    lines = []
    for run in found[:most]:
        state, goal = run.glance()
        lines.append(f"  {run.id}  {date.fromtimestamp(run.created)}  {state}: {goal}")
    more = [f"  and {len(found) - most} older ones"] if len(found) > most else []
    return "\n".join(["Runs, newest first:", *lines, *more])


def export(run: Run, folder: str | None) -> str:
    """Copy the pruned model of a run to a folder, or say where it is; returns what to tell."""
    source = run.model_folder
    if folder is None:
        if run.goal.compress:
            return f"The model is in {source}, packed: `secateur restore {source} --output DIR` unpacks it."
        return f"The model is in {source}: an ordinary Hugging Face folder that transformers and vLLM load."
    place = expanded(folder).resolve()
    if place.exists():
        return f"{place} is there already. Name another folder."
    return copied(source, place)


def copied(source: Path, place: Path) -> str:
    """Copy a model's folder to a place that is not there yet; returns what to tell."""
    with aside(place) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
    return f"The model is in {place}."
