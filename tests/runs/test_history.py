"""The one fold of the journal."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runs import events as kinds
from runs.events import (
    Answered,
    Asked,
    Extended,
    Happened,
    Heeded,
    Note,
    Progress,
    Recalled,
    Replied,
    RunFailed,
    RunInterrupted,
    Said,
    Selected,
    Spoke,
    Stage,
    Unreadable,
)
from runs.fold.history import History
from runs.fold.summary import summary
from runs.fold.tally import eta, standing
from runs.fold.thoughts import thought_graph
from runs.goal import Budget, Goal

ROOT = Path(__file__).parents[2]
KINDS = {name for name, of in vars(kinds).items() if isinstance(of, type) and issubclass(of, Happened)}
WRITES_OUT = {
    "agent/session/talk/speaker.py": "pieces of an answer go to the screen as they come",
    "runs/journal.py": "loses a line of progress rather than wait for the disk",
    "runs/report/transcript.py": "questions and answers, one after another",
    "runs/run.py": "the inbox is no journal",
    "tui/app/view.py": "one entry of the conversation for one event",
    "tui/text/plain.py": "one line for one event",
}
"""Who asks an event for its kind beside the fold, and why: to write it out as it is, and to decide nothing."""


def asks_for_kinds(module: Path) -> set[str]:
    """The kinds of events that a module tells apart, in `match` or `isinstance`."""
    found: set[str] = set()
    known: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "runs.events":
            known |= {alias.name for alias in node.names}
        if isinstance(node, ast.MatchClass):
            found |= _names(node.cls)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "type"):
            found |= {name for argument in node.args[1:] for name in _names(argument)}
    return found & known & KINDS


def _names(node: ast.expr) -> set[str]:
    parts = ast.walk(node)
    return {part.attr if isinstance(part, ast.Attribute) else part.id for part in parts if _named(part)}


def _named(part: ast.AST) -> bool:
    return isinstance(part, ast.Attribute | ast.Name)


def modules() -> Iterator[Path]:
    for room in ("agent", "memory", "runs", "tools", "tui"):
        yield from (ROOT / room).rglob("*.py")
    yield ROOT / "secateur.py"


def test_nobody_else_asks_an_event_for_its_kind() -> None:
    asking = {str(module.relative_to(ROOT)) for module in modules() if asks_for_kinds(module)}
    assert asking - {"runs/fold/history.py"} == set(WRITES_OUT)


@pytest.fixture
def long(story: Any) -> Any:
    """A search that was talked to, killed, taken up, ended and extended."""
    story.goal = Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=4))
    story.start()

    def add(kind: type[Happened], **fields: Any) -> None:
        story.events.append(kind(at=story.at(), **fields))

    add(Stage, name="memory")
    add(Recalled, entries=())
    add(Stage, name="search")
    add(Asked, call="1/design/1", model="m", messages=())
    add(Spoke, call="1/design/1", text="I th")
    add(Answered, call="1/design/1", text="I think", tokens_in=5, tokens_out=6, money=0.5)
    story.propose("c-1", "W").measure("c-1", 0.9).reject("c-1", "NaN", measured=True)
    add(Progress, stage="search", done=1, total=4)
    add(Said, text="stop")
    story.start()
    add(Note, text="resumed")
    add(Stage, name="search")
    story.propose("c-2", "W * X", parents=("c-1",)).measure("c-2", 0.7).select("c-2")
    story.final("dense", 22.8, None, 0.0).final("c-2", 41.9, "W * X").finish("c-2")
    add(Extended, candidates=2)
    return story


def test_event_by_event_it_comes_to_what_the_whole_journal_does(long: Any) -> None:
    for events in (long.events, type(long)().whole().events):
        fed = History()
        for length, event in enumerate(events, 1):
            fed.observe(event)
            whole = History.of(events[:length])
            assert thought_graph(fed) == thought_graph(whole)
            assert (standing(fed), eta(fed)) == (standing(whole), eta(whole))
            assert fed.ledger.settled == whole.ledger.settled
            assert summary(fed) == summary(whole)
        fed.ledger.stand_still()
        assert fed == History.of(events)


def test_a_stage_of_an_engine_that_was_killed_ends_with_what_it_said_last(story: Any) -> None:
    story.start()
    begun = story.at()
    killed = [
        Stage(at=begun, name="model"),
        Note(at=begun + timedelta(seconds=3), text="opened"),
        story.events[0].model_copy(update={"at": begun + timedelta(seconds=300)}),
        Stage(at=begun + timedelta(seconds=301), name="model"),
        Stage(at=begun + timedelta(seconds=308), name="search"),
    ]
    history = History.of([*story.events, *killed])
    assert [step.seconds for step in history.stages.steps[-3:]] == [3.0, 7.0, None]


def test_what_nobody_read_yet_outlives_a_question_that_is_answered_in_between(story: Any) -> None:
    """An engine that dies before it reads an order: what is asked of the run until it goes on takes nothing away."""
    history = History.of(story.start().events)
    for event in (Said(text="spare block 4"), Said(text="what happened?"), Replied(text="It broke off.")):
        history.observe(event)
    assert history.words() == ["spare block 4"]
    assert [place for place in history.orders if place >= history.heeded] == [0]
    history.observe(Heeded(text="Block 4 stays whole.", words=1))
    assert [place for place in history.orders if place >= history.heeded] == []
    history.observe(Said(text="no OBS"))
    assert [place for place in history.orders if place >= history.heeded] == [2]
    for event in (Said(text="how far is it?"), Replied(text="Half.")):
        history.observe(event)
    history.observe(Heeded(text="No OBS.", words=2))
    assert (history.words(), history.heeded) == (["spare block 4", "no OBS"], 3)
    for event in (Said(text="and now?"), Replied(text="Done.")):
        history.observe(event)
    assert history.heeded == 5


def test_who_leads_is_who_ranks_first(story: Any) -> None:
    chance = random.Random(7)
    story.start()
    for number in range(1, 9):
        story.propose(f"c-{number}", "W * X")
    history = History.of(story.events)
    for _ in range(200):
        number, tokens = chance.randint(1, 8), chance.choice([64, 256, 1024])
        story.measure(f"c-{number}", ((number * tokens) % 5) / 10, tokens)  # the same tokens give the same divergence
        history.observe(story.events[-1])
        assert history.best == history.ranked()[0].id


def test_it_tells_how_the_run_stands(long: Any) -> None:
    states = [History.of(long.events[:length]).state for length in range(len(long.events) + 1)]
    assert states == ["new", *["working"] * (len(long.events) - 2), "finished", "interrupted"]
    history = History.of(long.events[:-1])
    assert (history.winner, history.leading, history.best) == ("c-2", "c-2", "c-2")
    assert (history.run, history.goal, len(history.starts)) == (long.run, long.goal, 2)
    assert (history.said, history.words(), history.notes) == (["stop"], ["stop"], ["resumed"])
    assert history.lowest == {2048: [0.9, 0.7]}
    assert (len(history.dialogue), history.asking) == (2, False)
    assert history.ledger.settled.tokens == 11
    for event, state in ((RunFailed(reason="disk full"), "failed"), (RunInterrupted(), "interrupted")):
        history.observe(event)
        assert history.state == state
    assert history.problem == "disk full"


def test_more_that_is_asked_for_takes_nothing_from_disk(long: Any) -> None:
    history = History.of(long.events)
    assert (history.saved, history.words(since=history.extended_at), history.extended) == (None, [], True)
    assert history.last_saved is not None
    assert summary(history).output == "/models/out"
    history.observe(Selected(generation=1, population=("c-2",), best=None))
    assert (history.extended, history.leading) == (False, "c-2")


def test_a_candidate_counts_once_and_the_pace_is_that_of_the_engine_at_work(long: Any) -> None:
    upto = next(i for i, event in enumerate(long.events) if isinstance(event, Selected))
    history = History.of(long.events[:upto])
    # c-1 was measured by the engine before: twenty seconds for c-2, and two more are allowed.
    assert eta(history) == pytest.approx(2 * 20)
    assert standing(history) == "candidate 2/4   best c-2 KL 0.700   eta 0:40"


def test_who_measured_a_final_number(long: Any) -> None:
    history = History.of(long.events)
    assert history.engine_of("c-2") is history.starts[1]
    lost = [long.events[-4], *long.events[-3:], long.events[0]]  # what told of the engine before
    assert History.of(lost).engine_of("c-2") is long.events[0]


def test_lost_lines_are_told_of(story: Any) -> None:
    story.start().propose("c-1", "W")
    assert not History.of(story.events).incomplete
    torn = History.of([*story.events, Unreadable(at=story.at(), text="1 line cannot be read")])
    assert torn.incomplete
    assert torn.damage == torn.notes == ["1 line cannot be read"]
    assert History.of(story.propose("c-3", "W").events).incomplete


def test_who_is_near_is_judged_on_the_longest_text_that_both_read(story: Any) -> None:
    story.start()
    for name, first, second in (("c-1", 0.5, 0.9), ("c-2", 0.9, 0.95)):
        story.propose(name, "W").measure(name, first, tokens=1024).measure(name, second, tokens=16384)
    history = History.of(story.events)
    best, other = history.candidates["c-1"], history.candidates["c-2"]
    assert history.near(other, best)  # 1.8 times on the short text, 1.06 times on the long one
