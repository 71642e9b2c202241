"""The reproduction file: what it holds of a journal, that it is read back the same, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runs.events import Event, Extended, RunStarted, SurveyDone, Timed
from runs.fold.history import History
from runs.goal import Goal
from runs.report import write
from runs.report.reproducible import reproduction
from runs.reproduction import LARGEST, Machine, Measured, Reproduction, Subject, Text, Times, load
from runs.run import create
from tools.io.errors import SecateurError
from tools.recipe import Allocation, Calibration, Recipe, Request, Structured

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
REQUEST = Request(batch=1, prompt=64, new=4)


def rows(recipe: Recipe, perplexity: float = 50.9, sparsity: float = 0.5) -> tuple[Measured, ...]:
    dense = Measured(name="dense", role="dense", recipe=None, perplexity=22.8, sparsity=0.0, tokens=126)
    return dense, Measured(
        name="c-2", role="result", recipe=recipe, perplexity=perplexity, sparsity=sparsity, tokens=126
    )


def a_file(**fields: Any) -> Reproduction:
    text = Text(source="builtin", windows=2, length=64, sha256=C)
    known: dict[str, Any] = {
        "run": "calm-heron-7",
        "program": "0.1.0",
        "libraries": {"torch": "2.9"},
        "machine": Machine(device="cpu", hardware="Zen", threads=2),
        "model": Subject(name="tiny", fingerprint="f00d", configuration=A, tokenizer=B, dtype="float32"),
        "calibration": text,
        "test": text,
        "seed": 0,
        "rows": rows(Recipe(metric="W * X", sparsity=0.5)),
    }
    return Reproduction(**known | fields)


def known_again(events: Sequence[Event]) -> list[Event]:
    """The journal as it is written today: what model, texts and machine are known again by."""
    more: dict[type[Any], dict[str, Any]] = {
        SurveyDone: {"configuration": A, "tokenizer": B, "texts": {"calibration": C, "test": D}},
        RunStarted: {"hardware": "Zen", "threads": 2, "versions": {"torch": "2.9", "chromadb": "1", "secateur": "0.1"}},
    }
    return [event.model_copy(update=more.get(type(event), {})) for event in events]


def test_a_journal_becomes_the_table_and_all_that_decides_it(story: Any) -> None:
    story.goal = Goal(model="tiny", sparsity=0.5, calibration=Calibration(source="/my.txt", seed=3), seed=5)
    found = reproduction(History.of(known_again(story.whole().events)))
    assert found is not None
    assert [(row.name, row.role, row.perplexity, row.sparsity, row.tokens) for row in found.rows] == [
        ("dense", "dense", 22.8, 0.0, 2048),
        ("wanda", "reference", 50.9, 0.5, 2048),
        ("c-2", "result", 41.9, 0.5, 2048),
    ]
    assert [row.recipe and row.recipe.metric for row in found.rows] == [None, "W * X", "sqr(W) * X"]
    assert found.calibration == Text(source="/my.txt", windows=16, length=512, seed=3, sha256=C)
    assert found.test == Text(source="builtin", windows=16, length=512, sha256=D)
    assert found.model == Subject(name="tiny", fingerprint="f00d", configuration=A, tokenizer=B, dtype="float32")
    assert found.machine == Machine(device="cpu", hardware="Zen", threads=2)
    assert (found.libraries, found.program, found.seed) == ({"torch": "2.9"}, "0.1", 5)


def test_there_is_none_before_a_table_and_none_of_an_old_journal(story: Any) -> None:
    events = known_again(story.whole().events)
    first = next(i for i, event in enumerate(events) if event.event == "final_measured")
    assert [reproduction(History.of(events[:end])) is None for end in (1, first, first + 1)] == [True, True, False]
    assert reproduction(History.of(story.events)) is None
    with pytest.raises(SecateurError, match="not started yet"):
        reproduction(History.of([]))


def test_the_machine_is_that_of_the_engine_that_measured_the_result(story: Any) -> None:
    events = known_again(story.whole().events)
    other = events[0].model_copy(update={"threads": 8})
    last = next(i for i, event in enumerate(events) if getattr(event, "name", "") == "c-2")
    resumed, read_later = [*events[:last], other, *events[last:]], [*events, Extended(candidates=1), other]
    found = [reproduction(History.of(of)) for of in (resumed, read_later)]
    assert [of.machine.threads for of in found if of] == [8, 2]


def test_what_layers_cost_is_kept(story: Any) -> None:
    timed = Timed(request=REQUEST, attention={1: 0.1, 2: 0.25}, mlp={8: 1 / 3}, whole=1.5)
    found = reproduction(History.of([*known_again(story.whole().events), timed]))
    assert found is not None
    assert found.times == Times(request=REQUEST, attention={1: 0.1, 2: 0.25}, mlp={8: 1 / 3}, whole=1.5)


def test_it_is_written_beside_the_report_which_says_how_to_use_it(tmp_path: Path, story: Any) -> None:
    run = create(tmp_path / "my home", story.goal)
    story.run = run.id
    for event in known_again(story.whole().events):
        run.journal.append(event)
    write(run)
    assert load(run.reproduction_file) == reproduction(run.history())
    command = f"secateur reproduce '{run.reproduction_file}'"
    assert f"- again: `{command}` measures this table anew" in run.report_md.read_text()
    assert f"<code>{command.replace(chr(39), '&#39;')}</code>" in run.report_html.read_text()


def test_where_there_is_none_the_report_names_none(tmp_path: Path, story: Any) -> None:
    run = create(tmp_path, story.goal)
    for event in story.whole().events:
        run.journal.append(event)
    write(run)
    assert not run.reproduction_file.exists()
    assert "secateur reproduce" not in run.report_md.read_text() + run.report_html.read_text()


@given(
    perplexity=st.floats(min_value=0, exclude_min=True),
    sparsity=st.floats(0, 1),
    rates=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    seconds=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
def test_every_number_and_name_is_read_back_as_it_was(
    perplexity: float, sparsity: float, rates: list[float], seconds: float, name: str, tmp_path_factory: Any
) -> None:
    recipe = Recipe(
        metric="W * X",
        sparsity=0.3,
        pattern=Structured(kind="width", request=REQUEST),
        allocation=Allocation(expression=None, vector=tuple(rates)),
    )
    file = a_file(
        run=name,
        rows=rows(recipe, perplexity, sparsity),
        times=Times(request=REQUEST, attention={3: seconds}, mlp={64: seconds}, whole=seconds),
    )
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(file.yaml, encoding="utf-8")
    found = load(path)
    assert found == file
    assert [repr(value) for row in found.rows for value in row.numbers.values()] == [
        repr(value) for row in file.rows for value in row.numbers.values()
    ]


def test_infinity_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(a_file(rows=rows(Recipe(metric="W", sparsity=0.5), math.inf)).yaml)
    assert load(path).rows[1].perplexity == math.inf


GOOD = a_file().yaml


def edited(**fields: Any) -> str:
    return yaml.safe_dump(yaml.safe_load(GOOD) | fields)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no fields"),
        ("- 1\n", "holds no fields"),
        ("a: [\n", "not plain YAML (line 2: "),
        ("a: \x00", "not plain YAML"),
        ("[" * 100_000, "not plain YAML (maximum recursion"),
        ("a: &a [x]\nb: [*a, *a]\n", "not plain YAML (it holds an alias)"),
        ("a: &a {x: 1}\nb: {<<: [*a, *a]}\n", "not plain YAML (it holds an alias)"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("a: !!bool x\n", "not plain YAML"),
        ("a: " + "9" * 10_000, "not plain YAML"),
        ("x" * (LARGEST + 1), "larger than 500,000 bytes"),
        ("run: x\n", "it names no format"),
        (edited(format=2), "its format is 2, this program reads 1"),
        (edited(format=True), "its format is True"),
        (edited(format="1" * 1000), "its format is '1111"),
        (edited(more=1), "more: Extra inputs are not permitted"),
        (edited(**{"m" * 1000: 1}), "mmmm…"),
        (edited(rows=[]), "rows: "),
        (edited(rows="none"), "rows: "),
        (GOOD.replace("windows: 2", "windows: 1000000000"), "calibration.windows: Input should be less"),
        (GOOD.replace("length: 64", "length: two"), "calibration.length: "),
        (GOOD.replace(C, "c0ffee"), "calibration.sha256: "),
        (GOOD.replace("threads: 2", "threads: 1000000000"), "machine.threads: "),
        (GOOD.replace("perplexity: 50.9", "perplexity: .nan"), "rows.1.perplexity: "),
        (GOOD.replace("sparsity: 0.5\n    metric", "sparsity: 2\n    metric"), "rows.1.recipe.sparsity: "),
        (GOOD.replace("role: result", "role: dense"), "rows.1: every row has a recipe but"),
        (GOOD.replace("name: c-2", "name: dense"), "two rows have one name"),
    ],
)
def test_what_is_none_is_refused_in_one_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(SecateurError) as caught:
        load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: is not a reproduction file")
    assert says in line
    assert len(line) < len(str(path)) + 300
    assert "\n" not in line


def test_a_recipe_that_counts_time_needs_the_times(tmp_path: Path) -> None:
    recipe = Recipe(metric="W", sparsity=0.3, pattern=Structured(kind="width", request=REQUEST))
    with pytest.raises(ValueError, match="c-2 counts the time of batch 1, 64 tokens in, 4 out, and times holds none"):
        a_file(rows=rows(recipe))


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="cannot be read"):
        load(tmp_path / name)
