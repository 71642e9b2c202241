"""Sixty requests as people make them: read by the grammar, called by a scripted model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.session.settings import load
from agent.session.talk import conversation, grammar
from agent.session.talk.conversation import Talk
from agent.session.talk.session import Session
from agent.session.talk.speaker import speaker
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.tool import SessionTool
from tests.agent.loopback import Reply, say, serving, usage


def requests(name: str) -> list[dict[str, Any]]:
    lines = (Path(__file__).parents[1] / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


REQUESTS = requests("requests.jsonl")
OTHERS = requests("requests_of_others.jsonl")
"""Said otherwise: what people ask of pruning tools, orders with several parts, more languages."""
OPENINGS = {"not understood": "I did not understand", "cannot be meant": "That cannot be meant: "}


def meant(request: dict[str, Any]) -> list[SessionTool]:
    return [TOOLS[call["name"]].model_validate(call["args"]) for call in request.get("calls", ())]


def session() -> Session:
    return Session(load(Path("home")), lambda run: "")


def test_there_are_sixty_a_dozen_of_them_in_other_languages() -> None:
    assert len({request["said"] for request in REQUESTS}) == 60
    assert sum(request["language"] != "en" for request in REQUESTS) >= 12
    assert all(("calls" in request) != ("answer" in request) for request in REQUESTS)


def test_without_a_model_most_are_done_right_and_none_wrong() -> None:
    assert read_as_meant(REQUESTS) == 60


def test_what_others_ask_is_done_right_too() -> None:
    assert read_as_meant(OTHERS) == len(OTHERS)


def read_as_meant(asked: list[dict[str, Any]]) -> int:
    """How many are read as they are meant; none may be read as something else."""
    right, wrong = 0, []
    for request in asked:
        found = grammar.read(request["said"], session())
        if isinstance(found, str):
            answer = request.get("answer", "not understood")
            opening = OPENINGS.get(answer, answer)
            honest = found.startswith(opening) and request.get("names", "") in found
            right += honest and "answer" in request
            wrong += [] if honest else [(request["said"], found)]
        elif found == meant(request):
            right += 1
        else:
            wrong.append((request["said"], repr(found)))
    assert wrong == []
    return right


def test_a_scripted_model_calls_what_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[SessionTool] = []

    def recording(kind: type[SessionTool]) -> type[SessionTool]:
        def work(self: SessionTool, about: Session) -> str:
            done.append(kind.model_validate(self.model_dump()))
            return "done"

        return type(kind.__name__, (kind,), {"plan": lambda self, about: "", "work": work, "__doc__": kind.__doc__})

    by_words = {request["said"]: request for request in REQUESTS}

    def script(asked: dict[str, Any], count: int) -> Reply:
        last = asked["messages"][-1]
        if last["role"] == "tool":
            return say("That is done.")
        request = by_words[last["content"]]
        return calls(request["calls"]) if "calls" in request else say("That I cannot tell.")

    monkeypatch.setattr(conversation, "TOOLS", {name: recording(kind) for name, kind in TOOLS.items()})
    with serving(script) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        talk = Talk(load(tmp_path / "home", {"designer": "openai:scripted"}), lambda run: "")
        talk.speaker = speaker(talk.settings, talk.session)
        for request in REQUESTS:
            done.clear()
            answer = talk.say(request["said"])
            assert done == meant(request), request["said"]
            assert "calls" in request or answer == "That I cannot tell."
        talk.close()


def calls(wanted: list[dict[str, Any]]) -> Reply:
    pieces = [
        {
            "index": index,
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
        }
        for index, call in enumerate(wanted)
    ]
    return Reply(deltas=[{"tool_calls": [piece]} for piece in pieces], usage=usage())
