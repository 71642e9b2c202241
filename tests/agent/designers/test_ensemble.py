"""Several language models design in turn, and several conversations are held at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent.context import Context
from agent.designers.bandit import choose
from agent.designers.choose import check, designer
from agent.designers.language import divided
from agent.engine import work
from agent.recorder import Recorder
from runs.designers import designers_of
from runs.events import Answered, Asked, CandidateMeasured, CandidateProposed, Chosen, Note
from runs.fold.designers import Share, share, shares
from runs.fold.history import History
from runs.goal import Budget
from runs.report import write
from runs.run import Run, create, list_runs
from tests.agent.designers.scripted import WHY, generation, goal, good, step
from tests.agent.loopback import Reply, call, serving
from tools.io.errors import UsageError
from tui.cli import run as cli

BOTH = "openai:able,openai:idle"
PRICES = '["openai:able"]\nread = 10000\nwrite = 0\n["openai:idle"]\nread = 20000\nwrite = 0\n'


def moody(request: dict[str, Any], number: int) -> Reply:
    """One member proposes, the other never does."""
    if request["model"] == "idle":
        return call("finish", WHY)
    return proposing(request)


def proposing(request: dict[str, Any]) -> Reply:
    """Proposals that differ between conversations: what the first prompt says decides."""
    if step(request) == "reason":
        return call("finish", WHY)
    first = sum(map(ord, str(request["messages"][1]["content"])))
    done = sum(message["role"] == "assistant" for message in request["messages"])
    metric = {"expression": f"W * X ** {0.2 + (first % 97) / 100 + done / 5:.3f}", "base": "c-1", **WHY}
    return call("propose_metric", metric) if done < 6 else call("finish", WHY)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run of two members, two conversations a step, with prices of their own."""
    home = tmp_path_factory.mktemp("home")
    (home / "prices.toml").write_text(PRICES)
    run = create(home, goal(designer=BOTH, parallel=2, budget=Budget(candidates=14)))
    with serving(moody) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", server.url)
        work(run)
    return run


def test_the_journal_tells_who_was_chosen_and_who_proposed(ensemble: Run) -> None:
    events = ensemble.journal.read()
    chosen = [e for e in events if isinstance(e, Chosen)]
    assert [(e.topic, e.designer) for e in chosen[:2]] == [("1/design", "openai:able"), ("1/design-2", "openai:idle")]
    assert {e.why for e in chosen[:2]} == {"not asked before"}
    assert "improved on the best: drew" in chosen[2].why
    proposed = [e.candidate for e in events if isinstance(e, CandidateProposed) and e.candidate.generation]
    proposed = [candidate for candidate in proposed if candidate.designer]  # finalists have none
    assert {candidate.designer for candidate in proposed} == {"openai:able"}
    history = ensemble.history()
    able, idle = (share(history, name) for name in designers_of(BOTH))
    assert able.made == len(proposed)
    assert (idle.made, idle.improved) == (0, 0)
    assert idle.judged == sum(e.wanted for e in chosen if e.designer == "openai:idle") > idle.asked, "none was made"
    assert able.judged >= able.made


def test_every_member_costs_its_own_price(ensemble: Run) -> None:
    history = ensemble.history()
    able, idle = (share(history, name) for name in designers_of(BOTH))
    assert able.tokens % 120 == idle.tokens % 120 == 0
    assert able.money == pytest.approx(able.tokens / 120)  # 100 tokens read, 10000 dollars a million
    assert idle.money == pytest.approx(2 * idle.tokens / 120)
    assert able.money + idle.money == pytest.approx(history.ledger.money)


def test_standing_and_report_say_what_each_contributed(ensemble: Run) -> None:
    from agent.session.talk.known import advice

    history = ensemble.history()
    able, idle = shares(history)
    line = f"openai:able: {able.made} proposed, {able.improved} improved on the best so far"
    for told in (advice.standing(history), advice.lessons(history)):
        assert line in told
        assert "openai:idle: 0 proposed, 0 improved" in told
    assert "by openai:able" in advice.about(history, [history.generation(1)[0].id])
    write(ensemble)
    assert "Who designed" in ensemble.report_md.read_text()
    assert "openai:idle" in ensemble.report_html.read_text()
    assert idle.money > 0


def test_a_replay_asks_the_same_without_a_model(ensemble: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert cli(["runs", "replay", ensemble.id, "--home", str(ensemble.home)]) == 0
    replay = next(run for run in list_runs(ensemble.home) if run.id != ensemble.id)

    def told(run: Run) -> list[Any]:
        events = run.journal.read()
        chosen = [(e.topic, e.designer, e.why) for e in events if isinstance(e, Chosen)]
        made = [(e.candidate.id, e.candidate.designer) for e in events if isinstance(e, CandidateProposed)]
        return [chosen, made, [(e.recipe_id, e.measurement.value) for e in events if isinstance(e, CandidateMeasured)]]

    assert told(replay) == told(ensemble)


def test_who_brings_nothing_is_followed_by_who_was_not_asked(at_work: Any) -> None:
    context = at_work(moody, designer="openai:idle,openai:able")
    made = generation(context)
    assert {event.candidate.designer for event in made} == {"openai:able"}
    chosen = [e for e in context.recorder.run.read() if isinstance(e, Chosen)]
    assert [(e.topic, e.designer) for e in chosen] == [("1/design", "openai:idle"), ("1/design-2", "openai:able")]
    assert not [e for e in context.recorder.run.read() if isinstance(e, Note) and "nothing usable" in e.text]


def test_conversations_with_a_server_are_held_at_once(at_work: Any) -> None:
    """Every conversation's first call is answered only once all three are there."""
    together = threading.Barrier(3)

    def waiting(request: dict[str, Any], number: int) -> Reply:
        answer = proposing(request)
        first = step(request) == "design" and not any(m["role"] == "assistant" for m in request["messages"])
        return replace(answer, before=together) if first else answer

    context = at_work(waiting, parallel=3)
    made = generation(context)
    assert not together.broken
    asked = {e.call for e in context.recorder.run.read() if isinstance(e, Asked)}
    assert {"1/design/1", "1/design-2/1", "1/design-3/1"} <= asked
    assert {event.candidate.designer for event in made} == {"openai:test"}
    assert len(made) == 5, "as many as the budget has left, dealt to three"


def test_what_is_proposed_at_once_does_not_depend_on_who_is_first(at_work: Any) -> None:
    """The same script with other delays gives the same candidates in the same order; so does a killed run."""

    def made(late: int) -> tuple[list[Any], Context]:
        def script(request: dict[str, Any], number: int) -> Reply:
            slow = step(request) == "design" and number % 3 == late
            return replace(proposing(request), pause=0.15 if slow else 0.0)

        context = at_work(script, parallel=3)
        return [event.candidate for event in generation(context)], context

    (first, context), (second, _) = made(0), made(1)
    assert [(c.id, c.recipe) for c in first] == [(c.id, c.recipe) for c in second]
    run = context.recorder.run
    lines = run.journal.path.read_bytes().splitlines(keepends=True)
    answers = [i for i, line in enumerate(lines) if b'"event":"answered"' in line]
    run.journal.path.write_bytes(b"".join(lines[: answers[len(answers) // 2] + 1]))
    record = Recorder(run)
    resumed = Context(record, run.home, designer(run.goal, record, run.home))
    resumed._model, resumed._bench, resumed._parts = context._model, context._bench, context._parts
    assert [event.candidate.recipe for event in generation(resumed)] == [c.recipe for c in first]


def test_a_stop_leaves_all_conversations(at_work: Any) -> None:
    def endless(request: dict[str, Any], number: int) -> Reply:
        if step(request) == "reason":
            return call("finish", WHY)
        context.recorder.run.stop()
        return Reply(endless="and {n} ")

    context = at_work(endless, parallel=3)
    assert generation(context) == []
    assert not [e for e in context.recorder.run.read() if isinstance(e, Answered) and "design" in e.call]
    assert not [thread.name for thread in threading.enumerate() if "carry" in thread.name]


def test_tokens_are_capped_with_several_at_once(at_work: Any) -> None:
    context = at_work(lambda request, number: proposing(request), parallel=3, budget=Budget(candidates=10, tokens=600))
    generation(context)
    assert context.recorder.ledger.spent.tokens <= 600 + 3 * 120
    assert any("budget of 600 tokens is spent" in e.text for e in context.recorder.run.read() if isinstance(e, Note))


def test_a_server_without_tool_calls_is_found_out_once_by_all(at_work: Any) -> None:
    def no_tools(request: dict[str, Any], number: int) -> Reply:
        if "tools" in request:
            return Reply(status=400)
        held = "response_format" in request
        assert held, "JSON by schema is not given up because two conversations failed with tools"
        return Reply(deltas=[{"content": '{"name": "finish", "arguments": {"why": "x"}}'}])

    context = at_work(no_tools, parallel=3)
    generation(context)
    told = [e.text for e in context.recorder.run.read() if isinstance(e, Note) and "knows no" in e.text]
    assert len(told) == 1


def test_the_bandit_asks_whoever_improves_and_follows_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    members, fresh = ("openai:a", "openai:b"), History()
    assert choose(fresh, members, 1, (), Random(0)).designer == "openai:a"
    assert choose(fresh, members, 1, ("openai:a",), Random(0)).designer == "openai:b"

    def known(history: History, name: str, before: int) -> Share:
        return Share(name, asked=4, made=12, judged=12, improved=9 if name == "openai:b" else 2, tokens=0, money=0.0)

    monkeypatch.setattr("agent.designers.bandit.share", known)
    picks = [choose(fresh, members, 9, (), Random(seed)).designer for seed in range(200)]
    assert picks == [choose(fresh, members, 9, (), Random(seed)).designer for seed in range(200)]
    assert picks.count("openai:b") > 180, "Beta(10, 4) lies above Beta(3, 11) nearly always"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai:a,builtin", "builtin is no language model"),
        ("openai:a,openai:a", "named twice"),
        ("openai:a,b", '"b" is not known'),
        ("openai:a,", '"" is not known'),
        ("openai:a,openai:b,openai:c,openai:d,openai:e", "at most 4"),
        ("openai:a,replay:x", "replay:x is no language model"),
    ],
)
def test_what_can_be_no_ensemble_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check(name)


def test_a_member_that_the_server_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr("agent.session.endpoints.served", lambda base: ["a", "b:latest"])
    check("openai:a,openai:b")
    with pytest.raises(UsageError, match=r"openai:c is not to be had: http://127.0.0.1:9/v1 serves a, b:latest"):
        check("openai:a,openai:c")


def test_names_are_told_apart() -> None:
    assert designers_of("openai:a, local:./x,y,self") == ("openai:a", "local:./x,y", "self")
    assert designers_of("replay:/a,b") == ("replay:/a,b",)
    assert divided(6, 4) == [2, 2, 1, 1]
    assert divided(2, 3) == [1, 1]


def test_money_cannot_be_capped_where_a_member_has_no_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    run = create(tmp_path, goal(designer="openai:gpt-4o,openai:new", budget=Budget(candidates=4, money=1.0)))
    with pytest.raises(UsageError, match="the price of openai:new is not known"):
        designer(run.goal, Recorder(run), run.home)


def test_one_designer_is_asked_as_ever(at_work: Any) -> None:
    context = at_work(good)
    generation(context)
    events = context.recorder.run.read()
    assert not [e for e in events if isinstance(e, Chosen)]
    assert shares(context.recorder.history) == []
    assert {e.call.rpartition("/")[0] for e in events if isinstance(e, Asked)} == {"1/reason", "1/design"}
