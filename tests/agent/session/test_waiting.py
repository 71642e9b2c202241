"""A plan that waits for a yes is changed by what is said to it, and what follows it follows it still."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.session.talk.conversation import START, Talk
from agent.session.talk.graph import AGREED, NOTHING
from agent.session.talk.tools.measure import Perplexity
from agent.session.talk.waiting import INSTEAD
from runs.events import RunFinished, RunStarted
from runs.run import Run, create, list_runs
from tests.agent.loopback import Reply, in_turn, say

STILL_WAITS = "The plan of 50 % for tiny still waits: start? yes or no"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("60% instead", {"sparsity": 0.6}),
        ("make it 60 %", {"sparsity": 0.6}),
        ("with 6 candidates please", {"sparsity": 0.5, "candidates": 6}),
        ("60 % and at most 6 candidates", {"sparsity": 0.6, "candidates": 6}),
        ("for 5 minutes", {"sparsity": 0.5, "minutes": 5.0}),
        ("no OBS", {"sparsity": 0.5, "rules": ["no OBS"]}),
        ("spare block 0 and no OBS", {"sparsity": 0.5, "rules": ["spare block 0", "no OBS"]}),
        ("2:4 instead", {"pattern": "2:4"}),
        ("1.4 times faster", {"speedup": 1.4}),
        ("with seed 3", {"sparsity": 0.5, "seed": 3}),
    ],
)
def test_what_is_said_to_a_plan_changes_it(words: str, asked: dict[str, object], opened: Callable[..., Talk]) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    plan = talk.say(words)
    assert plan.startswith(f"{INSTEAD}\nPlan: tiny →")
    (waits,) = waiting(talk)
    assert waits["name"] == "prune"
    assert waits["args"] == {"model": "tiny", **asked}


def test_a_change_is_not_lost_by_the_next_one(opened: Callable[..., Talk], home: Path) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    talk.say("no OBS")
    talk.say("60 %")
    assert "60 % unstructured" in talk.say("with 6 candidates")
    talk.say("yes")
    (run,) = list_runs(home)
    assert (run.goal.sparsity, run.goal.budget.candidates) == (0.6, 6)
    assert "no OBS" in [one.text for one in run.unheard(run.history())]


def test_a_method_gives_way_to_another_one(opened: Callable[..., Talk]) -> None:
    talk = opened()
    talk.say("prune tiny to 50 % with wanda")
    assert "by sparsegpt" in talk.say("use sparsegpt")
    assert [call["args"]["method"] for call in waiting(talk)] == ["sparsegpt"]


def test_questions_about_a_plan_leave_it(opened: Callable[..., Talk]) -> None:
    talk = opened()
    plan = talk.say("prune tiny to 50 %")
    answer = talk.say("how long will that take?")
    assert answer.startswith("It takes about")
    assert "Plan:" not in answer
    assert answer.endswith(f"\n{STILL_WAITS}")
    assert talk.say("what is queued?").startswith("Nothing is queued.")
    assert talk.say("what is the plan?") == f"{plan.removesuffix(f'{chr(10)}{START}')}\n{STILL_WAITS}"
    assert talk.say("prune tiny to 60 %").endswith(f"\n{START}")  # another one is shown


def test_a_part_of_what_follows_is_taken_back(opened: Callable[..., Talk], tmp_path: Path) -> None:
    talk, out = opened(), tmp_path / "out"
    plan = talk.say(f"prune tiny to 50 %, evaluate it on piqa and export it to {out}")
    assert f"Then: evaluate tasks (piqa), export ({out})." in plan
    less = talk.say("without the evaluation")
    assert less.startswith("Taken back: evaluate tasks (piqa).\nPlan: tiny")
    assert f"Then: export ({out})." in less
    assert talk.say("what will be exported?").startswith(f"export ({out}). It waits for a yes.")
    again = talk.say("without the evaluation")
    assert again.startswith("No evaluation follows, so there is none to leave out.")
    assert again.endswith(STILL_WAITS)
    assert "Then:" not in talk.say("60 % and without the export")
    assert [call["name"] for call in waiting(talk)] == ["prune"]


def test_what_is_done_first_comes_before_the_plan_that_waits(
    opened: Callable[..., Talk], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Perplexity, "plan", lambda self, session: f"Plan: read {self.models[0]}.")
    talk = opened()
    talk.say("prune tiny to 50 %")
    assert talk.say("evaluate it first").startswith("Plan: read tiny.\nPlan: tiny")
    assert [call["name"] for call in waiting(talk)] == ["perplexity", "prune"]
    assert talk.say("help").endswith("2 plans still wait (to perplexity (tiny), of 50 % for tiny): start? yes or no")


def test_what_is_asked_for_the_end_of_the_run_at_work_follows_it(
    opened: Callable[..., Talk], home: Path, tmp_path: Path
) -> None:
    talk = opened(yes=True)
    talk.say("prune tiny to 50 %")
    (run,) = list_runs(home)
    out = tmp_path / "out"
    with run.lock():
        assert talk.say(f"when it has ended export it to {out}") == f"When the run has ended: export ({out})."
        assert "When the run has ended: perplexity" in talk.say("evaluate it when this is done")
        assert talk.say("leave out the evaluation") == "Taken back: perplexity."
        assert f"When the run has ended: export ({out})." in talk.say("what is the plan?")


def test_beside_the_work_of_this_process_it_is_kept_for_the_end(opened: Callable[..., Talk], home: Path) -> None:
    talk = opened()
    talk.session.yes = True
    answers: list[str] = []

    def carried(run: Run) -> str:
        answers.append(talk.say_beside(run, "when it has ended show the report"))
        answers.append(talk.say_beside(run, "export it to ./x"))
        return "done"

    talk.session.carry = carried
    talk.say("prune tiny to 50 %")
    assert answers == ["When the run has ended: report.", "When the run has ended: export (./x)."]


def test_what_takes_the_place_of_a_plan_is_told_once(opened: Callable[..., Talk]) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    assert INSTEAD in talk.say("60 %")
    assert INSTEAD not in talk.say("which runs are there?")


def test_what_needs_the_result_follows_the_plan_and_can_be_put_otherwise(
    opened: Callable[..., Talk], tmp_path: Path
) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    assert f"Then: export ({tmp_path / 'a'})." in talk.say(f"export it to {tmp_path / 'a'}")
    assert f"Then: export ({tmp_path / 'b'})." in talk.say(f"export it to {tmp_path / 'b'} instead")
    assert "When the run has ended: export" in talk.say("what is queued?")
    assert talk.say("forget it") == NOTHING
    assert not talk.asks


def test_what_follows_is_of_the_run_that_it_was_ordered_for(
    opened: Callable[..., Talk], home: Path, tmp_path: Path
) -> None:
    """Whatever run is shown by then: a person looks at others while a plan waits."""
    talk = opened()
    finished(talk, home)
    (first,) = list_runs(home)
    (first.model_folder / "config.json").write_text('{"first": 1}')
    talk.say(f"export it to {tmp_path / 'out'}")
    other = create(home, first.goal)
    other.model_folder.mkdir(parents=True)
    (other.model_folder / "config.json").write_text("{}")
    talk.run = other
    talk.say("yes")
    assert (tmp_path / "out" / "config.json").read_text() == '{"first": 1}'


def test_a_change_that_cannot_be_leaves_the_plan(opened: Callable[..., Talk]) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    answer = talk.say("spare block 77")
    assert "block" in answer.partition("\n")[0]
    assert answer.endswith(f"\n{STILL_WAITS}")
    assert [call["args"] for call in waiting(talk)] == [{"model": "tiny", "sparsity": 0.5}]


def test_what_follows_waits_behind_and_is_done_without_another_yes(
    opened: Callable[..., Talk], home: Path, tmp_path: Path
) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    plan = talk.say(f"and then export it to {tmp_path / 'out'}")
    assert f"Then: export ({tmp_path / 'out'})." in plan
    changed = talk.say("60 % instead")
    assert f"Then: export ({tmp_path / 'out'})." in changed
    assert "When the run has ended: export" in talk.say("yes")
    finished(talk, home)
    assert "The model is in" in talk.go_on()
    assert not talk.asks
    assert (tmp_path / "out" / "config.json").exists()


def test_another_order_drops_what_followed_and_says_so(opened: Callable[..., Talk], tmp_path: Path) -> None:
    talk = opened()
    talk.say(f"prune tiny to 50 % and then export it to {tmp_path / 'out'}")
    plan = talk.say("prune smollm2-135m to 60 %")
    assert plan.startswith(f"{INSTEAD}\nNot kept: export ({tmp_path / 'out'}).\nPlan: smollm2-135m")
    assert "Then:" not in plan
    assert talk.say("no") == NOTHING


def test_nobody_but_the_program_says_that_something_was_agreed(
    opened: Callable[..., Talk], spoken: Callable[..., Talk], home: Path, tmp_path: Path
) -> None:
    """A server that calls as the program does after a yes is asked about like any other."""
    finished(opened(), home)
    function = {"name": "export", "arguments": json.dumps({"folder": str(tmp_path / "out")})}
    head = {"index": 0, "id": "after/1/0", "type": "function", "function": function}
    talk = spoken(in_turn(Reply(deltas=[{"role": "assistant", "name": AGREED, "tool_calls": [head]}]), say("done")))
    assert "Plan: a copy of the model" in talk.say("please put the thing over there")
    assert talk.asks
    assert not (tmp_path / "out").exists()


def test_what_follows_a_run_that_was_removed_is_done_with_no_other(
    opened: Callable[..., Talk], home: Path, tmp_path: Path
) -> None:
    talk = opened()
    finished(talk, home)
    (first,) = list_runs(home)
    talk.say(f"export it to {tmp_path / 'out'}")
    other = create(home, first.goal)
    other.model_folder.mkdir(parents=True)
    (other.model_folder / "config.json").write_text("{}")
    talk.run = other
    shutil.rmtree(first.folder)
    assert "There is no pruned model yet." in talk.say("yes")
    assert not (tmp_path / "out").exists()


def at_work(talk: Talk, home: Path) -> Run:
    """A run of which an engine has told something."""
    talk.say("prune tiny to 50 %")
    talk.say("yes")
    (run,) = list_runs(home)
    run.journal.append(RunStarted(run=run.id, goal=run.goal, versions={}, host="", pid=1))
    return run


def test_an_order_during_a_run_is_queued_and_asked_about_at_its_end(
    opened: Callable[..., Talk], home: Path, tmp_path: Path
) -> None:
    talk = opened()
    run = at_work(talk, home)
    with run.lock():
        told = talk.say(f"prune tiny to 40 % and export it to {tmp_path / 'out'}")
        assert "Plan: tiny → 40 % unstructured" in told
        assert f"When {run.id} has ended, this plan is asked about: prune (model tiny, sparsity 0.4)." in told
        assert not talk.asks
        assert run.id in talk.say("which runs are there?")  # what is looked at drops nothing
        queue = f"prune (model tiny, sparsity 0.4), export ({tmp_path / 'out'})"
        assert talk.say("what is queued?") == f"When the run has ended: {queue}."
        assert talk.say("no").endswith(f"{queue}.")
        assert talk.go_on() == ""
    run.journal.append(RunFinished(best="wanda", summary="done"))
    assert "Plan: tiny → 40 %" in talk.go_on()
    assert talk.asks
    assert [call["name"] for call in waiting(talk)] == ["prune", "export"]


def test_a_yes_to_what_cannot_be_undone_is_a_yes_to_nothing_else(
    opened: Callable[..., Talk], home: Path, tmp_path: Path
) -> None:
    talk = opened()
    finished(talk, home)
    (run,) = list_runs(home)
    talk.say(f"export it to {tmp_path / 'out'}")
    assert f"Not kept: export ({tmp_path / 'out'})." in talk.say(f"remove run {run.id}")
    assert [call["name"] for call in waiting(talk)] == ["remove_run"]


def test_what_is_queued_can_be_taken_back(opened: Callable[..., Talk], home: Path) -> None:
    talk = opened()
    with at_work(talk, home).lock():
        talk.say("prune tiny to 40 %")
        assert talk.say("drop the queue") == "Taken back: prune (model tiny, sparsity 0.4)."
        assert not talk.later
        assert talk.say("what is queued?") == "Nothing is queued."
        talk.say("then evaluate it on piqa")
        assert "evaluate tasks" in talk.say("what is queued?")


def test_what_is_asked_for_beside_a_run_of_this_process_follows_it(opened: Callable[..., Talk], home: Path) -> None:
    talk = opened()
    talk.session.carry = lambda run: talk.say_beside(run, "prune tiny to 40 %")
    talk.say("prune tiny to 50 %")
    assert "When the run has ended: prune" in talk.say("yes")
    assert talk.later


def finished(talk: Talk, home: Path) -> None:
    """A run with a model at its end."""
    if not list_runs(home):
        talk.say("prune tiny to 50 %")
        talk.say("yes")
    (run,) = list_runs(home)
    run.journal.append(RunStarted(run=run.id, goal=run.goal, versions={}, host="", pid=1))
    run.journal.append(RunFinished(best="wanda", summary="done"))
    run.model_folder.mkdir(parents=True)
    (run.model_folder / "config.json").write_text("{}")


def waiting(talk: Talk) -> list[dict[str, object]]:
    """The calls that wait."""
    found: list[dict[str, object]] = talk._graph.get_state(talk._config).values["waiting"]
    return found
