"""What becomes of the model is what was said, or is refused in one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from agent.session.talk import grammar
from agent.session.talk.session import Session
from agent.session.talk.tools.deliver import Export, Recover, Upload
from runs.run import Run
from tools.io.errors import SecateurError, UsageError


def test_a_path_that_ends_with_gguf_is_a_gguf(
    session: Session, pruned: Run, commands: list[list[str]], tmp_path: Path
) -> None:
    place = tmp_path / "x.gguf"
    tool = Export(folder=str(place))
    assert tool.plan(session).startswith(f"Plan: a GGUF (half precision) goes to {place}, from ")
    said = tool.work(session)
    assert f"wrote {place}: architecture llama" in said
    assert place.read_bytes()[:4] == b"GGUF"
    with pytest.raises(UsageError, match="is there already"):
        tool.plan(session)


def test_a_gguf_is_quantised_where_the_package_can(
    session: Session, pruned: Run, commands: list[list[str]], tmp_path: Path
) -> None:
    from gguf import GGMLQuantizationType, GGUFReader

    said = Export(folder=str(tmp_path / "small"), form="gguf", quantisation="Q8_0").work(session)
    assert f"wrote {tmp_path / 'small.gguf'}" in said
    kinds = {tensor.tensor_type for tensor in GGUFReader(tmp_path / "small.gguf").tensors}
    assert GGMLQuantizationType.Q8_0 in kinds
    with pytest.raises(UsageError, match="Q4_K_M cannot be written here: there are f32, f16, bf16, q8_0"):
        Export(folder=str(tmp_path / "k.gguf"), quantisation="Q4_K_M").plan(session)


def test_what_contradicts_itself_is_refused(session: Session, pruned: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names a GGUF, and folder"):
        Export(folder="x.gguf", form="folder").plan(session)
    with pytest.raises(UsageError, match="Only a GGUF is quantised"):
        Export(folder="x", form="vllm", quantisation="q8_0").plan(session)
    session.run = None
    with pytest.raises(UsageError, match="no pruned model yet"):
        Export().plan(session)


def test_another_model_that_is_named_is_exported(session: Session, commands: list[list[str]], tmp_path: Path) -> None:
    place = tmp_path / "t.gguf"
    tool = Export(folder=str(place), form="gguf", model="tiny")
    assert tool.plan(session).startswith(f"Plan: a GGUF (half precision) of tiny goes to {place}, from ")
    assert f"wrote {place}: architecture llama" in tool.work(session)
    assert place.read_bytes()[:4] == b"GGUF"
    assert Export(folder=str(tmp_path / "copy"), model="tiny").work(session) == f"The model is in {tmp_path / 'copy'}."
    assert (tmp_path / "copy" / "config.json").exists()
    with pytest.raises(SecateurError, match="No run is open"):
        Export(folder="x", model="dense").plan(session)
    with pytest.raises(UsageError, match="Where shall it go"):
        Export(model="tiny").plan(session)
    with pytest.raises(SecateurError, match="does not exist"):
        Export(folder="x", model="./gone/away").plan(session)


def test_only_what_leaves_the_home_is_asked_about(session: Session, pruned: Run, tmp_path: Path) -> None:
    assert Export().plan(session) == ""
    assert str(pruned.model_folder) in Export().work(session)
    assert Export(folder=str(session.settings.home / "copy")).plan(session) == ""
    assert str(tmp_path / "copy") in Export(folder=str(tmp_path / "copy")).plan(session)
    assert Export(folder=str(tmp_path / "copy")).work(session) == f"The model is in {tmp_path / 'copy'}."
    assert (tmp_path / "copy" / "model.safetensors").exists()


def test_vllm_gets_a_folder_that_it_serves(
    session: Session, pruned: Run, commands: list[list[str]], tmp_path: Path
) -> None:
    said = Export(folder=str(tmp_path / "served"), form="vllm").work(session)
    assert f"vllm serve {tmp_path / 'served'}" in said
    assert (tmp_path / "served" / "config.json").exists()


def test_a_recovery_is_planned_and_told(
    session: Session, pruned: Run, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    plan = Recover(steps=2).plan(session)
    place = pruned.model_folder.with_name("model-recovered")
    assert plan == f"Plan: 2 training steps on windows of 64 tokens of builtin; the result goes to {place}."
    said = Recover(steps=2).work(session)
    assert "After 2 steps (" in said
    assert f"The recovered model is in {place}; the pruned one is as it was." in said
    assert str(place) in Export().work(session)  # there are two models now
    session.run = None
    with pytest.raises(SecateurError, match="no pruned model"):
        Recover().plan(session)


def test_minutes_of_recovery_become_steps_by_what_was_measured(session: Session, pruned: Run) -> None:
    pytest.importorskip("peft")
    plan = Recover(minutes=10).plan(session)  # a token takes 1/2048 s, a step three readings of 64
    assert plan.startswith("Plan: 6400 training steps on windows of 64 tokens")


class Hub:
    """Notes what would be sent."""

    sent: tuple[Any, ...] = ()
    public = False

    def __init__(self, token: str) -> None:
        assert token == "hf_secret"

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        pass

    def repo_info(self, name: str) -> Any:
        return SimpleNamespace(private=not Hub.public)

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        Hub.sent = (repo_id, folder_path)


def test_an_upload_needs_a_token_and_is_private(session: Session, pruned: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UsageError, match="no token"):
        Upload(repository="me/tiny-half").plan(session)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    plan = Upload(repository="me/tiny-half").plan(session)
    assert "https://huggingface.co/me/tiny-half (private, only its owner sees it)." in plan
    assert "MB, with its card)" in plan
    assert "hf_secret" not in plan
    assert "PUBLIC" in Upload(repository="me/tiny-half", private=False).plan(session)
    with pytest.raises(UsageError, match="Into which repository"):
        Upload(private=False).plan(session)
    assert grammar.read("me/tiny-half", session) == [Upload(repository="me/tiny-half", private=False)]
    assert isinstance(grammar.read("me/tiny-half", session), str)  # nobody asks any more
    assert Upload(repository="me/tiny-half").work(session).endswith("me/tiny-half (private).")
    assert Hub.sent == ("me/tiny-half", pruned.model_folder)
    monkeypatch.setattr(Hub, "sent", ())
    monkeypatch.setattr(Hub, "public", True)
    with pytest.raises(UsageError, match="is there and public"):
        Upload(repository="me/tiny-half").work(session)
    assert Hub.sent == ()
