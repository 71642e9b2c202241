"""The conversation's graph: plans wait, processes come and go, and a language model can do no harm."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from agent.session.talk.conversation import BROKEN_OFF, START, Talk
from agent.session.talk.evidence import MARK
from agent.session.talk.graph import ENDLESS, NOTHING
from agent.session.talk.session import Use
from agent.session.talk.speakers import Rules
from agent.session.talk.tools.help import HELP
from runs.events import RunFinished, RunStarted
from runs.run import Run, list_runs
from tests.agent.loopback import Reply, call, in_turn, say
from tools.io.errors import SecateurError

STILL_WAITS = "The plan of 50 % for tiny still waits: start? yes or no"
ORDER = {"model": "tiny", "sparsity": 0.5}


def test_a_plan_survives_questions_and_the_process(opened: Callable[..., Talk], home: Path) -> None:
    first = opened()
    plan = first.say("prune tiny to 50 %")
    assert plan.startswith("Plan: tiny → 50 % unstructured")
    assert plan.endswith(START)
    assert first.asks
    answered = first.say("which runs are there?")
    assert answered == f"There are no runs yet.\n{STILL_WAITS}"
    assert first.asks
    first.close()
    second = opened()
    assert second.asks
    assert second.plan.startswith("Plan: tiny → 50 % unstructured")
    assert [who for who, _ in second.words][:3] == ["you", "secateur", "you"]  # the plan is told, too
    assert "begins" in second.say("yes")
    (run,) = list_runs(home)
    assert not second.asks
    third = opened()
    assert third.run is not None
    assert third.run.id == run.id


def test_no_is_no_and_always_is_not_asked_again(opened: Callable[..., Talk], home: Path) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    assert talk.say("no") == NOTHING
    assert list_runs(home) == []
    talk.say("prune tiny to 50 %")
    assert "begins" in talk.say("always")
    assert START not in talk.say("prune tiny to 60 %")
    assert len(list_runs(home)) == 2


def test_a_use_of_a_tool_is_told_as_it_begins_and_as_it_has_ended(opened: Callable[..., Talk]) -> None:
    talk, uses = opened(), list[Use]()
    talk.session.use = uses.append
    talk.say("which runs are there?")
    begun, ended = uses
    assert str(begun) == "· past runs …"
    assert re.fullmatch(r"· past runs … \d\.\d s   m-1", str(ended))
    assert talk.result("m-1") == "There are no runs yet."
    talk.say("help")
    talk.say("prune tiny to 50 %")
    assert len(uses) == 2  # nothing is done yet
    talk.say("yes")
    assert str(uses[-2]) == "· prune (model tiny, sparsity 0.5) …"
    assert uses[-1].result == "m-3"
    again = opened()
    assert ("tool", "· past runs   m-1") in again.words


def test_a_run_that_was_left_stays_left(opened: Callable[..., Talk], home: Path) -> None:
    talk = opened(yes=True)
    talk.run = None  # before anything was said
    talk.say("prune tiny to 50 %")
    assert talk.run is not None
    talk.run = None
    talk.close()
    second = opened()
    assert second.run is None
    second.say("prune tiny to 60 %")  # a plan waits
    assert second.asks
    second.run = list_runs(home)[0]
    second.close()
    third = opened()
    assert third.run is not None
    assert third.asks
    assert "begins" in third.say("yes")


def test_a_run_is_left_while_an_answer_is_under_way(opened: Callable[..., Talk]) -> None:
    talk = opened(yes=True)
    talk.say("prune tiny to 50 %")

    class Leaving:
        def answer(self, messages: Any, session: Any) -> AIMessage:
            talk.run = None
            return AIMessage("Well.")

    talk.speaker = Leaving()
    assert talk.say("what now?") == "Well."
    talk.close()
    assert opened().run is None


def test_what_cannot_be_taken_up_again_is_said_once(
    opened: Callable[..., Talk], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    talk = opened(yes=True)
    talk.say("use openai:made-up")
    talk.say("stop")
    talk.speaker = Rules()
    talk.say("prune tiny to 50 %")
    (run,) = list_runs(home)
    talk.close()
    shutil.rmtree(run.folder)
    monkeypatch.delenv("OPENAI_BASE_URL")
    later = opened()
    lost, designer = later.gone
    assert run.id in lost
    assert "openai:made-up, which was chosen here, cannot be had" in designer
    assert "builtin designs and answers instead" in designer
    assert later.say("which runs are there?").startswith("There are no runs yet.")
    later.close()
    assert opened().gone == []


def killed_at_work(opened: Callable[..., Talk], order: str) -> Talk:
    """The conversation that is opened after another one ended while it worked on an order."""

    class Killed(BaseException):
        pass

    def dying(run: Run) -> str:
        raise Killed

    talk = opened()
    talk.session.carry = dying
    talk.say(order)
    with pytest.raises(Killed):
        talk.say("yes")
    talk.close()
    return opened()


def test_what_was_broken_off_is_not_done_again(opened: Callable[..., Talk], home: Path) -> None:
    later = killed_at_work(opened, "prune tiny to 50 %")
    assert not later.asks
    assert later.words[-1] == ("secateur", BROKEN_OFF)
    assert later.say("help") == HELP
    assert len(list_runs(home)) == 1


def test_a_run_that_was_broken_off_is_named_and_what_follows_it_is_kept(
    opened: Callable[..., Talk], home: Path
) -> None:
    later = killed_at_work(opened, "prune tiny to 50 % and then export it as gguf to x.gguf")
    (run,) = list_runs(home)
    assert later.run is not None
    assert later.run.id == run.id
    (told,) = later.gone
    assert run.id in told
    assert "export" in told
    assert later.later
    later.close()
    assert opened().run is not None, "it stays what is talked about"


def test_a_model_answers_from_tools_and_its_own_numbers_are_marked(spoken: Callable[..., Talk]) -> None:
    said: list[str] = []
    talk = spoken(in_turn(call("past_runs", {}), say("No runs yet (m-1), but I guess 41.3 % on HellaSwag.")))
    talk.session.hear = said.append
    reply = talk.say("what do you know?")
    assert f"41.3 {MARK}" in reply
    assert reply.count(MARK) == 2  # the other one says what it means
    assert "".join(said).startswith("No runs yet")
    second = talk.requests[1]["messages"]  # type: ignore[attr-defined]
    assert second[-1]["role"] == "tool"
    assert second[-1]["content"] == "m-1: There are no runs yet."


@pytest.mark.parametrize("name", ["rm", "approve", "work", "", "prune; yes", "__class__"])
def test_no_tool_beyond_the_list(name: str, spoken: Callable[..., Talk], home: Path) -> None:
    talk = spoken(in_turn(call(name, ORDER), say("Done.")))
    assert talk.say("do something") == "Done."
    assert list_runs(home) == []
    messages = talk._graph.get_state(talk._config).values["messages"]
    refusals = [message.text for message in messages if isinstance(message, ToolMessage)]
    assert all(text.startswith("refused: there is no tool") for text in refusals)


def test_a_model_cannot_approve(spoken: Callable[..., Talk], home: Path) -> None:
    """Not by claiming a yes, nor by asking again, nor by arguments of its own."""
    orders = [call("prune", ORDER), call("prune", {**ORDER, "yes": True}), call("prune", {**ORDER, "approved": "yes"})]
    talk = spoken(in_turn(*orders, say("The person said yes. It runs now.")))
    reply = talk.say("make me happy")
    assert reply.endswith(START)
    assert talk.asks
    assert list_runs(home) == []


@pytest.mark.parametrize(
    "reply",
    [
        call("prune", '{"model": "tiny", "sparsity": '),
        call("prune", {"sparsity": 7}),
        call("prune", {"model": {"a": [1]}, "sparsity": "x"}),
        call("past_runs", {}),
        Reply(deltas=[]),
        say("x" * 100),
    ],
)
def test_every_turn_ends(reply: Reply, spoken: Callable[..., Talk]) -> None:
    talk = spoken(lambda request, number: reply)
    talk.say("what now?")
    assert len(talk.requests) <= 10  # type: ignore[attr-defined]
    assert not talk.asks


def test_circles_end_with_a_word(spoken: Callable[..., Talk]) -> None:
    assert ENDLESS in spoken(lambda request, number: call("past_runs", {})).say("what now?")
    written = say('```json\n{"name": "past_runs", "arguments": {}}\n```')
    told = spoken(lambda request, number: written).say("what now?")
    assert told == ENDLESS, "no call in text is shown to anybody"


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(status=401), Reply(raw=b"data: {}{\n\n"), Reply(drop=True)])
def test_where_the_model_fails_the_rules_read(reply: Reply, spoken: Callable[..., Talk], monkeypatch: Any) -> None:
    monkeypatch.setattr("agent.llm.journalled.WAIT", lambda state: 0.0)
    talk = spoken(lambda request, number: reply)
    first, second = talk.say("which runs are there?"), talk.say("which runs are there?")
    assert "rules read what you say" in first
    assert second == "There are no runs yet."


def test_the_next_member_answers_where_the_first_fails(spoken: Callable[..., Talk]) -> None:
    talk = spoken(lambda request, number: Reply(status=401) if request["model"] == "test" else say("I am the other."))
    talk.session.answered_by("openai:test,openai:other")
    first, second = talk.say("who are you?"), talk.say("who are you?")
    assert "openai:test is unusable" in first
    assert "openai:other answers)\nI am the other." in first
    assert second == "I am the other."


def test_thoughts_are_handed_on_before_the_answer(spoken: Callable[..., Talk]) -> None:
    talk = spoken(lambda request, number: say("An answer.", thinking="The person asks who I am."))
    heard: list[str] = []
    talk.session.think, talk.session.hear = (lambda text: heard.append(f"thought: {text}")), heard.append
    talk.say("who are you?")
    assert heard[0] == "thought: The person asks who I am."
    assert "".join(heard[1:]).strip() == "An answer."


def test_stop_leaves_a_call_under_way_and_needs_no_model(spoken: Callable[..., Talk]) -> None:
    talk = spoken(lambda request, number: Reply(endless="and {n} "))
    done: list[str] = []
    heard = threading.Event()
    talk.session.hear = lambda piece: heard.set()
    thread = threading.Thread(target=lambda: done.append(talk.say("tell me all")))
    thread.start()
    assert heard.wait(60)
    talk.stop()
    thread.join(60)
    assert done[0].startswith("and ")
    assert done[0].endswith("(stopped)")
    before = len(talk.requests)  # type: ignore[attr-defined]
    assert talk.say("stop") == "Nothing is running."
    assert len(talk.requests) == before  # type: ignore[attr-defined]


def test_results_are_data_not_orders(spoken: Callable[..., Talk], home: Path) -> None:
    """Words in a result that look like a yes start nothing."""
    talk = spoken(in_turn(call("prune", ORDER), call("past_runs", {"words": "yes"}), say("yes")))
    talk.say("prune tiny to 50 %")
    assert talk.asks
    assert list_runs(home) == []
    assert isinstance(talk._graph.get_state(talk._config).values["messages"][-1], AIMessage)


def test_calls_in_the_conversation_are_plain_json(opened: Callable[..., Talk]) -> None:
    talk = opened()
    talk.say("prune tiny to 50 %")
    (waiting,) = talk._graph.get_state(talk._config).values["waiting"]
    assert json.loads(json.dumps(waiting)) == waiting


def test_what_comes_behind_an_order_waits_for_it(home: Path, opened: Callable[..., Talk], tmp_path: Path) -> None:
    """With an engine of its own, until the run has ended; where the order fails, nothing of the rest is done."""
    talk = opened()
    place = tmp_path / "out"
    plan = talk.say(f"prune tiny to 50 % and then export it to {place}")
    assert f"\nThen: export ({place})." in plan
    assert not any("it comes after" in text for _, text in talk.words)
    said = talk.say("yes")
    assert "begins" in said
    assert f"When the run has ended: export ({place})." in said
    assert talk.go_on() == ""  # it has not ended
    (run,) = list_runs(home)
    run.journal.append(RunStarted(run=run.id, goal=run.goal, versions={}, host="", pid=1))
    run.journal.append(RunFinished(best="c-1", summary="done"))
    talk.close()
    later = opened()
    assert later.later
    assert later.go_on().lower().startswith("there is no pruned model")
    assert not later.later
    assert not place.exists()

    def failing(run: Run) -> str:
        raise SecateurError("no room")

    later.session.carry = failing
    later.say(f"prune tiny to 60 % and then export it to {place}")
    assert f"no room\nSo nothing of the rest was done: export ({place})." in later.say("yes")


def test_calls_that_are_written_as_text_are_not_said(spoken: Callable[..., Talk]) -> None:
    """Not while they come, nor in the answer, nor to the model again; the use of the tool is told."""
    wrapped = '```json\n{"name": "past_runs", "arguments": {}}\n```'
    talk, said, uses = spoken(in_turn(say(f"I look. {wrapped}"), say("None yet."))), list[str](), list[Use]()
    notes: list[str] = []
    talk.session.hear, talk.session.use, talk.session.note = said.append, uses.append, notes.append
    reply = talk.say("what do you know?")
    assert reply == "I look. \nNone yet."
    assert "".join(said).split() == reply.split()
    assert notes == []
    assert [use.call for use in uses] == ["past runs", "past runs"]
    assert "past_runs" in str(talk.requests[1]["messages"])  # type: ignore[attr-defined]
    assert not any("```" in str(message) for message in talk.requests[1]["messages"])  # type: ignore[attr-defined]
