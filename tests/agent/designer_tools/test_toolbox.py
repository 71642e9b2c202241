"""What a step offers a language model, what it keeps, and when it is over."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.designer_tools.arguments import choosing_among
from agent.designer_tools.looks.compare import Compare
from agent.designer_tools.step import REFUSALS, Step
from agent.designer_tools.toolbox import DESIGN, LONGEST, LOOKING, MORE_LOOKS, REASON, Toolbox
from runs.candidate import Candidate
from runs.events import ToolUsed
from runs.fold.history import History
from runs.goal import Goal
from tools.recipe import Recipe

LOOKS = ["layer_statistics", "inspect_layers", "try_metric", "compare"]


class Book:
    """A recorder that keeps events in a list."""

    def __init__(self) -> None:
        self.events: list[ToolUsed] = []
        self.history = History()

    def __call__(self, event: ToolUsed) -> None:
        self.events.append(event)
        self.history.used.add((event.generation, event.name, event.arguments))


def begun(wanted: int = 2, **goal: object) -> tuple[Step, Any]:
    """A step over one measured candidate."""
    history = History()
    history.candidates["c-1"] = Candidate(id="c-1", recipe=Recipe(sparsity=0.5, metric="W * X"), operator="seed")
    asked = Goal.of(**{"model": "tiny", "sparsity": 0.5, **goal})
    situation: Any = SimpleNamespace(goal=asked, generation=1, history=history)
    nobody: Any = None
    return Step(situation, nobody, Path(), wanted), Book()


def called(box: Toolbox, name: str, **arguments: object) -> str:
    return str(next(tool for tool in box.tools if tool.name == name).invoke(arguments))


@pytest.mark.parametrize(
    ("pattern", "proposals"),
    [
        (
            {"kind": "unstructured"},
            ["propose_metric", "propose_allocation", "propose_rates", "propose_recipe", "crossover"],
        ),
        ({"kind": "n:m", "n": 2, "m": 4}, ["propose_metric"]),
    ],
)
def test_a_design_step_offers_what_the_pattern_leaves_open(pattern: object, proposals: list[str]) -> None:
    step, record = begun(pattern=pattern)
    assert [tool.name for tool in Toolbox(step, record, DESIGN).tools] == [*LOOKS, "recall", *proposals, "finish"]


def test_a_reason_step_writes_thoughts_and_forgets_memory_where_the_run_does() -> None:
    step, record = begun(recall=False)
    box = Toolbox(step, record, REASON)
    assert [tool.name for tool in box.tools] == [*LOOKS, "write_thought", "finish"]
    told = called(box, "write_thought", kind="lesson", text="Rows of few outliers bear more.", about=["c-1"])
    assert told == "written down (1)"
    assert [(thought.kind, thought.about) for thought in step.thoughts] == [("lesson", ("c-1",))]
    unknown = called(box, "write_thought", kind="lesson", text="Something else altogether.", about=["c-9"])
    assert unknown.startswith("refused: c-9 is not known")


def test_the_same_is_not_answered_twice_and_its_tool_goes() -> None:
    step, record = begun()
    box = Toolbox(step, record, REASON)
    first = called(box, "compare", candidates=["c-1"])
    assert first == "c-1: not measured: " + str(step.situation.history.candidates["c-1"].recipe)
    assert box.offered("compare")
    assert called(box, "compare", candidates=["c-1"]).startswith("refused: you asked exactly this before")
    assert not box.offered("compare")
    assert [event.result for event in record.events] == [first], "the journal tells every call once"


def test_looks_end_and_so_does_a_step_of_refusals() -> None:
    step, record = begun(wanted=1)
    box = Toolbox(step, record, REASON)
    assert called(box, "finish", why="x") == "refused: nothing is proposed or written down yet: do that first"
    for number in range(2, 1 + REFUSALS):
        assert box.offered("compare") == (number - 2 < step.wanted + MORE_LOOKS)
        assert not step.done
        assert called(box, "compare", candidates=[f"c-{number}"]).startswith(f"refused: c-{number} is not known")
    assert step.done
    assert not any(box.offered(name) for name in LOOKING)
    assert box.offered("finish")
    assert called(box, "finish", why="x") == "done"


def test_an_answer_is_cut_to_what_any_model_reads() -> None:
    step, record = begun()
    known = step.situation.history.candidates
    known["c-1"] = known["c-1"].model_copy(update={"parents": ("p" * LONGEST,)})
    answer = called(Toolbox(step, record, REASON), "compare", candidates=["c-1"])
    assert len(answer) == LONGEST
    assert answer.endswith("…")


def test_only_measured_candidates_can_be_named() -> None:
    schema = choosing_among(Compare, ["c-1", "c-4"]).model_json_schema()
    assert schema["properties"]["candidates"]["items"]["enum"] == ["c-1", "c-4"]
    assert schema["description"] == Compare.__doc__
    assert choosing_among(Compare, []) is Compare
