"""Grammars: whatever they derive is accepted by whoever reads it, and no longer than they say."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from tools.expression import ALLOCATION, METRIC, NAMED_ALLOCATIONS, NAMED_METRICS, Language, depth, parse
from tools.expression import format_expression as formatted
from tools.expression.bounds import axes
from tools.expression.grammar import LEVELS, expression_grammar
from tools.guided.rules import Alternative, Grammar, Literal, Pattern, Rule

BYTES = LLTokenizer("byte")


def matcher(grammar: Grammar) -> LLMatcher:
    made = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar.lark()))
    assert not made.is_error(), made.get_error()
    return made


def accepts(grammar: Grammar, text: str) -> bool:
    made = matcher(grammar)
    return bool(made.try_consume_tokens(list(text.encode())) == len(text) and made.is_accepting())


def babble(made: LLMatcher, seed: int) -> str:
    """A text by drawing one allowed byte after another."""
    made, rng, written = made.deep_copy(), random.Random(seed), bytearray()
    while not made.is_stopped():
        allowed = [token for token, bias in enumerate(made.compute_logit_bias()) if bias]
        # The end is one of many, but near it all the same: it is taken less often, so that texts become long.
        token = rng.choice([t for t in allowed if t != BYTES.eos_token or rng.random() < 0.2] or allowed)
        assert made.consume_token(token), made.get_error()
        written += b"" if token == BYTES.eos_token else bytes([token])
    return written.decode("ascii")


def derived(grammar: Grammar, seed: int) -> str:
    """A text by walking the rules, which reaches deep trees more often than drawing bytes does."""
    rng = random.Random(seed)

    def of(alternative: Alternative) -> str:
        return "".join(text(symbol) for symbol in alternative)

    def text(symbol: Any) -> str:
        match symbol:
            case Literal(literal):
                return literal
            case Pattern():
                return babble(matcher(Grammar(symbol)), rng.randrange(2**32))
            case Rule(name):
                return of(rng.choice(grammar.rules[name]))
        raise AssertionError(symbol)

    return text(grammar.start)


LANGUAGES = pytest.mark.parametrize("language", [METRIC, ALLOCATION], ids=lambda language: language.name)


@LANGUAGES
@pytest.mark.parametrize("levels", [1, 3, LEVELS, 6])
@pytest.mark.parametrize("write", [lambda g, s: babble(matcher(g), s), derived], ids=["babbled", "walked"])
def test_all_that_is_derived_is_a_formula_that_makes_sense(
    language: Language, levels: int, write: Callable[[Grammar, int], str]
) -> None:
    grammar = expression_grammar(language, levels=levels)
    reach = axes(parse("W" if language is METRIC else "skew", language), language)
    for seed in range(40):
        text = write(grammar, seed)
        node = parse(text, language)
        assert formatted(node) == text
        assert axes(node, language) == reach
        assert depth(node) <= levels
        assert len(text) <= grammar.longest


@LANGUAGES
def test_even_the_longest_formula_parses(language: Language) -> None:
    grammar = expression_grammar(language, levels=6)
    lengths = {name: Grammar(Rule(name), grammar.rules).longest for name in grammar.rules}

    def longest(symbol: Any) -> str:
        match symbol:
            case Rule(name):
                own = Grammar(symbol, grammar.rules).longest
                best = next(
                    a for a in grammar.rules[name] if sum(Grammar(s, grammar.rules).longest for s in a) == lengths[name]
                )
                text = "".join(map(longest, best))
                assert len(text) == own
                return text
            case Literal(text):
                return text
        return "10.125" if symbol.longest == 6 else "-3.25"

    parse(longest(grammar.start), language)
    assert len(longest(grammar.start)) == grammar.longest <= language.limits.characters


def test_every_published_formula_is_derived() -> None:
    metric, allocation = expression_grammar(METRIC), expression_grammar(ALLOCATION)
    for formula in NAMED_METRICS.values():
        assert accepts(metric, formula), formula
    for named in NAMED_ALLOCATIONS.values():
        assert accepts(allocation, named.expression) == (named.expression != "uniform"), named


@pytest.mark.parametrize(
    "formula",
    ["W * W ** X", "W ** 5", "X", "2", "2 * 3 * W", "row_sum(W)", "col_sum(X) * W", "(W)", "((W * X))", "W*X", "W * Y",
     "W * 0", "sqr(2) * W", "W +", "skp(W)", "__import__('os')"],
)  # fmt: skip
def test_what_makes_no_sense_is_not_derived(formula: str) -> None:
    assert not accepts(expression_grammar(METRIC), formula)


def test_only_the_given_terminals_are_read() -> None:
    metric = expression_grammar(METRIC, ["W", "X"])
    assert accepts(metric, "W * X")
    assert not accepts(metric, "W * X_max")
    assert not accepts(metric, "W * G")
    outliers = expression_grammar(ALLOCATION, ["outliers(4)", "depth"])
    assert accepts(outliers, "minmax(outliers(4)) * depth")
    assert not accepts(outliers, "outliers(5)")
    assert accepts(expression_grammar(METRIC, ["X"]), "X ** 0.5")


def test_a_grammar_that_could_be_refused_is_none() -> None:
    for levels in (0, 7):
        with pytest.raises(ValueError, match="limit of 64"):
            expression_grammar(METRIC, levels=levels)
    with pytest.raises(ValueError, match="Y is no terminal"):
        expression_grammar(METRIC, ["Y"])
    with pytest.raises(ValueError, match="needs a terminal"):
        expression_grammar(METRIC, [])
