"""What LangGraph checkpoints: a few numbers and ids. Everything else is in the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from agent.recorder import Recorder
from runs.goal import Goal, Size
from tools.recipe import Recipe

if TYPE_CHECKING:
    from agent.designers import Designer
    from agent.signatures import Signatures
    from agent.steering.obedience import Obedience
    from runs.workers import Executor
    from runs.workers.worker import Blueprint
    from tools.model.checkpoint import Model
    from tools.prune.bench import Bench
    from tools.text.sources import Part
    from tools.text.windows import Windows


class State(TypedDict):
    """Where the run is."""

    generation: int
    """The generation that is designed or measured now; 0 holds the seeds."""
    enough: str
    """Why the search ended; empty while it goes on."""


@dataclass
class Context:
    """What nodes work with; lives as long as the process and is never checkpointed."""

    recorder: Recorder
    home: Path
    designer: Designer
    _model: Model | None = None
    _bench: Bench | None = None
    _signatures: Signatures | None = None
    _executor: Executor | None = None
    _parts: dict[Part, Windows] = field(default_factory=dict)

    @property
    def goal(self) -> Goal:
        """What was asked of the run."""
        return self.recorder.run.goal

    @property
    def asked(self) -> tuple[str, Recipe] | None:
        """Name and recipe of a goal that names what to do; None where it is searched for."""
        from tools.recipe.methods import method

        goal = self.goal
        if goal.recipe is not None:
            return "recipe", goal.recipe
        if goal.method is not None:
            return goal.method, method(goal.method, goal.sparsity, goal.pattern, goal.calibration)
        return None

    def reference(self, name: str) -> Recipe:
        """The published method of that name, as results of this run are compared with it."""
        from tools.recipe.methods import reference

        return reference(name, self.goal.sparsity, self.goal.pattern, self.goal.calibration)

    @cached_property
    def rivals(self) -> dict[str, Recipe]:
        """The references that a result of this run has to beat, by name."""
        return {name: self.reference(name) for name in self.goal.pattern.references}

    def named(self, recipe: Recipe) -> str | None:
        """The name of the reference that a recipe is."""
        return next((name for name, rival in self.rivals.items() if rival == recipe), None)

    @property
    def goes_block_by_block(self) -> bool:
        """Whether something of this run will be pruned block after block: not experts, nor what reads no inputs."""
        from tools.prune.way import way_of

        recipe = self.reference(self.goal.pattern.references[-1]) if self.asked is None else self.asked[1]
        return way_of(recipe.pattern).propagates(recipe)

    @property
    def cache(self) -> Path:
        """What all runs of the home may use again: converted models, statistics, what final forms measured."""
        return self.home / "cache"

    @property
    def model(self) -> Model:
        """The opened model."""
        return self._opened()[0]

    def _opened(self) -> tuple[Model, dict[Part, Windows]]:
        """Model and texts, opened when first asked for: both fail early or not at all.

        Raises:
            SecateurError: one of them cannot be read, or is not what the run began with.
        """
        if self._model is None:
            from agent.identity import require_same
            from tools.model.checkpoint import open_model

            goal = self.goal
            model = open_model(goal.model, cache=self.cache, dtype=goal.dtype, device=goal.device)
            parts = self._read_text(model)
            record = self.recorder
            require_same(record.history.survey, record.history.measurements, model, parts, record.run.id)
            self._model, self._parts = model, parts
        return self._model, self._parts

    @property
    def identity(self) -> dict[str, Any]:
        """By what model and texts are known again when the run is resumed."""
        from agent.identity import identity

        return identity(*self._opened())

    @property
    def bench(self) -> Bench:
        """The resident model with its statistics, collected when first asked for."""
        if self._bench is None:
            from tools.prune.bench import Bench
            from tools.prune.structures.seconds import Seconds

            model, timed = self.model, self.recorder.history.timed
            known = None if timed is None else timed.model_dump(include={*Seconds.model_fields})
            seconds = None if known is None else Seconds.model_validate(known)
            self._bench = Bench(
                model, self._parts["calibration"], self._parts.get("search"), self.cache, self._needs, seconds
            )
        return self._bench

    @property
    def signatures(self) -> Signatures:
        """Of every recipe that was looked at in this process; a recipe is probed once."""
        if self._signatures is None:
            from agent.signatures import Signatures

            self._signatures = Signatures(self.bench)
        return self._signatures

    def obedience(self, upto: int | None = None) -> Obedience:
        """What the person said since the run began, or of the first so many lines of it, and what obeys it."""
        from agent.steering.obedience import obedience

        return obedience(self.bench, self.goal, self.recorder.history, upto)

    @property
    def _needs(self) -> frozenset[str]:
        """Optional statistics that candidates will surely ask for."""
        pattern = self.goal.pattern
        fitted = self.goal.searches and self.goal.compensation_allowed and pattern.compensations
        return pattern.statistics | ({"gram"} if fitted else set())

    @property
    def executor(self) -> Executor:
        """Who measures candidates; workers find the statistics on disk that the bench collected."""
        if self._executor is None:
            from runs.workers.in_process import InProcess
            from runs.workers.open import open_executor

            bench, workers = self.bench, self.goal.workers
            if workers.executor == "in-process":
                self._executor = InProcess(bench)
            else:
                self._executor = open_executor(workers, self._blueprint(), self.recorder.run.results)
        return self._executor

    def _blueprint(self) -> Blueprint:
        import torch

        from runs.workers.worker import Blueprint

        goal = self.goal
        return Blueprint(
            model=goal.model,
            fingerprint=self.model.fingerprint,
            texts={name: self._parts[name].sha256 for name in ("calibration", "search")},
            dtype=goal.dtype,
            device=goal.device,
            cache=self.cache,
            calibration=goal.calibration,
            search=goal.evaluation.search,
            needs=self._needs,
            seconds=None if goal.pattern.timed is None else self.bench.seconds(goal.pattern.timed),
            threads=torch.get_num_threads(),
        )

    def close(self) -> None:
        """End the workers; called when the search is over, and when the engine stops for whatever reason."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    def part(self, name: Part) -> Windows:
        """Windows of one part."""
        return self._opened()[1][name]

    @property
    def about_text(self) -> list[str]:
        """What the reader has to know of the texts."""
        from tools.text.windows import dealt

        parts = self._opened()[1]
        notes = {(name, note): None for name, found in parts.items() for note in found.notes}
        return [*dealt(parts), *(f"the windows of {parts[name].text} are {note}" for name, note in notes)]

    def _read_text(self, model: Model) -> dict[Part, Windows]:
        from tools.text.windows import Wanted, texts

        of, goal = self.goal.calibration, self.goal
        wanted: dict[Part, Wanted] = {"calibration": Wanted(of.source, of.windows, of.length, of.seed)}
        if goal.searches:
            sizes: dict[Part, Size] = {"search": goal.evaluation.search, "selection": goal.evaluation.selection}
            wanted |= {part: Wanted(of.source, size.windows, size.length) for part, size in sizes.items()}
        wanted["test"] = Wanted(goal.test_text, goal.evaluation.test.windows, goal.evaluation.test.length)
        return texts(model, wanted)
