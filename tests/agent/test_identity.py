"""A run goes on only with what it began with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.engine import work
from runs.events import CandidateMeasured, Event, FinalMeasured
from runs.run import create, list_runs
from tests.agent.searches import goal
from tools.io.errors import SecateurError
from tools.recipe import Calibration


def _scaled(file: Path, factor: float, only: str = "") -> None:
    """Multiply all matrices of a safetensors file, or the one of that name."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    chosen = [name for name, tensor in tensors.items() if tensor.dim() > 1 and only in ("", name)]
    save_file(tensors | {name: tensors[name] * factor for name in chosen}, file, {"format": "pt"})


def _replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


MATRIX = "model.layers.1.mlp.up_proj.weight"
CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "one matrix": (lambda at: _scaled(at / "model/model.safetensors", 1.5, MATRIX), r"model is not .* \(weights\)"),
    "all matrices": (lambda at: _scaled(at / "model/model.safetensors", 1.5), r"model is not .* \(weights\)"),
    "config.json": (
        lambda at: _replaced(at / "model/config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-02'),
        r"model is not .* \(configuration\)",
    ),
    "weights and config.json": (
        lambda at: (
            _scaled(at / "model/model.safetensors", 1.5),
            _replaced(at / "model/config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-02'),
        )[0],
        r"model is not .* \(weights, configuration\)",
    ),
    "the tokenizer": (
        lambda at: _replaced(at / "model/tokenizer_config.json", "{", '{"add_prefix_space": true,'),
        r"model is not .* \(tokenizer\)",
    ),
    "the calibration text": (
        lambda at: _replaced(at / "cal.txt", "the", "any"),
        r"the text is not .* \(calibration: cal.txt \(first 80 %\)\)",
    ),
    "the text of the search": (
        lambda at: (at / "cal.txt").write_text((at / "cal.txt").read_text().replace("last", "late")) and None,
        r"the text is not .* \(search, selection: cal.txt \(80 to 90 %\), cal.txt \(last 10 %\)\)",
    ),
    "the test text": (lambda at: _replaced(at / "test.txt", "of", "to"), r"the text is not .* \(test: test.txt\)"),
    "the goal": (
        lambda at: _replaced(next(at.glob("home/runs/*/goal.json")), '"sparsity": 0.5', '"sparsity": 0.4'),
        r"goal.json is not what it began with \(sparsity\)",
    ),
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model, texts and a home whose run was interrupted when two candidates were measured."""
    from tools.model.sample import TINY

    at = tmp_path_factory.mktemp("begun")
    shutil.copytree(TINY, at / "model")
    (at / "cal.txt").write_text("We begin with the first of many lines. " * 300 + "These are the last of them. " * 300)
    (at / "test.txt").write_text("Ask not what others may do of it. " * 300)
    wanted = goal(
        model=str(at / "model"),
        calibration=Calibration(source=str(at / "cal.txt"), windows=4, length=64),
        test_text=str(at / "test.txt"),
    )
    run = create(at / "home", wanted)
    measured = []

    def listen(event: Event) -> None:
        measured.extend([event] if isinstance(event, CandidateMeasured) else [])
        if len(measured) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(run, listen=listen)
    return at


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_is_not_resumed_on_what_it_did_not_begin_with(change: str, interrupted: Path, tmp_path: Path) -> None:
    do, says = CHANGES[change]
    kept = tmp_path / "kept"
    shutil.copytree(interrupted, kept)
    do(interrupted)
    try:
        [run] = list_runs(interrupted / "home")
        before = run.journal.read()
        with pytest.raises(SecateurError, match=rf"^run {run.id}: .*{says}, so what .* or start a new run\.(\n|$)"):
            work(run)
        more = run.journal.read()[len(before) :]
        assert not any(isinstance(event, CandidateMeasured | FinalMeasured) for event in more)
    finally:
        shutil.rmtree(interrupted)
        shutil.copytree(kept, interrupted)
