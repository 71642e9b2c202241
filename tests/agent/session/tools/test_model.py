"""Facts of models, from configurations, headers and surveys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.session.talk.session import Session
from agent.session.talk.tools.model import LayerStatistics, MemoryNeed, ModelFacts
from runs.run import Run
from tools.io.errors import SecateurError, UsageError


def test_facts_of_a_model_are_its_own(session: Session, save_random: Callable[..., Path]) -> None:
    folder = save_random("small", num_hidden_layers=3)
    tool = ModelFacts(model=str(folder))
    assert tool.plan(session) == ""
    told = tool.work(session)
    assert ": llama, 3 blocks, " in told
    assert "heads 4, key-value heads 2, neurons of an MLP 48, vocabulary 512" in told
    assert "F32" in told
    weights = 3 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48)
    assert f"{weights:,} of them prunable" in told
    assert f"  unstructured: {100 * weights / (weights + 3 * 2 * 32):.1f} % of the blocks' weights" in told
    (experts,) = (line for line in told.splitlines() if line.startswith("  experts: "))
    assert experts.startswith("  experts: no (")


def test_memory_is_reckoned_from_weights_and_shapes(session: Session, save_random: Callable[..., Path]) -> None:
    said = MemoryNeed(billions=7).work(session)
    assert said.startswith("7 billion weights take 28 GB in float32, 14 GB in bfloat16 or float16; as a GGUF 7.44 GB")
    assert "up to 28 GB (56 GB)" in said
    assert "is not known here" in said
    folder = save_random("small", num_hidden_layers=3)
    tool = MemoryNeed(model=str(folder))
    assert tool.plan(session) == ""
    weights = int(tool.work(session).partition(" has ")[2].partition(" ")[0].replace(",", ""))
    assert f"the weights {4 * weights / 1e3:.3g} kB, a second copy of the weights " in tool.work(session)
    with pytest.raises(UsageError, match="Which model"):
        MemoryNeed().plan(session)


def test_what_is_no_model_is_refused_before_anything(session: Session, tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="does not exist"):
        ModelFacts(model="./nowhere/at/all").plan(session)
    with pytest.raises(UsageError, match="Which model"):
        ModelFacts().plan(session)
    (tmp_path / "it.gguf").write_bytes(b"GGUF")
    assert "converted from GGUF first" in ModelFacts(model=str(tmp_path / "it.gguf")).plan(session)


def test_the_survey_of_a_run_answers(session: Session, told: Callable[..., Run], story: Any) -> None:
    run = told(story.start().survey((2.2, 1.4, 1.5, 1.3)))
    tool = LayerStatistics(statistic="skew")
    assert tool.plan(session) == ""
    said = tool.work(session)
    assert f"survey of run {run.id}" in said
    assert "0: 2.2, 1: 1.4, 2: 1.5, 3: 1.3" in said
    assert "Lowest: block 3, 1. Highest: block 0, 2." in said


def test_what_no_survey_holds_is_measured(session: Session, commands: list[list[str]]) -> None:
    tool = LayerStatistics(model="tiny", statistic="score_mean")
    assert tool.plan(session) == ""  # nobody is asked about a second
    said = tool.work(session)
    assert commands[0][:2] == ["stats", "tiny"]
    assert "score_mean of tiny by block" in said
    assert "128 tokens of builtin/calibration" in said
