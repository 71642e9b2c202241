"""A conversation, from nothing to an exported model, without a language model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.session.goal import build
from agent.session.options import Wish
from agent.session.settings import load
from agent.session.start import carry_out, start
from agent.session.talk.conversation import Talk
from agent.session.talk.tools.reproduce import Reproduce
from runs.events import Replied, RunFinished, RunStarted, Said
from runs.fold.history import History
from runs.run import Run, Status, list_runs
from tui.text.comparison import comparison

SMALL = {"windows": 4, "length": 64, "search_windows": 4, "search_length": 64, "test_windows": 4, "test_length": 64}


def carry(run: Run) -> str:
    return comparison(carry_out(run), run)


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(load(tmp_path / "home", {**SMALL, "finalists": 1, "candidates": 4}), carry)


@pytest.mark.usefixtures("commands")
def test_from_a_sentence_to_a_model(talk: Talk, tmp_path: Path) -> None:
    assert "Which model?" in talk.say("prune a model to 50 %".replace("a model ", ""))
    plan = talk.say("tiny")
    assert "Plan: tiny → 50 % unstructured, designer builtin, at most 4 candidates" in plan
    assert "judged by a matrix product on this machine" in plan
    assert "GB of memory, no money." in plan
    assert plan.endswith("Start? yes or no")
    assert list_runs(tmp_path / "home") == []
    assert "this run" in talk.say("yes")
    (run,) = list_runs(tmp_path / "home")
    assert run.status() is Status.FINISHED
    assert "c-1 is W * X" in talk.say("explain c-1")
    assert "Nothing with 2:4 was measured" in talk.say("why not 2:4?")
    folder = tmp_path / "out"
    assert f"Plan: a copy of the model goes to {folder}" in talk.say(f"export it to {folder}")
    assert str(folder) in talk.say("yes")
    assert (folder / "model.safetensors").exists()
    assert "is there already" in talk.export(str(folder))
    assert "It is reproduced." in Reproduce().work(talk.session)
    kept = run.reproduction_file.read_text()
    run.reproduction_file.write_text(re.sub(r"perplexity: [\d.]+", "perplexity: 7.5", kept, count=1))
    again = Reproduce().work(talk.session)
    assert re.search(r"  dense perplexity: [\d.]+ now, 7.5 then \(differs\)", again)
    assert "It is not reproduced." in again
    events = run.journal.read()
    said = [event.text for event in events if isinstance(event, Said)]
    export = f"export it to {folder}"
    assert said == ["yes", "explain c-1", "why not 2:4?", export, "yes", export]
    assert sum(isinstance(event, Replied) for event in events) == len(said)
    assert "judged by run" in talk.say("prune tiny to 60 %")
    assert talk.say("no") == "Nothing was started."
    plan = talk.say("prune the result further to 75 %")
    assert f"Plan: {run.model_folder} → 75 % unstructured" in plan
    assert f"It starts from the result of {run.id}: 50.0 % of its weights are zero already" in plan
    assert "More than 75 % may be zero in the end" in plan
    assert talk.say("no") == "Nothing was started."
    later = Talk(talk.settings, carry)
    assert f"Run {run.id}: tiny → 50 % unstructured, finished" in later.say("continue what we did on tiny today")
    assert "There is no run of tiny from yesterday. The newest is" in later.say(
        "continue what we did on tiny yesterday"
    )
    assert "goes on for 1 candidates more" in later.say("go on for 1 candidate")
    assert "this run" in later.say("yes")
    assert len(list_runs(tmp_path / "home")) == 1
    assert "takes this up again" in later.say("bye")
    assert later.over


def test_what_steers_is_answered_with_what_changes(tmp_path: Path) -> None:
    found = load(tmp_path / "home", {**SMALL, "candidates": 4})
    run = start(found, build(found, "tiny", Wish(sparsity=0.5)))
    talk = Talk(found, carry)
    assert "Block 0 stays whole from here on." in talk.say_beside(run, "spare the first block")
    assert "that designer builtin understands; it obeys no OBS" in talk.say_beside(run, "be bold")
    assert "It ends after the measurement under way" in talk.say_beside(run, "stop")
    assert "When the run has ended: prune (model tiny, sparsity 0.4)." in talk.say_beside(run, "prune tiny to 40%")
    assert "I did not understand" in talk.say_beside(run, "how heavy is the moon?")
    heard = run.unheard(History())
    assert [said.text for said in heard] == ["spare the first block", "be bold", "stop"]
    own = load(tmp_path / "home", {**SMALL, "designer": "self"})
    run = start(own, build(own, "tiny", Wish(sparsity=0.5)))
    assert 'Self reads "be bold" with its next prompt' in talk.say_beside(run, "be bold")


def test_what_cannot_be_is_one_line_and_the_talk_goes_on(talk: Talk) -> None:
    assert "nowhere" in talk.say("prune ./nowhere to 50 %") + talk.say("yes")
    assert "3:2" in talk.say("prune tiny to 3:2")
    assert "no run to go on with" in talk.say("go on")
    assert "no pruned model yet" in talk.say("export it")
    assert "~nobody-here/model" in talk.say("prune ~nobody-here/model to 50 %") + talk.say("yes")
    assert "I did not understand that" in talk.say("the weather is nice")
    assert not talk.over


def test_a_method_has_no_search_to_go_on_with(tmp_path: Path) -> None:
    found = load(tmp_path / "home", SMALL)
    run = start(found, build(found, "tiny", Wish(sparsity=0.5, method="wanda")))
    run.journal.append(RunStarted(run=run.id, goal=run.goal, versions={}, host="", pid=1))
    run.journal.append(RunFinished(best="wanda", summary="done"))
    talk = Talk(found, carry, yes=True)
    talk.say(f"resume {run.id}")
    assert "nothing is searched" in talk.say("go on for ten minutes")
    assert run.status() is Status.FINISHED


def test_an_interruption_is_not_the_end(tmp_path: Path) -> None:
    def broken(run: Run) -> None:
        raise KeyboardInterrupt

    talk = Talk(load(tmp_path / "home", {**SMALL, "candidates": 4}), broken, yes=True)  # type: ignore[arg-type]
    assert "Interrupted." in talk.say("prune tiny to 50 %")


def test_what_nobody_foresaw_is_one_line_and_shows_no_secret(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_APIKEY", "key-123456")

    def fail(text: str) -> str:
        raise ValueError("https://host/?key=key-123456\n\x1b]52;c;\x07")

    monkeypatch.setattr(talk, "_turn", fail)
    assert talk.say("hello").startswith("unexpected ValueError: https://host/?key=*** ?]52;c;?")
    assert not talk.over
