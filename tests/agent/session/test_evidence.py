"""Numbers in an answer that stand nowhere are marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session.talk.evidence import FOOTNOTE, MARK, marked

SOURCES = [
    "c-12: KL 0.2884 over 16,384 tokens, W * X at 50 %",
    "perplexity 35.27 (dense 20.66), 1.5e-3 nats, 0.125 of it",
    "prune tiny to 2:4 in 20 minutes; m-7: t-3 says so of Qwen2-0.5B",
]


@pytest.mark.parametrize(
    "answer",
    [
        "c-12 reached a KL of 0.2884 over 16,384 tokens.",
        "About 0.29 at 50 %, on 16384 tokens.",
        "Perplexity 35.3 beside 20.7 of the dense model (m-7, t-3).",
        "It rose to 35; a share of 0.5 fell.",
        "2:4 it is; Qwen2-0.5B has not been tried.",
        "1. first\n2. second",
        "0.0015 nats, 12.5 % of it",
        "twenty minutes is not in figures here: 20.",
        "Nothing was measured in fp16 on C4.",
    ],
)
def test_what_is_quoted_or_rounded_stays(answer: str) -> None:
    assert marked(answer, [*SOURCES, "twenty"]) == answer


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("HellaSwag is 41.3 %.", "41.3"),
        ("A KL of 0.28845.", "0.28845"),
        ("It is 9.7ms faster.", "9.7"),
        ("Perplexity 35.4.", "35.4"),
        ("It falls by −7.5 %.", "−7.5"),
        ("Roughly ½ of it is lost ¾.", "¾"),
        ("forty-two per cent", "forty-two"),
        ("1,024,000 tokens", "1,024,000"),
        ("Genauigkeit 41,3 %", "41,3"),
        ("精度は41.3です", "41.3"),
        ("a ppl41.3", "ppl41.3"),
        ("c-99 is best", "c-99"),
        ("３７ %", "３７"),
    ],
)
def test_what_stands_nowhere_is_marked(answer: str, number: str) -> None:
    found = marked(answer, SOURCES)
    assert f"{number} {MARK}" in found
    assert found.endswith(FOOTNOTE)


@given(st.integers(100, 10**6), st.integers(0, 9))
def test_no_number_of_its_own_passes(value: int, digit: int) -> None:
    number = f"{value}.{digit}7"
    assert MARK in marked(f"It is {number} now.", ["nothing but 3 and 14.5"])


@given(st.floats(0.001, 10**6).map(lambda value: f"{value:.4f}"))
def test_every_quotation_passes(number: str) -> None:
    assert MARK not in marked(f"It is {number} now.", [f"the result: {number}"])


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_read(answer: str, source: str) -> None:
    assert marked(answer, [source]).startswith(answer[:1])
