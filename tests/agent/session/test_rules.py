"""What people say: read by rules, by a language model, and answered from measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session.talk import advice, language, rules
from agent.session.talk.intents import Evaluate, Export, GoOn, Help, Intent, Leave, Prune, Question, Resume, Stop
from memory.remembered import of_run
from runs.fold.history import History
from tests.agent.loopback import Reply, call, say, serving
from tools.recipe import NM


@pytest.mark.parametrize(
    ("text", "intent"),
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
        ("make tiny 1.4 times faster", Prune(speedup=1.4)),
        ("prune tiny to be 40 % faster", Prune(model="tiny", speedup=1.4)),
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
        ("why not 2:4?", Question(text="why not 2:4?")),
        ("explain c-12", Question(text="explain c-12")),
        ("how well does pruning to 50 % work", Question(text="how well does pruning to 50 % work")),
        ("how good is it on HellaSwag?", Evaluate(tasks=("hellaswag",))),
        ("and how good on ARC-easy and PIQA?", Evaluate(tasks=("piqa", "arc_easy"))),
        (
            "evaluate ./pruned on common sense with 100 samples",
            Evaluate(tasks=("commonsense",), model="./pruned", samples=100),
        ),
        ("evaluate it on wikitext and blimp", Evaluate(tasks=("wikitext", "blimp"))),
        ("score Qwen/Q-7B on mmlu, all samples", Evaluate(tasks=("mmlu",), model="Qwen/Q-7B", all_samples=True)),
        ("how good is tiny on PIQA?", Evaluate(tasks=("piqa",), model="tiny")),
        ("how well does ./a/b do on mmlu?", Evaluate(tasks=("mmlu",), model="./a/b")),
        ("evaluate hellaswag", Evaluate(tasks=("hellaswag",))),
        ("how good is it?", Question(text="how good is it?")),
        ("export it", Export()),
        ("export it to ./pruned", Export(folder="./pruned")),
        ("stop after this one", Stop()),
        ("enough!", Stop()),
        ("please stop now and conclude", Stop()),
        ("stop using OBS, try allocations", Help()),
        ("go on for 0 minutes", Help()),
        ("prune tiny to 50 % within 0 %", Help()),
        ("why " + "x" * 2000, Question(text="why " + "x" * 996)),
        ("bye!", Leave()),
        ("help", Help()),
        ("the weather is nice", Help()),
    ],
)
def test_sentences_are_read_by_rules(text: str, intent: Intent) -> None:
    assert rules.read(text) == intent


@given(st.text(max_size=80))
def test_every_line_has_a_reading(text: str) -> None:
    assert isinstance(rules.read(text), Intent)


def test_a_candidate_is_explained_with_its_numbers(story: Any) -> None:
    events = story.whole().events
    told = advice.answer("explain c-2 and c-3", History.of(events))
    assert "c-2 is sqr(W) * X" in told
    assert "KL 0.9000 over 16,384 tokens" in told
    assert "c-3" in told
    assert "rejected: duplicate of c-1" in told
    assert "they are c-1 to c-3" in advice.answer("why c-9?", History.of(events))


def test_advice_on_a_pattern_comes_from_measurements_or_says_there_are_none(story: Any) -> None:
    events = story.whole().events
    assert "Nothing with 2:4 was measured yet" in advice.answer("why not 2:4?", History.of(events))
    known = of_run(History.of(events))[0]
    recipe = known.recipe.model_copy(update={"pattern": NM(n=2, m=4)})
    past = known.model_copy(
        update={"recipe": type(known.recipe).model_validate(recipe.model_dump()), "perplexity": 93.2}
    )
    told = advice.answer("why not 2:4?", History.of(events), [past])
    assert past.id in told
    assert "perplexity 93.2" in told


def test_how_it_stands_is_told_with_ids(story: Any) -> None:
    assert advice.answer("how does it stand?", History()) == "Nothing is measured yet."
    told = advice.answer("how does it stand?", History.of(story.whole().events))
    assert "2 candidates are measured" in told
    assert "c-2: KL 0.900" in told
    assert "beats every reference" in told
    assert "takes more candidates" in advice.answer("what did you learn?", History.of(story.events))


def read_by(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> tuple[Intent, str]:
    from agent.designers.choose import chat_model
    from runs.goal import Goal

    with serving(lambda request, number: reply) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        model = chat_model(Goal(model="-", sparsity=0.5, designer="openai:test"), Path())
        return language.read("prune tiny to 50 %", [], model)


def test_a_language_model_reads_and_the_rules_step_in(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Prune(model="tiny", sparsity=0.5)
    assert read_by(call("Prune", {"model": "tiny", "sparsity": 0.4}), monkeypatch) == (
        Prune(model="tiny", sparsity=0.4),
        "",
    )
    for bad in (call("Prune", {"sparsity": 7}), call("rm", {}), say("sure"), Reply(status=500)):
        intent, why = read_by(bad, monkeypatch)
        assert intent == rule
        assert why
