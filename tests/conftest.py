"""A made-up run, event by event, for the rooms that read journals."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from runs.candidate import Candidate
from runs.events import (
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Event,
    FinalMeasured,
    ReferenceMeasured,
    RunFinished,
    RunStarted,
    Saved,
    Selected,
    SurveyDone,
)
from runs.goal import Goal
from tools.deliver import verify
from tools.io.errors import SecateurError
from tools.io.quiet import quiet
from tools.model.sample import TINY
from tools.recipe import Compensation, Recipe
from tools.recipe.measurement import Kind, Measurement, Protocol

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # no test measures time

ELSEWHERE = ("tools/deliver/test_save.py", "tools/prune/test_experts.py")
"""Files whose tests are about the comparison itself: there, a fresh process does it."""


def _asked_here(folder: Path, request: Path) -> str:
    """What `tools.deliver.verify` asks of a fresh process, in this one: importing torch takes longer than a run."""
    try:
        verify.answer(folder, request)
    except SecateurError as error:
        return str(error)
    return ""


@contextmanager
def verified_here() -> Iterator[None]:
    """What is saved meanwhile is compared in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "asked_elsewhere", _asked_here)
        yield


@pytest.fixture(scope="module", autouse=True)
def _verified_here(request: pytest.FixtureRequest) -> Iterator[None]:
    with nullcontext() if request.path.as_posix().endswith(ELSEWHERE) else verified_here():
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models so small only wait for a second thread; what a test asks for ends with it."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


START = datetime(2026, 11, 22, 7, 0, 0, tzinfo=UTC)


@dataclass
class Story:
    """Builds events of one run, each of them ten seconds after the one before."""

    run: str = "calm-heron-7"
    goal: Goal = field(default_factory=lambda: Goal(model="tiny", sparsity=0.5))
    events: list[Event] = field(default_factory=list)

    def at(self) -> datetime:
        return START + timedelta(seconds=10 * len(self.events))

    def recipe(self, metric: str, sparsity: float = 0.5) -> Recipe:
        return Recipe(metric=metric, sparsity=sparsity, compensation=Compensation(kind="obs"))

    def measurement(
        self, value: float, kind: Kind = "divergence", tokens: int = 2048, sparsity: float = 0.5
    ) -> Measurement:
        text = "builtin/test" if kind == "perplexity" else "builtin/search"
        protocol = Protocol(
            text=text, text_sha256=text, windows=4, length=512, dtype="float32", device="cpu", model="f00d"
        )
        return Measurement(
            kind=kind, value=value, tokens=tokens, sparsity=sparsity, seconds=1.0, peak_mib=10.0, protocol=protocol
        )

    def start(self) -> Story:
        self.events.append(
            RunStarted(at=self.at(), run=self.run, goal=self.goal, versions={"torch": "2"}, host="alpha", pid=1)
        )
        return self

    def survey(self, skew: Sequence[float] = (2.2, 1.4, 1.5, 1.3)) -> Story:
        units = {"skew": tuple(skew), "redundancy": tuple(0.1 * i for i in range(len(skew)))}
        self.events.append(
            SurveyDone(
                at=self.at(),
                parameters=1000,
                blocks=len(skew),
                fingerprint="f00d",
                dtype="float32",
                seconds=2.0,
                units=units,
            )
        )
        return self

    def reference(self, name: str, value: float, tokens: int = 2048) -> Story:
        measured = self.measurement(value, tokens=tokens)
        self.events.append(ReferenceMeasured(at=self.at(), name=name, recipe=self.recipe(name), measurement=measured))
        return self

    def propose(
        self, name: str, metric: str, parents: tuple[str, ...] = (), thoughts: tuple[str, ...] = (), generation: int = 0
    ) -> Story:
        candidate = Candidate(
            id=name,
            recipe=self.recipe(metric),
            operator="mutate",
            why="a try",
            parents=parents,
            thoughts=thoughts,
            generation=generation,
        )
        self.events.append(CandidateProposed(at=self.at(), candidate=candidate))
        return self

    def measure(self, name: str, value: float, tokens: int = 2048) -> Story:
        measured = self.measurement(value, tokens=tokens)
        self.events.append(CandidateMeasured(at=self.at(), candidate_id=name, recipe_id="r", measurement=measured))
        return self

    def reject(self, name: str, reason: str, *, measured: bool = False) -> Story:
        stage = "measure" if measured else "screen"
        self.events.append(CandidateRejected(at=self.at(), candidate_id=name, reason=reason, stage=stage))
        return self

    def select(self, best: str) -> Story:
        self.events.append(Selected(at=self.at(), generation=0, population=(best,), best=best))
        return self

    def final(self, name: str, perplexity: float, metric: str | None, sparsity: float = 0.5) -> Story:
        recipe = None if metric is None else self.recipe(metric)
        self.events.append(
            FinalMeasured(
                at=self.at(),
                name=name,
                recipe=recipe,
                measurement=self.measurement(perplexity, "perplexity", sparsity=sparsity),
                sparsities={} if metric is None else {"layers.0.q": 0.4, "layers.0.k": 0.6},
            )
        )
        return self

    def finish(self, best: str) -> Story:
        self.events.append(Saved(at=self.at(), folder="/models/out", verified="reloads, logits equal"))
        self.events.append(RunFinished(at=self.at(), best=best, summary="done"))
        return self

    def whole(self) -> Story:
        """A search that won: two candidates measured, one rejected."""
        self.start().survey().reference("magnitude", 2.0).reference("wanda", 1.0)
        self.propose("c-1", "W * X").measure("c-1", 1.0)
        self.propose("c-2", "sqr(W) * X").measure("c-2", 0.8).measure("c-2", 0.9, tokens=16384)
        self.propose("c-3", "W * X").reject("c-3", "duplicate of c-1")
        self.select("c-2")
        self.final("dense", 22.8, None, 0.0).final("wanda", 50.9, "W * X").final("c-2", 41.9, "sqr(W) * X")
        return self.finish("c-2")


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def new_story() -> type[Story]:
    return Story


@pytest.fixture
def work_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], float]]:
    """A clock in the place of the real one that counts work: a nanosecond for a multiplication of a linear map.

    What is timed then costs the same on a busy machine, and half of a model costs half.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    from tools.measure import latency

    done = [0.0]

    def count(module: torch.nn.Module, arguments: tuple[Any, ...], output: object) -> None:
        if isinstance(module, torch.nn.Linear | Conv1D):
            (hidden,) = arguments
            done[0] += 1e-9 * module.weight.numel() * hidden.numel() / hidden.shape[-1]

    def clock() -> float:
        return done[0]

    monkeypatch.setattr(latency, "clock", clock)
    handle = torch.nn.modules.module.register_module_forward_hook(count)
    yield clock
    handle.remove()


@pytest.fixture
def save_random(tmp_path: Path) -> Callable[..., Path]:
    """Saves a random Llama in a folder of tmp_path, with the tokenizer of the sample; options are its configuration."""

    def save(name: str, *, shard: str = "1GB", merges: int | None = None, **options: Any) -> Path:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        small = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
        config = LlamaConfig(**{"vocab_size": 512, "max_position_embeddings": 64, **small, **options})
        torch.manual_seed(0)
        folder = tmp_path / name
        with quiet():
            LlamaForCausalLM(config).save_pretrained(folder, max_shard_size=shard)
        shutil.copy(TINY / "tokenizer_config.json", folder)
        tokenizer = json.loads((TINY / "tokenizer.json").read_text())
        tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:merges]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        return folder

    return save
