from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from runs.events import (
    CandidateMeasured,
    CandidateProposed,
    Continued,
    Extended,
    RunFailed,
    RunInterrupted,
    SurveyDone,
    Thought,
)
from runs.fold.history import History
from runs.fold.summary import summary
from runs.fold.thoughts import thought_graph
from runs.fold.words import number
from runs.goal import Goal
from runs.journal import decode, encode
from runs.report import write
from runs.report.plots import pareto
from runs.report.render import render_card, render_html, render_markdown
from runs.run import create
from tools.io.errors import SecateurError
from tools.measure.continuation import Continuation
from tools.prune.reach import Reach

NASTY = '<script>alert("x")</script> | `tick` *star* [link](http://e) & {{ 7*7 }}\n# head'


class Tags(HTMLParser):
    """Collects what a browser would act upon."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_json_object_has_exactly_the_promised_keys(story: Any) -> None:
    story.goal = Goal(model="tiny", sparsity=0.5)
    data = summary(History.of(story.whole().events)).as_json()
    assert list(data) == [
        "run",
        "recipe",
        "metric",
        "pattern",
        "sparsity",
        "reach",
        "removed",
        "perplexity",
        "tasks",
        "protocol",
        "speedup",
        "candidates",
        "designers",
        "stood_in",
        "seconds",
        "output",
    ]
    assert data["run"] == "calm-heron-7"
    assert data["recipe"]["metric"] == data["metric"] == "sqr(W) * X"
    assert data["pattern"] == "unstructured"
    assert data["perplexity"] == {"dense": 22.8, "result": 41.9, "references": {"wanda": 50.9}}
    assert data["candidates"] == 2
    assert data["seconds"] == 10 * (len(story.events) - 1)
    assert data["output"] == "/models/out"
    json.dumps(data, allow_nan=False)


def test_what_the_sparsity_is_a_share_of_stands_in_json_report_and_card(story: Any, new_story: Any) -> None:
    story.whole()
    survey = next(i for i, event in enumerate(story.events) if isinstance(event, SurveyDone))
    reach = Reach(weights=110, blocks=1000, model=2000)
    story.events[survey] = story.events[survey].model_copy(update={"reach": reach})
    found = summary(History.of(story.events))
    assert (found.as_json()["reach"], found.as_json()["removed"]) == (0.11, 0.0275)
    said = "The sparsity is of 11.0 % of the blocks' weights, 5.5 % of the model's; 2.8 % of all weights are zero."
    assert found.extent == said
    assert said in render_card(found, "")
    assert said in render_markdown(found)
    assert said.replace("'", "&#39;") in render_html(found)
    assert summary(History.of(new_story().whole().events)).extent == ""  # journals of before it was noted


def test_sparsity_is_the_measured_one_and_infinity_is_null(story: Any) -> None:
    story.start().final("dense", 22.8, None, 0.0).final("c-1", math.inf, "W", sparsity=0.4987).finish("c-1")
    data = summary(History.of(story.events)).as_json()
    assert data["sparsity"] == 0.4987
    assert data["perplexity"]["result"] is None


def test_the_table_goes_from_dense_over_references_to_the_winner(story: Any) -> None:
    result = summary(History.of(story.whole().events))
    assert [(row.name, row.role) for row in result.table] == [
        ("dense", "dense"),
        ("wanda", "reference"),
        ("c-2", "result"),
    ]
    assert result.winner is not None
    assert result.winner.description == "sqr(W) * X, OBS"
    assert result.verdict == "c-2 beats every reference: perplexity 41.9 against 50.9 of wanda (dense 22.8)."
    assert [(trial.candidate.id, trial.value, trial.tokens) for trial in result.trials] == [
        ("c-1", 1.0, 2048),
        ("c-2", 0.9, 16384),
    ]
    assert result.rejected == (("c-3", "duplicate of c-1"),)


def test_a_search_that_did_not_win_says_so(story: Any) -> None:
    story.start().final("dense", 22.8, None, 0.0).final("wanda", 40.0, "W * X").final("c-1", 40.0, "W").finish("c-1")
    verdict = summary(History.of(story.events)).verdict
    assert verdict == "c-1 does not beat wanda: perplexity 40.0 against 40.0 (dense 22.8)."


@pytest.mark.parametrize(("allowed", "words"), [(0.9, "stays within the 90 %"), (0.5, "breaks the 50 %")])
def test_the_limit_that_was_asked_for_is_answered(story: Any, allowed: float, words: str) -> None:
    story.goal = Goal(model="tiny", sparsity=0.5, max_perplexity_rise=allowed)
    assert words in summary(History.of(story.whole().events)).verdict


def test_a_named_method_is_the_result_not_its_own_reference(story: Any) -> None:
    story.goal = Goal(model="tiny", sparsity=0.5, method="wanda")
    story.start().final("dense", 22.8, None, 0.0).final("wanda", 50.9, "W * X").finish("wanda")
    result = summary(History.of(story.events))
    assert result.verdict == "wanda: perplexity 50.9 (dense 22.8)."
    assert result.as_json()["perplexity"]["references"] == {}


def test_every_moment_of_a_run_can_be_reported(story: Any) -> None:
    events = story.whole().events
    with pytest.raises(SecateurError, match="not started yet"):
        summary(History.of([]))
    for end in range(1, len(events) + 1):
        result = summary(History.of(events[:end]))
        assert render_html(result).count("<h1>") == 1
        assert render_markdown(result).startswith("# tiny")
        assert result.as_json()["run"] == "calm-heron-7"


def test_a_second_winner_is_told_of_and_the_first_is_no_reference(story: Any) -> None:
    story.whole()
    assert "in turn" not in summary(History.of(story.events)).verdict
    story.events.append(Extended(candidates=1))
    story.propose("c-4", "W").measure("c-4", 0.7).final("c-4", 40.0, "W").finish("c-4")
    found = summary(History.of(story.events))
    assert [row.name for row in found.table] == ["dense", "wanda", "c-4"]
    assert found.verdict.endswith("The held-out text was read for 2 winners in turn.")


def test_the_state_is_that_of_the_last_engine(story: Any) -> None:
    failed = [*story.start().events, RunFailed(reason="disk full")]
    assert summary(History.of(failed)).state == "failed: disk full"
    assert summary(History.of([*failed, failed[0], RunInterrupted()])).state == "not finished"
    assert summary(History.of(story.whole().events)).state == "finished"


def test_text_from_the_journal_cannot_act(story: Any) -> None:
    story.run = NASTY
    story.goal = Goal(model=NASTY, sparsity=0.5)
    story.start().survey().reference(NASTY, 1.0).propose("c-1", NASTY).measure("c-1", 0.5)
    story.final("dense", 22.8, None, 0.0).final(NASTY, 30.0, NASTY).final("c-1", 25.0, NASTY).finish("c-1")
    story.events.append(RunFailed(reason=NASTY))
    result = summary(History.of(story.events))
    page = Tags(render_html(result))
    assert "script" not in page.tags
    assert "a" not in page.tags
    assert page.links == []
    markdown = render_markdown(result)
    outside_code = [line for line in markdown.split("## Recipe")[0].splitlines() if "script" in line]
    assert outside_code
    assert all("\n# head" not in line and "<script>" not in _without_code(line) for line in outside_code)


LINKS = "https://e.example www.e.example a@e.example mailto:a@e.example [x](//e) [y]: //e <http://e> ![i](//e) $\\a{/}$"
TURNED = "\u202e\u2066\u200f\u061c"


@pytest.mark.parametrize("text", [LINKS, *LINKS.split(), f"({LINKS})", f"*{LINKS}*", LINKS.replace(" ", "\n")])
def test_nothing_that_a_model_wrote_becomes_a_link(text: str, story: Any) -> None:
    story.start().survey().propose("c-1", "W").measure("c-1", 0.5)
    story.events[-2] = CandidateProposed(candidate=story.events[-2].candidate.model_copy(update={"why": text}))
    story.final("dense", 22.8, None, 0.0).final("c-1", 25.0, "W").finish("c-1")
    story.events.append(Thought(id="t-1", kind="lesson", text=text, generation=1))
    found, graph = summary(History.of(story.events)), thought_graph(History.of(story.events))
    page = Tags(MarkdownIt("gfm-like").render(render_markdown(found, graph)))
    assert not page.links
    assert not {"a", "img", "script"} & set(page.tags)
    assert Tags(render_html(found, graph)).links == []
    assert Tags(MarkdownIt("gfm-like").render(f"see {LINKS}")).links  # or nothing was tried


def test_nothing_turns_the_direction_of_writing(story: Any) -> None:
    story.goal = Goal(model=f"tiny{TURNED}", sparsity=0.5)
    story.start().survey().propose("c-1", "W").measure("c-1", 0.5)
    story.final("dense", 22.8, None, 0.0).final("c-1", 25.0, "W").finish("c-1")
    story.events.append(Thought(id="t-1", kind="lesson", text=f"spare{TURNED}it", generation=1))
    found, graph = summary(History.of(story.events)), thought_graph(History.of(story.events))
    assert story.events[-1].text == "spare????it"
    for page in (render_markdown(found, graph), render_html(found, graph), render_card(found, TURNED)):
        assert not set(TURNED) & set(page)
        assert "tiny????" in page


def continued(name: str, *texts: str) -> Continued:
    found = [Continuation(prompt=NASTY, text=text, tokens=4, seconds=0.5) for text in texts]
    return Continued(name=name, continuations=tuple(found))


def test_dense_and_result_stand_side_by_side_and_cannot_act(story: Any) -> None:
    story.whole()
    found = summary(History.of(story.events))
    assert "Side by side" not in render_html(found) + render_markdown(found)
    story.events.append(continued("c-2", f"ours {NASTY}\n{LINKS}\x1b[31m{TURNED}", "  \n"))
    assert summary(History.of(story.events)).sides == ()
    story.events.append(decode(encode(continued("dense", f"theirs {NASTY}", "another"))))
    found = summary(History.of(story.events))
    assert [(dense.text[:6], ours.text[:4]) for dense, ours in found.sides] == [("theirs", "ours"), ("anothe", "  \n")]
    html, markdown = render_html(found), render_markdown(found)
    page, read = Tags(html), Tags(MarkdownIt("gfm-like").render(markdown))
    assert page.links == read.links == []
    assert not {"a", "script", "img"} & {*page.tags, *read.tags}
    for text in (html, markdown):
        section = text.split("Side by side")[1].split("The search")[0]
        assert not set(TURNED + "\x1b") & set(section)
        assert section.index("theirs") < section.index("ours") < section.index("another") < section.index("(nothing)")
        assert section.count("4 tokens, 8.00 per second") == 4
    assert "&lt;script&gt;" in html.split("Side by side")[1]


def _without_code(line: str) -> str:
    """`line` without its code spans (fenced by two backticks, as the text holds single ones)."""
    return "".join(line.split("``")[::2])


def test_the_winner_is_shown_with_its_ancestors(story: Any) -> None:
    story.whole()
    proposed = [event for event in story.events if isinstance(event, CandidateProposed)]
    child = proposed[1].candidate.model_copy(update={"parents": ("c-1", "c-99"), "operator": "crossover"})
    story.events[story.events.index(proposed[1])] = CandidateProposed(at=proposed[1].at, candidate=child)
    section = render_markdown(summary(History.of(story.events))).split("## How the winner came about")[1].split("##")[0]
    assert section.splitlines()[2:4] == [
        "- c-2, KL 0.900, crossover of c-1, c-99: a try",
        "- c-1, KL 1.00, mutate: a try",
    ]


def test_a_winner_without_a_divergence_has_a_lineage_but_is_no_trial(story: Any) -> None:
    story.whole()
    story.propose("c-4", "sqr(W) / D").final("c-4", 40.0, "sqr(W) / D")
    result = summary(History.of(story.events), best="c-4")
    assert [candidate.id for candidate in result.lineage] == ["c-4"]
    assert "c-4, mutate: a try" in render_markdown(result)
    assert "c-4" not in [trial.candidate.id for trial in result.trials]


def test_selection_perplexities_are_no_divergences(story: Any) -> None:
    story.start().survey().propose("c-1", "W").measure("c-1", 0.5).propose("c-2", "X")
    for name, value in (("c-1", 60.0), ("c-2", 58.5)):
        measurement = story.measurement(value, "perplexity", tokens=99_999)
        story.events.append(CandidateMeasured(candidate_id=name, recipe_id="r", measurement=measurement))
    result = summary(History.of(story.events))
    assert [trial.value for trial in result.trials] == [0.5]
    assert result.spent.candidates == 1
    assert [(trial.candidate.id, trial.value) for trial in result.finalists] == [("c-2", 58.5), ("c-1", 60.0)]
    assert "| c-2 | 58.5 | `X, OBS` |" in render_markdown(result)
    assert '<td class="number">58.5</td><td><code>X, OBS</code>' in render_html(result)


def test_the_page_is_whole_and_its_plots_are_valid(story: Any) -> None:
    page = render_html(summary(History.of(story.whole().events)))
    assert "http://" not in page
    assert "https://" not in page
    plots = [ET.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in page.split("<svg")[1:]]
    assert len(plots) == 3
    circles, bars = plots[0].findall("circle"), plots[2].findall("rect")
    assert [circle.get("class") for circle in circles] == ["hollow", "full"]
    heights = [float(bar.get("height", "nan")) for bar in bars]
    assert heights[1] / heights[0] == pytest.approx(0.6 / 0.4, rel=1e-2)


def test_the_pareto_front_joins_what_nothing_beats_in_size_and_quality(story: Any) -> None:
    plot = ET.fromstring(str(pareto(summary(History.of(story.whole().events)).table)))
    dots = {dot.findtext("title"): dot for dot in plot.findall("circle")}
    assert set(dots) == {"dense 22.8", "wanda 50.9", "c-2 41.9"}
    line = str(plot.find("path").get("d"))  # type: ignore[union-attr]
    corners = {tuple(corner.split(",")) for corner in line[1:].split("L")}
    front = {(dots[name].get("cx"), dots[name].get("cy")) for name in ("dense 22.8", "c-2 41.9")}
    assert corners == front
    assert pareto([]) == ""


def test_lower_divergence_is_drawn_lower(story: Any) -> None:
    story.start().survey()
    for place, value in enumerate((1.0, 0.5, 2.0, math.inf, 0.0), start=1):
        story.propose(f"c-{place}", f"W * {place}").measure(f"c-{place}", value)
    page = render_html(summary(History.of(story.events)))
    plot = ET.fromstring("<svg" + page.split("<svg")[1].split("</svg>")[0] + "</svg>")
    heights = [float(circle.get("cy", "nan")) for circle in plot.findall("circle")]
    assert heights[2] < heights[0] < heights[1]
    assert all(0 <= height <= 260 for height in heights)


def test_written_reports_replace_old_ones_and_leave_nothing_else(tmp_path: Path, story: Any) -> None:
    run = create(tmp_path, story.goal)
    for event in story.whole().events:
        run.journal.append(event)
    run.report_html.write_text("old")
    write(run)
    assert "c-2 beats every reference" in run.report_html.read_text()
    assert "c-2 beats every reference" in run.report_md.read_text().replace("\\", "")
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"goal.json", "journal.jsonl", "report.html", "report.md"}
    run.report_md.unlink()
    run.report_md.mkdir()
    with pytest.raises(SecateurError, match=r"report\.md: cannot be written"):
        write(run)
    assert {path.name for path in run.folder.iterdir()} == names


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.41234, "0.412"), (1.5, "1.50"), (22.75, "22.8"), (297.2, "297"), (12345.6, "12,346"), (math.inf, "∞")],
)
def test_numbers_keep_three_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_thoughts_are_in_the_page_and_cannot_act(story: Any) -> None:
    story.whole()
    story.events.append(Thought(id="t-1", kind="lesson", text="<script>X</script> helps", about=("c-2",), generation=1))
    story.propose("c-4", "W", parents=("c-2",), thoughts=("t-1",), generation=1).measure("c-4", 1.2)
    graph = thought_graph(History.of(story.events))
    page = render_html(summary(History.of(story.events)), graph)
    drawn = page[page.index('<svg class="family"') : page.index("</svg>", page.index('<svg class="family"'))]
    root = ET.fromstring(drawn + "</svg>")
    assert {text.text.split()[0] for text in root.iter("text") if text.text} == {"c-1", "c-2", "c-3", "c-4", "t-1"}
    assert drawn.count('class="edge hurt"') == 1
    assert "<script>" not in page
    assert "&lt;script&gt;X" in page
    assert "helps (t-1, generation 1)" in render_markdown(summary(History.of(story.events)), graph)
    assert "<h2>Thoughts" not in render_html(summary(History.of(story.events)))


def test_the_search_lists_all_that_was_measured_and_stars_the_winner(story: Any) -> None:
    story.start()
    for place in range(1, 21):
        story.propose(f"c-{place}", "W * X").measure(f"c-{place}", 1.0 + place / 100)
    story.select("c-2").final("dense", 22.8, None, 0.0).final("c-2", 41.9, "W * X").finish("c-2")
    search = render_markdown(summary(History.of(story.events))).split("## The search")[1].split("##")[0]
    assert [line.split(" | ")[0] for line in search.splitlines() if line.startswith("| c-")] == [
        f"| c-{place}{' ★' if place == 2 else ''}" for place in range(1, 21)
    ]
