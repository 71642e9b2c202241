"""What a screen shows of a run, without a screen."""

from __future__ import annotations

from typing import Any

import pytest

from runs.candidate import Candidate
from runs.designers import NEVER_ASKED, nothing_usable
from runs.events import (
    PLANNED,
    Answered,
    Asked,
    CandidateMeasured,
    CandidateProposed,
    Extended,
    Note,
    Replied,
    RunInterrupted,
    Said,
    Selected,
    Spoke,
    Thought,
    ToolUsed,
)
from runs.fold.history import History
from runs.fold.summary import summary
from runs.goal import Goal
from tools.recipe import Allocation, Compensation
from tui.app.commands import COMMANDS, matching, parse
from tui.app.panes.candidates import COLUMNS, RECIPE, alike, arranged, differing, rows, told
from tui.app.screens import candidate_text
from tui.app.slash import SlashCommands
from tui.app.view import Ending, Generation, RunView, Speech, ToolLine, Words
from tui.app.widgets.folded import told_in_a_line, told_in_full
from tui.app.widgets.links import ids
from tui.app.widgets.status import parts
from tui.text.ending import card, meant


def seen(events: list[Any]) -> RunView:
    view = RunView()
    for event in events:
        view.observe(event)
    return view


@pytest.mark.parametrize(
    ("note", "told"),
    [
        (nothing_usable("openai:q", 1), "openai:q proposed nothing usable in 1 of 1 generations after the seeds"),
        (f"{NEVER_ASKED}: seeds took all 3 candidates", "no LLM was asked: seeds took all 3 candidates"),
        ("openai:q is being asked", ""),
    ],
)
def test_the_card_says_where_nothing_was_designed_by_the_model(note: str, told: str, story: Any) -> None:
    story.goal = Goal(model="tiny", sparsity=0.5, designer="openai:q")
    events = story.whole().events
    last = next(i for i, event in enumerate(events) if isinstance(event, Selected))
    more = [Note(text=note), Selected(generation=1, population=("c-2",), best="c-2")]
    found = summary(History.of([*events[: last + 1], *more, *events[last + 1 :]]))
    assert found.stood_in.startswith(told)
    assert bool(found.stood_in) == bool(told)
    assert ("\ndesign " in card(found)) == bool(told)


def test_a_run_becomes_a_conversation(story: Any) -> None:
    view = seen(story.whole().events)
    generation, *others = view.entries
    assert isinstance(generation, Generation)
    assert len(generation.cards) == 3
    (ending,) = others
    assert isinstance(ending, Ending)
    for part in ("50.0 % by c-2", "perplexity 41.9 beside dense 22.8, wanda 50.9 (builtin/test", "/models/out"):
        assert part in ending.text
    assert "zeros alone make nothing faster" in ending.text
    assert view.next_steps == ending.steps
    assert meant("5.", ending.steps) == "make tiny 1.4 times faster"
    assert meant("40", ending.steps) == "40"
    line = told_in_a_line(generation, view).plain
    assert line == "▸ generation 0   3 designs   2 measured   1 rejected   best ★ c-2 KL 0.900"
    whole = told_in_full(generation, view, 100).plain
    for part in ("★ c-2", "KL 0.900   sqr(W) * X", "rejected: duplicate of c-1", "why a try", "c-2 leads"):
        assert part in whole
    assert view.state == "finished"
    assert view.history.curve == [0.9]
    assert view.outcome("c-2") == "KL 0.800 over 2,048 tokens, KL 0.900 over 16,384 tokens, 41.9 on the held-out text"
    assert view.outcome("c-3") == "rejected: duplicate of c-1"


def test_only_what_changed_is_drawn_again(story: Any) -> None:
    story.start().propose("c-1", "W").propose("c-2", "W * X")
    view = seen(story.events)
    assert view.drain() == [0]
    assert view.drain() == []
    story.measure("c-2", 0.5)
    view.observe(story.events[-1])
    assert view.drain() == [0]
    story.select("c-2").propose("c-3", "W", generation=1)
    for event in story.events[-2:]:
        view.observe(event)
    assert view.drain() == [0, 1]


def test_speech_is_heard_piece_by_piece_and_ends_with_the_whole_answer(story: Any) -> None:
    view = seen(story.start().events)
    view.observe(Asked(call="1/design/1", model="m", messages=()))
    assert view.doing == "designing"
    for piece in ("Block 0 ", "is skewed"):
        view.observe(Spoke(call="1/design/1", text=piece))
    view.observe(Spoke(call="1/design/1", text="hm", thinking=True))
    (speech,) = view.entries
    assert speech == Speech("1/design/1", thinking="hm", text="Block 0 is skewed")
    assert view.visible(0)
    view.observe(Answered(call="1/design/1", text="Block 0 is skewed, so spare it.", thinking="hm", tokens_in=5))
    assert speech == Speech("1/design/1", thinking="hm", text="Block 0 is skewed, so spare it.", done=True)
    assert not view.visible(0)
    assert view.entries[1] == Generation(0, [speech])
    assert view.doing == "starting"
    assert view.spent.tokens == 5
    # Asked again after a crash, it speaks from the start.
    view.observe(Spoke(call="1/design/1", text="Anew"))
    assert (speech.text, speech.done) == ("Anew", False)


def test_what_was_echoed_is_not_shown_twice(story: Any) -> None:
    view = seen(story.start().events)
    view.echo(Words("you", "spare block 0"))
    view.observe(Said(text="spare block 0"))
    view.observe(Said(text="spare block 0"))
    view.observe(Replied(text="done"))
    assert [entry.text for entry in view.entries if isinstance(entry, Words)] == [
        "spare block 0",
        "spare block 0",
        "done",
    ]
    assert view.history.said == ["spare block 0", "spare block 0"]


def test_a_tool_reads_like_a_call() -> None:
    tool = ToolUsed(name="layer_statistics", arguments='{"name": "skew"}', result="0: 2.2", seconds=0.2, generation=1)
    (generation,) = seen([tool]).entries
    assert isinstance(generation, Generation)
    (line,) = generation.members
    assert isinstance(line, ToolLine)
    assert line.line == "· layer statistics (skew) … 0.2 s"


def test_the_state_follows_the_journal(story: Any) -> None:
    view = seen(story.start().events)
    view.observe(RunInterrupted())
    assert view.state == "interrupted"
    view.observe(story.start().events[-1])
    assert view.state == "working"


def test_the_table_has_the_references_and_marks_rough_numbers(story: Any) -> None:
    found = {row.name: row for row in rows(seen(story.whole().events))}
    assert set(found) == {"c-1", "c-2", "magnitude", "wanda", "dense"}
    assert found["c-1"].cells[1].strip() == "(1.00)"
    assert found["c-2"].cells[0] == "★ c-2"
    assert (found["wanda"].selection, found["wanda"].test) == (None, 50.9)
    order = sorted(found.values(), key=lambda row: row.key(1))
    assert [row.name for row in order][:2] == ["dense", "c-2"]


def test_a_column_of_the_table_holds_numbers_of_one_text_and_the_winner_has_a_row(story: Any) -> None:
    """The winner was made at the end: it has no divergence, and finalists have no number on the held-out text."""
    story.start().survey().reference("wanda", 1.0).reference("magnitude", 2.0)
    story.propose("c-1", "W * X").measure("c-1", 1.0).propose("c-2", "W").measure("c-2", 0.8).propose("c-3", "W * D")
    story.select("c-2")
    for name, perplexity in (("c-2", 10.6), ("c-3", 9.9)):
        measured = story.measurement(perplexity, "perplexity")
        story.events.append(CandidateMeasured(at=story.at(), candidate_id=name, recipe_id="r", measurement=measured))
    story.final("dense", 15.4, None, 0.0).final("wanda", 50.9, "W * X").final("c-3", 17.2, "W * D").finish("c-3")
    view = seen(story.events)
    found = {row.name: row for row in rows(view)}
    cells = {name: [cell.strip() for cell in row.cells[:4]] for name, row in found.items()}
    assert COLUMNS[:4] == ("#", "KL search", "ppl select", "ppl test")
    assert cells == {
        "c-1": ["c-1", "1.00", "·", "·"],
        "c-2": ["c-2", "0.800", "10.6", "·"],
        "c-3": ["★ c-3", "·", "9.90", "17.2"],
        "wanda": ["wanda", "1.00", "·", "50.9"],
        "magnitude": ["magnitude", "2.00", "·", "·"],
        "dense": ["dense", "0.000", "·", "15.4"],
    }
    order = [[row.name for row in sorted(found.values(), key=lambda row: row.key(column))] for column in range(4)]
    assert order[1] == ["dense", "c-2", "c-1", "wanda", "magnitude", "c-3"]
    assert order[2][:2] == ["c-3", "c-2"]
    assert order[3][:3] == ["dense", "c-3", "wanda"]
    assert view.outcome("c-3") == ("perplexity 9.90 on the selection text, 17.2 on the held-out text")


def test_the_winner_of_a_method_has_the_star(story: Any) -> None:
    view = seen(story.start().final("dense", 15.4, None, 0.0).final("wanda", 50.9, "W * X").finish("wanda").events)
    assert [row.cells[0] for row in rows(view)] == ["  dense", "★ wanda"]


def test_a_candidate_is_told_in_full_with_the_protocol(story: Any) -> None:
    view = seen(story.whole().events)
    text = candidate_text(view, "c-2").plain
    for part in ("sqr(W) * X", "16,384 tokens of builtin/search", "41.9", "4 windows of 512", "float32 on cpu"):
        assert part in text


def test_the_status_line_leaves_out_whole_parts_and_keeps_the_state(story: Any) -> None:
    view = seen(story.whole().events)
    wide, state = parts(view, 160)
    assert state == "✔ finished"
    assert "tiny → 50 % unstructured" in wide
    assert "run calm-heron-7" in wide
    for width in range(30, 160):
        left, right = parts(view, width)
        assert right == state
        assert len(left) + len(right) <= width or left == "secateur"
        assert all(part in wide for part in left.split("   "))


def test_money_and_extended_budgets_are_counted(story: Any) -> None:
    story.whole()
    view = seen([*story.events, Answered(call="1/design/1", money=0.25), Extended(candidates=3)])
    assert "$0.25" in parts(view, 200)[0]


def test_thoughts_are_told_with_their_kind() -> None:
    (entry,) = seen([Thought(id="t-1", kind="lesson", text="spare [block] 0")]).entries
    assert entry == Generation(0, [Words("lesson", "spare [block] 0", source="t-1")])


def test_ids_in_text_are_found_once() -> None:
    assert ids("c-12 beats c-3 (t-4, m-7); c-12 again, abc-1, c-") == ["c-12", "c-3", "t-4", "m-7"]


def test_every_command_is_done_and_found_by_its_beginning() -> None:
    for command in COMMANDS:
        assert callable(getattr(SlashCommands, f"command_{command.name}"))
        assert parse(f"/{command.name} a b")[0] == command
        assert command in matching(f"/{command.name[:2]}")
    assert {name.removeprefix("command_") for name in vars(SlashCommands) if name.startswith("command_")} == {
        command.name for command in COMMANDS
    }
    found, arguments = parse("/comp one two")
    assert found is not None
    assert (found.name, arguments) == ("compare", ["one", "two"])
    assert parse("/c")[0] is None  # candidates, compare or copy
    assert parse("/")[0] is None
    assert matching("prune") == []


def test_the_table_shows_in_what_recipes_differ(story: Any) -> None:
    """And tells once what they have in common."""
    story.start()
    for number, kind in enumerate(("none", "obs"), 1):
        recipe = story.recipe("W * X").model_copy(update={"compensation": Compensation(kind=kind)})
        candidate = Candidate(id=f"c-{number}", recipe=recipe, operator="seed", why="")
        story.events.append(CandidateProposed(at=story.at(), candidate=candidate))
        story.measure(f"c-{number}", 0.5)
    found = rows(seen(story.events))
    assert [COLUMNS[column] for column in differing(found)] == ["with"]
    assert alike(found) == ["W * X", "uniform"]
    assert differing(found[:1]) == [4, 5, 6]


def test_rows_that_read_alike_say_what_differs(story: Any) -> None:
    """As the first seeds of a run by width, whose allocations are rates."""
    story.start()
    shapes = ((0.3, 0.5, 0.7), (0.3, 0.6, 0.7), (0.3, 0.4, 0.7), (0.2, 0.5, 0.8))
    for number, vector in enumerate(shapes, 1):
        allocation = Allocation(expression=None, vector=vector)
        recipe = story.recipe("W * X").model_copy(update={"allocation": allocation})
        candidate = Candidate(id=f"c-{number}", recipe=recipe, operator="seed", why="")
        story.events.append(CandidateProposed(at=story.at(), candidate=candidate))
        story.measure(f"c-{number}", 0.5)
    column = COLUMNS.index("allocation")
    assert [row.cells[column] for row in rows(seen(story.events))] == [
        "rates 30 to 70 %, unit 1 50 %",
        "rates 30 to 70 %, unit 1 60 %",
        "rates 30 to 70 %, unit 1 40 %",
        "rates 20 to 80 %",
    ]


def test_a_narrow_table_cuts_nothing_of_a_recipe(story: Any) -> None:
    """Columns that do not fit become one, whose lines are broken."""
    story.start().propose("c-1", "W * X").measure("c-1", 1.0).propose("c-2", "sqr(W) * X_var / D").measure("c-2", 0.8)
    found = rows(seen(story.events))
    assert [column for column, _ in arranged(found, 100)] == [0, 1, 2, 3, 4, 6]
    columns = arranged(found, 50)
    assert [column for column, _ in columns] == [0, 1, 2, 3, RECIPE]
    assert sum(width + 2 for _, width in columns) == 50
    assert [told(row, RECIPE, differing(found)) for row in found][:2] == ["W * X, OBS", "sqr(W) * X_var / D, OBS"]


def test_the_winner_is_in_the_table_also_where_it_was_made_at_the_end(story: Any) -> None:
    story.start().propose("c-1", "W").measure("c-1", 1.0).measure("c-1", 1.2, tokens=16384)
    measured = story.measurement(40.0, "perplexity")
    story.events.append(CandidateMeasured(candidate_id="c-1+obs", recipe_id="r", measurement=measured))
    view = seen(story.final("c-1+obs", 41.9, "W").finish("c-1+obs").events)
    (row,) = (row for row in rows(view) if row.leads)
    assert (row.name, row.selection, row.test) == ("c-1+obs", 40.0, 41.9)
    assert view.history.best == "c-1"
    assert view.history.curve[-1] == 1.2


def test_an_answer_that_the_journal_brings_first_is_known(story: Any) -> None:
    view = RunView()
    view.echo(Words("you", "how does it stand?", said=True))
    view.observe(Replied(at=story.at(), text="Nothing yet."))
    assert view.brought("Nothing yet.")
    view.echo(Words("you", "how does it stand?", said=True))
    assert not view.brought("Nothing yet."), "that was the answer before"
    view.echo(Words("secateur", "Nothing yet.", said=True))
    heard = [view.last_words]
    assert not view.brought("Nothing yet.", heard)


def test_what_was_said_with_a_plan_below_it_is_not_shown_again(story: Any) -> None:
    view = RunView()
    view.echo(Words("secateur", "Nothing yet.\nThe plan still waits: start? yes or no", said=True))
    view.observe(Replied(at=story.at(), text="Nothing yet."))
    view.observe(Replied(at=story.at(), text=PLANNED))
    assert [entry.text for entry in view.entries if isinstance(entry, Words)] == [view.last_words.text]


def test_a_number_over_fewer_tokens_stands_in_brackets(story: Any) -> None:
    story.start().propose("c-1", "W").measure("c-1", 0.9, tokens=16384).select("c-1")
    story.propose("c-2", "W * X", generation=1).measure("c-2", 0.1, tokens=2048)
    view = seen(story.events)
    first, second = (entry for entry in view.entries if isinstance(entry, Generation))
    assert told_in_a_line(first, view).plain.endswith("KL 0.900")
    assert "c-2 KL (0.100)" in told_in_a_line(second, view).plain
    assert "KL (0.100)" in told_in_full(second, view, 100).plain


def test_what_all_recipes_are_compensated_by_is_told_in_each_row(story: Any) -> None:
    story.start()
    for number, metric in enumerate(("W", "W * X"), 1):
        recipe = story.recipe(metric).model_copy(update={"compensation": Compensation(kind="obs")})
        candidate = Candidate(id=f"c-{number}", recipe=recipe, operator="seed", why="")
        story.events.append(CandidateProposed(at=story.at(), candidate=candidate))
        story.measure(f"c-{number}", 0.5)
    found = rows(seen(story.events))
    assert [told(row, RECIPE, differing(found)).lower() for row in found][:2] == ["w, obs", "w * x, obs"]
    assert alike(found) == ["uniform"]
