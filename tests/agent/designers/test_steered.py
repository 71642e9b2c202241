"""What a person says while a language model designs: it is read between calls and binds; a stop leaves a call."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from agent.context import Context
from agent.designers.choose import MOST_TOKENS
from agent.nodes.measure import measure
from agent.nodes.select import select
from runs.events import Answered, Asked, Heeded, Stage
from tests.agent.designers.scripted import WHY, generation, good, step
from tests.agent.loopback import Reply, call

WHOLE = {"base": "c-1", "allocation": "uniform", "width": 0.05, "granularity": "block", "group": "row", **WHY}


def test_what_is_said_between_two_calls_is_in_the_second_and_binds(at_work: Any) -> None:
    requests: list[str] = []

    def fitted(request: dict[str, Any], number: int) -> Reply:
        requests.append(json.dumps(request))
        if step(request) == "reason":
            return call("finish", WHY)
        if len([text for text in requests if "propose_recipe" in text]) == 1:
            context.recorder.run.say("no OBS from now on")
            return call("layer_statistics", {"name": "skew"})
        return call("propose_recipe", {**WHOLE, "metric": "W * X ** 0.7", "compensation": "obs"})

    context = at_work(fitted)
    made = generation(context)
    assert "it binds whatever you propose from here on: no OBS from now on" in requests[-1]
    assert any("the person said: no OBS" in text for text in requests)
    assert {event.candidate.recipe.compensation.kind for event in made} <= {"none"}
    heard = [event.text for event in context.recorder.run.read() if isinstance(event, Heeded)]
    assert heard == ["read before call 1/design/2: no OBS from here on"]


def test_a_stop_leaves_the_call_that_is_under_way(at_work: Any) -> None:
    def endless(request: dict[str, Any], number: int) -> Reply:
        context.recorder.run.stop()
        return Reply(endless="and {n} ")

    context = at_work(endless)
    assert generation(context) == []
    events = context.recorder.run.read()
    assert len([event for event in events if isinstance(event, Asked)]) == 1
    assert not [event for event in events if isinstance(event, Answered)]
    assert any(isinstance(e, Stage) and e.detail == "openai:test is being asked (1/reason)" for e in events)
    state: Any = {"generation": 1, "enough": ""}
    runtime: Any = SimpleNamespace(context=context)
    assert select(measure(state, runtime), runtime)["enough"] == "the person asked to stop"
    assert len(context.recorder.run.read()) > len(events)


def test_half_of_the_candidates_are_the_models(begun: Context) -> None:
    history = begun.recorder.history
    assert len(history.ledger.charged) == 5
    assert set(history.rejected.values()) == {"half of the candidates are left to openai:test"}


def test_every_call_has_a_limit_of_tokens(at_work: Any) -> None:
    limits: list[Any] = []

    def noted(request: dict[str, Any], number: int) -> Reply:
        limits.append(request.get("max_tokens"))
        return good(request, number)

    generation(at_work(noted))
    assert set(limits) == {MOST_TOKENS}
