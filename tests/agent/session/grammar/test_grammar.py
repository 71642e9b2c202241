"""What people say, read without a language model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session.settings import load
from agent.session.talk import grammar
from agent.session.talk.session import Session
from agent.session.talk.tools.deliver import Export
from agent.session.talk.tools.explain import Explain, subjects
from agent.session.talk.tools.formulas import TryAllocation, TryMetric
from agent.session.talk.tools.help import HELP, Help, Leave
from agent.session.talk.tools.look import Candidates, Compare, Lessons, PastRuns, Pattern, Standing
from agent.session.talk.tools.measure import EvaluateTasks
from agent.session.talk.tools.run import GoOn, Prune, Resume, Stop
from agent.session.talk.tools.tool import SessionTool


def session() -> Session:
    return Session(load(Path("home")), lambda run: "")


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("prune smollm2-135m to 50%", Prune(model="smollm2-135m", sparsity=0.5)),
        ("prune this model to 50 % and keep perplexity under 30", Prune(sparsity=0.5, max_perplexity=30)),
        (
            "Prune ./My-Model to 2:4, keep perplexity within 10 %",
            Prune(model="./My-Model", pattern="2:4", max_rise=0.1),
        ),
        ("please prune tiny by half with 12 candidates", Prune(model="tiny", sparsity=0.5, candidates=12)),
        ("prune Qwen/Qwen2-0.5B at 0.6 for 20 minutes", Prune(model="Qwen/Qwen2-0.5B", sparsity=0.6, minutes=20)),
        ("prune it to 70 percent unstructured", Prune(sparsity=0.7, pattern="unstructured")),
        ("make tiny 1.4 times faster", Prune(model="tiny", speedup=1.4)),
        ("prune tiny to be 40 % faster", Prune(model="tiny", speedup=1.4)),
        ("prune tiny by experts and width to 30 %", Prune(model="tiny", sparsity=0.3, pattern="experts+width")),
        ("prune tiny by 30 % in width and depth", Prune(model="tiny", sparsity=0.3, pattern="width+depth")),
        ("prune tiny by 30 %, drop whole blocks", Prune(model="tiny", sparsity=0.3, pattern="depth")),
        ("make it 30 % smaller", Prune(sparsity=0.3, pattern="width+depth")),
        ("50 %", Prune(sparsity=0.5)),
        ("to 2:4", Prune(pattern="2:4")),
        ("go on for ten more minutes", GoOn(minutes=10)),
        ("go on for an hour", GoOn(minutes=60)),
        ("continue with 5 more candidates", GoOn(candidates=5)),
        ("keep going", GoOn()),
        ("continue what we did on SmolLM2 yesterday", Resume(words="smollm2", day="yesterday")),
        ("resume calm-heron-7", Resume(words="calm-heron-7")),
        ("why not 2:4?", Pattern(pattern="2:4")),
        ("explain c-12", Candidates(names=("c-12",))),
        ("what did you learn?", Lessons()),
        ("which runs are there?", PastRuns()),
        ("compare c-1 and c-4", Compare(one="c-1", other="c-4")),
        ("try |W|*X^0.5 on layer 3", TryMetric(expression="W*X**0.5", layer=3)),
        ("try the metric sqr(W)/D on the last layer of tiny", TryMetric(expression="sqr(W)/D", layer=-1, model="tiny")),
        ("how would ria do on block 0 at 60 %?", TryMetric(expression="ria", layer=0, sparsity=0.6)),
        ("what would owl do?", TryAllocation(expression="owl")),
        (
            "try softmax(z(skew)) at 60 % on tiny",
            TryAllocation(expression="softmax(z(skew))", model="tiny", sparsity=0.6),
        ),
        ("try the allocation -depth", TryAllocation(expression="-depth")),
        ("que ferait owl ?", TryAllocation(expression="owl")),
        ("how good is it on HellaSwag?", EvaluateTasks(tasks=("hellaswag",))),
        ("and how good on ARC-easy and PIQA?", EvaluateTasks(tasks=("arc_easy", "piqa"))),
        (
            "evaluate ./pruned on common sense with 100 samples",
            EvaluateTasks(tasks=("commonsense",), model="./pruned", samples=100),
        ),
        ("evaluate it on wikitext and blimp", EvaluateTasks(tasks=("wikitext", "blimp"))),
        ("score Qwen/Q-7B on mmlu, all samples", EvaluateTasks(tasks=("mmlu",), model="Qwen/Q-7B", all_samples=True)),
        ("how good is tiny on PIQA?", EvaluateTasks(tasks=("piqa",), model="tiny")),
        ("how well does ./a/b do on mmlu?", EvaluateTasks(tasks=("mmlu",), model="./a/b")),
        ("prune tiny to 50 % without OBS", Prune(model="tiny", sparsity=0.5, rules=("without OBS",))),
        ("is 2:4 faster?", Explain(subject="faster")),
        ("evaluate hellaswag", EvaluateTasks(tasks=("hellaswag",))),
        ("how good is it?", Standing()),
        ("export it", Export()),
        ("export it to ./pruned", Export(folder="./pruned")),
        ("stop after this one", Stop()),
        ("enough!", Stop()),
        ("please stop now and conclude", Stop()),
        ("bye!", Leave()),
        ("help", Help()),
    ],
)
def test_sentences_are_read_by_rules(text: str, tool: SessionTool) -> None:
    assert grammar.read(text, session()) == [tool]


@pytest.mark.parametrize("text", ["the weather is nice", "how well does pruning to 50 % work", "why " + "x" * 2000])
def test_what_is_not_understood_is_said_with_what_is_near(text: str) -> None:
    said = grammar.read(text, session())
    assert isinstance(said, str)
    assert said.startswith("I did not understand that. The nearest that I can do:\n  ")
    assert len(said.splitlines()) == 4


@pytest.mark.parametrize("text", ["go on for 0 minutes", "prune tiny to 50 % within 0 %"])
def test_what_cannot_be_meant_is_said(text: str) -> None:
    said = grammar.read(text, session())
    assert isinstance(said, str)
    assert said.startswith("That cannot be meant: ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("prune tiny to 50 % and frobnicate it", "frobnicate it"),
        ("prune tiny to 50 % but keep the attention", "attention"),
        ("prune tiny to 50 % please, and be quick", "be quick"),
        ("go on with wanda", "wanda"),
        ("fine-tune it on my data", "data"),
        ("exportiere es nach ./raus und dann tanze", "tanze"),
    ],
)
def test_half_of_an_order_is_not_done_and_the_other_half_named(text: str, part: str) -> None:
    said = grammar.read(text, session())
    assert isinstance(said, str)
    assert said.startswith(f'I did not understand "{part}", so nothing was done. ')


@pytest.mark.parametrize(
    "text",
    [
        "how many blocks were removed?",
        "should I prune tiny to 50%?",
        "what happens at 70 %?",
        "don't prune tiny to 50 %",
        "did it stop?",
        "how do I export?",
        "compare c-1, c-2 and c-3",
        "make tiny 30 % faster and 20 % smaller",
        "show me what to do at 50 %",
    ],
)
def test_questions_and_refusals_are_no_orders(text: str) -> None:
    assert isinstance(grammar.read(text, session()), str)


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        ("prune tiny to 50% and evaluate it on piqa", ["prune", "evaluate_tasks"]),
        ("prune tiny to 50%, then prune gpt2 to 60%", ["prune", "prune"]),
        ("stop and export it to ./out", ["stop", "export"]),
        ("停止,然后导出到./out", ["stop", "export"]),
    ],
)
def test_several_requests_are_read_in_order(text: str, tools: list[str]) -> None:
    assert [tool.called() for tool in grammar.read(text, session()) if isinstance(tool, SessionTool)] == tools


@pytest.mark.parametrize(
    "text",
    [
        *("stop", "hör auf", "arrête-toi", "¡basta!", "停止", "やめて", "fermati", "стоп"),
        *("¡para!", "Para.", "stopp!", "detente.", "pare!", "hou op", "zatrzymaj!", "dur!", "멈춰!", "停！", "cancel"),
    ],
)
def test_stop_never_waits_in_any_language(text: str) -> None:
    assert grammar.quick(text) == Stop()


@pytest.mark.parametrize("text", ["don't stop", "stop trying OBS", "stop and export it", "why did it stop?", "150 %"])
def test_what_is_more_than_stop_is_not_stop(text: str) -> None:
    assert grammar.quick(text) is None


@pytest.mark.parametrize("example", grammar.EXAMPLES)
def test_every_example_that_is_offered_is_understood(example: str) -> None:
    assert isinstance(grammar.read(example, session()), list)


@given(st.text(max_size=80))
def test_every_line_has_a_reading(text: str) -> None:
    assert grammar.read(text, session())


def test_a_bare_word_answers_the_question_for_the_model() -> None:
    about = session()
    about.unfinished = ("prune", {"sparsity": 0.5})
    assert grammar.read("tiny", about) == [Prune(model="tiny", sparsity=0.5)]
    assert isinstance(grammar.read("tiny", about), str)


def test_every_sentence_that_an_explanation_offers_is_understood() -> None:
    offered = [said for text in subjects().values() for said in re.findall(r'"([^"]+)"', text)]
    assert len(offered) > 15
    for said in offered:
        sentence = said.replace("MODEL", "tiny").replace("openai:NAME", "openai:gpt")
        assert isinstance(grammar.read(sentence, session()), list), sentence


def test_what_is_set_first_holds_of_the_whole_order_after_it() -> None:
    about = session()
    about.unfinished = ("prune", {"calibration": "c4", "pattern": "2:4"})
    assert grammar.read("prune tiny to 50%", about) == [Prune(model="tiny", sparsity=0.5, calibration="c4")]


def test_every_sentence_of_the_help_is_understood() -> None:
    sentences = [part for line in HELP.splitlines()[1:] for part in line.strip().split("  ") if part.strip()]
    assert len(sentences) > 15
    for sentence in sentences:
        assert isinstance(grammar.read(sentence, session()), list), sentence
