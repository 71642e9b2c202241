"""Grammars: whatever they derive is accepted by whoever reads it, and no longer than they say."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Annotated, Any
from typing import Literal as OneOf

import pytest
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from tools.expression import ALLOCATION, METRIC, NAMED_ALLOCATIONS, NAMED_METRICS, Language, depth, parse
from tools.expression import format_expression as formatted
from tools.expression.bounds import axes
from tools.expression.grammar import LEVELS, expression_grammar
from tools.guided.rules import Alternative, Grammar, Literal, Pattern, Rule
from tools.guided.schema import Caps, schema_grammar

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


# ---- JSON schemas


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    weight: Annotated[float, Field(gt=0, lt=1)]
    name: Annotated[str, Field(min_length=3, max_length=6)] | None = None
    code: Annotated[str, Field(pattern="^c-[0-9]{1,3}$")] = "c-1"


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: OneOf["a", 'quoted "b"', "ü"]
    flag: bool
    count: Annotated[int, Field(ge=-3, le=12)]
    open_count: int
    above: Annotated[int, Field(gt=5)]
    even: Annotated[int, Field(multiple_of=2, ge=0, le=100)]
    share: Annotated[float, Field(ge=0, le=0.5)]
    tiny: Annotated[float, Field(gt=0, le=0.001)]
    loose: float
    words: Annotated[list[str], Field(min_length=1, max_length=3)]
    pair: tuple[int, float]
    inner: Inner
    several: Annotated[list[Inner], Field(max_length=2)]
    either: int | str | None = None
    metric: str = Field(json_schema_extra={"grammar": "metric"})
    nothing: list[int] = Field(default=[], max_length=0)


def test_all_that_a_schema_derives_is_valid_and_no_longer_than_it_says() -> None:
    grammars = {"metric": [expression_grammar(METRIC)]}
    grammar = schema_grammar(Everything.model_json_schema(), grammars, Caps(text=12, items=4), "everything")
    made = matcher(grammar)
    for seed in range(150):
        text = babble(made, seed)
        assert len(text) <= grammar.longest
        value = Everything.model_validate_json(text)
        parse(value.metric)
        assert set(json.loads(text)) == set(Everything.model_fields)


@pytest.mark.parametrize(
    "field",
    [
        Annotated[float, Field(ge=0.25, lt=0.75)],
        Annotated[float, Field(lt=-1e9)],
        Annotated[float, Field(gt=-0.01, lt=0)],
        Annotated[int, Field(ge=2_000_000)],
        Annotated[int, Field(le=-2_000_000)],
        Annotated[int, Field(ge=7, le=7)],
        Annotated[float, Field(ge=0.5, le=0.5)],
        Annotated[list[int], Field(min_length=5)],
        Annotated[str, Field(min_length=20)],
    ],
    ids=str,
)
def test_bounds_hold(field: Any) -> None:
    adapter = TypeAdapter(field)
    grammar = schema_grammar(adapter.json_schema(), {}, Caps(text=12, items=4), "value")
    texts = {babble(matcher(grammar), seed) for seed in range(30)}
    for text in texts:
        adapter.validate_json(text)
        assert len(text) <= grammar.longest


class Recursive(BaseModel):
    inner: Recursive | None = None


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (Recursive.model_json_schema(), "holds itself"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "too little"),
        ({"type": "array"}, "too little"),
        ({}, "too little"),
        ({"type": "string", "grammar": "metric", "maxLength": 50}, "allows less"),
    ],
)
def test_what_has_no_bound_is_refused(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        schema_grammar(schema, {"metric": [expression_grammar(METRIC)]}, Caps(), "value")


def test_a_short_string_takes_a_shorter_grammar() -> None:
    grammars = [expression_grammar(METRIC, levels=levels, prefix=f"metric{levels}") for levels in (5, 3, 1)]
    schema = {"type": "string", "grammar": "metric", "maxLength": 50}
    grammar = schema_grammar(schema, {"metric": grammars}, Caps(), "value")
    assert grammar.longest == grammars[1].longest + 2 <= 52
    assert accepts(grammar, '"mms(W) * X"')
    assert not accepts(grammar, f'"{NAMED_METRICS["ria"]}"')
