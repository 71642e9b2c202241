"""A run on disk: its folder, its lock, its inbox and what state it is in.

`<home>/runs/<id>/` holds `goal.json`, `inbox.jsonl`, `journal.jsonl`, `checkpoints.sqlite`, `lock`, `results/` where
workers measure, and at the end `recipe.yaml`, `model/`, `report.html`, `report.md` and `reproduce.yaml`. Whoever holds
the lock is the engine; all others append to the inbox and read the journal.
"""

from __future__ import annotations

import json
import random
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from runs import names, reproduction
from runs.events import Event, RunStarted, Said, Unreadable
from runs.fold.history import History
from runs.goal import Goal
from runs.journal import Journal
from tools.io.errors import SecateurError, UsageError
from tools.io.frozen import first_problem
from tools.io.lock import Holder, Locked, hold, holder

STOP = "stop"
"""What `Run.stop` says, whatever words a person used."""
UNREADABLE = "unreadable"
"""What a list says in the place of a run's status."""
_NAMES_SHOWN = 8


class Status(StrEnum):
    """What state a run is in."""

    NEW = "new"
    WORKING = "working"
    INTERRUPTED = "interrupted"
    """Stopped or killed; `resume` goes on."""
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def home(self) -> Path:
        """The home that it belongs to, with memory, cache and the other runs."""
        return self.folder.parent.parent

    @cached_property
    def goal(self) -> Goal:
        """What was asked.

        Raises:
            SecateurError: `goal.json` is missing or damaged.
        """
        path = self.folder / "goal.json"
        try:
            return Goal.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise SecateurError(f"run {self.id}: goal.json is not a goal: {first_problem(error)}") from error
        except (OSError, ValueError, RecursionError, UsageError) as error:
            raise SecateurError(f"run {self.id}: goal.json cannot be read ({error})") from error

    @property
    def journal(self) -> Journal:
        """What happened, written by the engine alone."""
        return Journal(self.folder / "journal.jsonl")

    @property
    def inbox(self) -> Journal:
        """What people said to the engine, from any process."""
        return Journal(self.folder / "inbox.jsonl")

    @property
    def checkpoints(self) -> Path:
        """Where LangGraph keeps how far the run is (SQLite)."""
        return self.folder / "checkpoints.sqlite"

    @property
    def recipe_file(self) -> Path:
        """The recipe of the result, as `--recipe` takes it."""
        return self.folder / "recipe.yaml"

    @property
    def results(self) -> Path:
        """Where workers put what they measured, if the run has workers."""
        return self.folder / "results"

    @property
    def model_folder(self) -> Path:
        """Where the pruned model goes: what the goal asks for, else inside the run."""
        return self.folder / "model" if self.goal.output is None else Path(self.goal.output)

    @property
    def report_html(self) -> Path:
        """The report for a browser."""
        return self.folder / "report.html"

    @property
    def report_md(self) -> Path:
        """The report as Markdown."""
        return self.folder / "report.md"

    @property
    def reproduction_file(self) -> Path:
        """What `secateur reproduce` measures again."""
        return self.folder / reproduction.NAME

    @property
    def created(self) -> float:
        """When it was created, seconds since 1970; the goal is written once and never again."""
        return (self.folder / "goal.json").stat().st_mtime

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the engine of this run for the length of the block.

        Raises:
            SecateurError: another process is.
        """
        try:
            with hold(self.folder / "lock"):
                yield
        except Locked as error:
            who = f"pid {error.holder.pid} on host {error.holder.host}"
            follow = f"`secateur watch {self.id}` follows it."
            raise SecateurError(f"run {self.id} is being worked on by another process ({who}). {follow}") from None

    @property
    def engine(self) -> Holder | None:
        """The process that works on this run now."""
        return holder(self.folder / "lock")

    def read(self) -> list[Event]:
        """All that happened, oldest first.

        Raises:
            SecateurError: the journal cannot be read, or is lost.
        """
        events = self.journal.read()
        kinds = {type(event) for event in events}
        if Unreadable in kinds and RunStarted not in kinds:
            raise SecateurError(
                f"run {self.id}: the beginning of its journal is damaged, so what it measured cannot be told. Put "
                f"{self.journal.path.name} back, or start a new run; `secateur runs remove {self.id}` takes it away."
            )
        left = (self.checkpoints, self.results, self.recipe_file, self.report_md)
        if not events and any(path.exists() for path in left):
            how = "empty" if self.journal.path.exists() else "missing"
            raise SecateurError(
                f"run {self.id}: its journal is {how}, so what it measured is lost. Put {self.journal.path.name} back, "
                f"or start a new run; `secateur runs remove {self.id}` takes this one away."
            )
        return events

    def history(self) -> History:
        """What it has come to so far.

        Raises:
            SecateurError: the journal or the goal cannot be read, or the journal is lost.
        """
        return History.of(self.read(), self.goal.budget)

    def status(self, history: History | None = None) -> Status:
        """The state that lock and journal tell of; `history` saves reading the journal again.

        Raises:
            SecateurError: the journal cannot be read, or is lost.
        """
        if self.engine is not None:
            return Status.WORKING
        state = (History.of(self.read()) if history is None else history).state
        return Status.INTERRUPTED if state == "working" else Status(state)  # a killed engine says nothing

    def glance(self) -> tuple[str, str]:
        """Status and goal as a list of runs shows them: `unreadable`, and why, where its files are damaged."""
        try:
            return str(self.status()), str(self.goal)
        except SecateurError as error:
            return UNREADABLE, " ".join(str(error).split())

    def follow(self, *, poll: float = 0.2) -> Iterator[Event]:
        """The events so far and then new ones as they come, until no engine works on the run any more."""
        return self.journal.follow(until=lambda: self.engine is None, poll=poll)

    def say(self, text: str) -> None:
        """Put what the person says into the inbox."""
        self.inbox.append(Said(text=text))

    def stop(self) -> None:
        """Have the search end after this step and conclude."""
        self.say(STOP)

    def unheard(self, history: History) -> list[Said]:
        """What was said but is not yet in the journal: the engine copies it there in order."""
        said = [event for event in self.inbox.read() if isinstance(event, Said)]
        return said[len(history.said) :]


def runs_folder(home: Path) -> Path:
    """Where the runs of a home are; it need not exist yet."""
    return home / "runs"


def create(home: Path, goal: Goal) -> Run:
    """Make the folder of a new run under a fresh name.

    Raises:
        SecateurError: the home cannot be written.
    """
    parent = runs_folder(home)
    # Written aside and renamed: a run is there with its goal or not at all.
    aside = parent / f".new-{uuid.uuid4().hex}"
    try:
        aside.mkdir(parents=True)
        (aside / "goal.json").write_text(goal.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return Run(_rename_to_free_name(aside))
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        reason = error.strerror or type(error).__name__
        raise SecateurError(f"{parent}: a run cannot be created ({reason}). Choose another --home.") from error


def _rename_to_free_name(aside: Path) -> Path:
    rng = random.SystemRandom()
    while True:
        folder = aside.parent / names.propose(rng)
        if not folder.exists():
            try:
                return aside.rename(folder)
            except OSError:
                if not folder.exists():  # it was not another process that took the name in between
                    raise


def list_runs(home: Path) -> list[Run]:
    """All runs, oldest first."""
    found = [Run(goal.parent) for goal in runs_folder(home).glob("[!.]*/goal.json")]
    return sorted(found, key=lambda run: (run.created, run.id))


def open_run(home: Path, name: str) -> Run:
    """The run of that id, or the only one whose id starts with `name`.

    Raises:
        UsageError: there is none or there are several; the line names those that exist.
    """
    runs = list_runs(home)
    exact = [run for run in runs if run.id == name]
    matches = exact or [run for run in runs if name and run.id.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"run {name} is not the only one that starts so: {_naming(matches)}. Give more of its id.")
    if not runs:
        raise UsageError(f"run {name} is not known: there are no runs yet. `secateur prune` starts one.")
    raise UsageError(f"run {name} is not known. Known runs are {_naming(runs)}.")


def _naming(runs: list[Run]) -> str:
    """The newest few, newest first."""
    shown = ", ".join(run.id for run in reversed(runs[-_NAMES_SHOWN:]))
    return shown if len(runs) <= _NAMES_SHOWN else f"{shown} and {len(runs) - _NAMES_SHOWN} more"


def remove(run: Run) -> None:
    """Delete a run with everything in its folder.

    Raises:
        SecateurError: it is being worked on, or cannot be deleted.
    """
    with run.lock():
        gone = run.folder.with_name(f".gone-{uuid.uuid4().hex}")
        try:
            run.folder.rename(gone)  # at once: a half-deleted run is never seen as a run
            shutil.rmtree(gone)
        except OSError as error:
            raise SecateurError(f"run {run.id} cannot be deleted ({error.strerror or error})") from error
