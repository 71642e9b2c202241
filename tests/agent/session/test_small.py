"""A small model in conversation: few words, two questions under a schema, and nothing that the line does not say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.session.settings import load
from agent.session.talk import grammar
from agent.session.talk.conversation import Talk
from agent.session.talk.evidence import MARK
from agent.session.talk.small import MOST, Small, said_of
from agent.session.talk.speaker import speaker
from agent.session.talk.tools import TOOLS
from agent.session.talk.waiting import shown
from runs.run import list_runs
from tests.agent.loopback import Loopback, Reply, Script, in_turn, say, serving

Opened = Callable[[Script], tuple[Talk, Loopback]]
CHATTY = "hey there, would you be so good and take a third out of tiny for me"
"""A line that the grammar does not read."""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    with ExitStack() as stack:

        def of(script: Script) -> tuple[Talk, Loopback]:
            server = stack.enter_context(serving(script))
            monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            settings = load(tmp_path / "home", {"designer": "openai:test-1.5b"})
            talk = Talk(settings, lambda run: "")
            stack.callback(talk.close)
            talk.speaker = speaker(settings, talk.session)
            return talk, server

        yield of


def written(name: str, **arguments: Any) -> Reply:
    """A call as servers write it that hold an answer to a schema."""
    return say(json.dumps({"name": name, "arguments": arguments}))


def test_it_chooses_and_then_fills_in_each_under_a_schema(opened: Opened, tmp_path: Path) -> None:
    heard: list[str] = []
    talk, server = opened(
        in_turn(written("choose", tools=["prune"]), written("prune", model="tiny", sparsity=0.33, candidates=7))
    )
    assert isinstance(talk.speaker, Small)
    talk.session.hear = heard.append
    reply = talk.say(CHATTY)
    first, second = server.requests
    assert first["response_format"]["json_schema"]["schema"]["anyOf"][0]["properties"]["name"] == {"const": "choose"}
    (offered,) = second["response_format"]["json_schema"]["schema"]["anyOf"]
    assert offered["properties"]["name"] == {"const": "prune"}
    assert len(json.dumps(first["messages"])) < 5000
    assert len(json.dumps(second["messages"])) < 4500
    assert "tiny" in reply
    assert talk.asks
    assert "7 candidates" not in reply
    assert not [piece for piece in heard if "{" in piece]
    assert list_runs(tmp_path / "home") == []


def test_whoever_names_a_candidate_or_a_share_gets_no_mere_words(opened: Opened) -> None:
    talk, server = opened(in_turn(written("choose", tools=["candidates"]), written("candidates", names=["c-7"])))
    talk.say("so what the heck is that c-7 thing, buddy")
    talk.say("so what the heck is that thing, buddy")
    held = [request["response_format"]["json_schema"] for request in server.requests if "response_format" in request]
    offered = [form["schema"]["anyOf"][0] for form in held]
    choices = [json.dumps(one) for one in offered if one["properties"]["name"] == {"const": "choose"}]
    assert ['"words"' in choice for choice in choices] == [False, True]
    texts = {request["messages"][0]["content"] for request in server.requests if "choose" in json.dumps(request)}
    assert len({text for text in texts if "write an e-mail" in text}) == 1, "what is read stays the same"


def test_an_order_that_cannot_be_filled_in_is_not_answered_with_an_essay(opened: Opened) -> None:
    essay = say("C-12 is an atom of carbon.")
    talk, server = opened(in_turn(written("choose", tools=["prune"]), written("prune", sparsity=0.9), essay))
    assert talk.say("so what the heck is that c-7 thing, buddy").startswith(grammar.STRANGE)
    assert len(server.requests) == 2


def test_a_model_that_says_nothing_is_named(opened: Opened) -> None:
    talk, _ = opened(in_turn(written("choose", tools=["words"]), Reply(deltas=[])))
    first, second = talk.say("tell me a story about gardens").splitlines()[:2]
    assert "said nothing" in first
    assert second.startswith(grammar.STRANGE)


def test_what_the_grammar_reads_asks_no_model(opened: Opened) -> None:
    talk, server = opened(in_turn(say("nonsense")))
    assert talk.say("which runs are there?") == "There are no runs yet."
    talk.say("prune tiny to 50 % and send me an e-mail")
    assert not talk.asks
    assert server.requests == []


def test_words_are_marked_where_they_hold_numbers_that_nobody_said(opened: Opened) -> None:
    talk, _ = opened(in_turn(written("choose", tools=["words"]), say("Pruning keeps 97.5 % of it.")))
    assert f"97.5 {MARK}" in talk.say("tell me a story about gardens")


@pytest.mark.parametrize(
    "replies",
    [
        [written("choose", tools=["rm"])],
        [written("choose", tools=["export"] * (MOST + 5)), written("export", folder=["x"])],
        [written("approve")],
        [say("{" * 50)],
        [Reply(deltas=[])],
        [written("choose", tools=["prune"]), written("prune", model=7, sparsity="all")],
        [Reply(status=500)],
    ],
)
def test_whatever_it_says_the_turn_ends_and_nothing_runs(
    replies: list[Reply], opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.llm.journalled.WAIT", lambda state: 0.0)
    talk, server = opened(in_turn(*replies))
    assert talk.say("hey there, do what you like best")
    assert len(server.requests) < 12
    assert list_runs(tmp_path / "home") == []


@pytest.mark.parametrize(
    ("name", "args", "line", "kept"),
    [
        ("prune", {"model": "tiny", "sparsity": 0.5}, "half of tiny", {"model": "tiny", "sparsity": 0.5}),
        ("prune", {"model": "llama", "sparsity": 0.4}, "tiny to 40%", {"sparsity": 0.4}),
        ("prune", {"speedup": 1.4, "method": "wanda"}, "1,4 mal so schnell", {"speedup": 1.4}),
        ("prune", {"speedup": 1.5}, "150%", {}),
        ("prune", {"speedup": 1.2, "max_rise": 0.1}, "1.2x, within 10 %", {"speedup": 1.2, "max_rise": 0.1}),
        ("evaluate_tasks", {"tasks": ["arc_easy"], "samples": 10}, "ARC easy?", {"tasks": ["arc_easy"]}),
        ("evaluate_tasks", {"tasks": ["piqa", "mmlu"]}, "on piqa", {}),
        ("upload", {"repository": "me/x", "private": False}, "to me/x", {"repository": "me/x"}),
        ("steer", {"words": "go on"}, "leave OBS alone", {"words": "leave OBS alone"}),
        ("prune", {"delete": "tiny", "pattern": None}, "tiny", {}),
    ],
)
def test_only_what_the_line_says_is_kept(name: str, args: dict[str, Any], line: str, kept: dict[str, Any]) -> None:
    assert said_of(TOOLS[name], args, line) == kept


def test_a_plan_is_shown_as_always(opened: Opened) -> None:
    talk, _ = opened(in_turn(written("choose", tools=["prune"]), written("prune", model="tiny", sparsity=0.33)))
    talk.say(CHATTY)
    waiting = talk._graph.get_state(talk._config).values["waiting"]
    assert [call["name"] for call in waiting] == ["prune"]
    assert "tiny" in shown(waiting)
