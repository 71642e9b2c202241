"""The languages of formulas as grammars, for a model that writes under one: whatever it writes, `parse` accepts.

What is derived is the canonical spelling, exactly as `format_expression` prints it, of trees that make sense by their
shapes: the whole depends on every index that the terminals can tell apart, a row reduction is only taken of something
that differs within a row, a scaling or a function of something that differs at all, an exponent is a number. That is
done by one rule for each form of an expression (how tightly it binds), each set of indices it depends on, and each
depth. A binary tree of L levels has fewer than 2 ** L nodes, so with at most six levels none is too large to parse.

No grammar sees values: `W - W` or a division by a column of zeros are derived, and refused when they are evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import product

from tools.expression.operators import COLUMN, ROW, Axes, Language
from tools.expression.text import format_number
from tools.guided.rules import Alternative, Grammar, Literal, Pattern, Rule

LEVELS = 5
"""Levels of a tree, as in RIA's (W / col_sum(W) + W / row_sum(W)) * X ** 0.5."""

_NUMBER = Pattern(r"([1-9][0-9]{0,2}|(0|[1-9][0-9]?)\.[0-9]{0,2}[1-9])", 6)
"""Positive, up to 999, at most three decimals: zero divides or vanishes, and a sign is an operator."""
_EXPONENT = Pattern(r"-?([1-4]|[0-3]\.[0-9]?[1-9])", 5)

_FORMS = ("sum", "product", "negation", "power", "atom")
"""How an expression is written, loosest binding first."""
_ARITHMETIC = {"sum": ("+", "-"), "product": ("*", "/")}
_UNWRITTEN = ("+", "-", "*", "/", "**", "neg", "skp")
"""Operators that are no functions, or, as x itself, say nothing."""

_FLAT: Axes = frozenset()
"""One number for a whole matrix: a literal, or a reduction of a reduction."""


def expression_grammar(
    language: Language, terminals: Collection[str] | None = None, levels: int = LEVELS, prefix: str = ""
) -> Grammar:
    """The grammar of a language's formulas.

    Args:
        language: METRIC or ALLOCATION.
        terminals: names that may be read (`outliers` offers the values that a search draws, `outliers(5)` is taken as
            it is); all by default.
        levels: levels of a formula's tree, 1 to 6; fewer allow shorter formulas only.
        prefix: what the rules' names begin with, for a grammar that is part of another; the language's by default.

    Raises:
        ValueError: a terminal is unknown or there is none, or trees of that many levels may be refused.
    """
    limits = language.limits
    if not 1 <= levels <= min(limits.depth, int(math.log2(limits.nodes + 1))):
        raise ValueError(f"a tree of {levels} levels is none, or may be larger than the limit of {limits.nodes} parts")
    leaves = _leaves(language, terminals)
    if not leaves:
        raise ValueError("a formula needs a terminal to read")
    return _Builder(language, leaves, prefix or language.name).build(levels)


def _leaves(language: Language, terminals: Collection[str] | None) -> dict[Axes, list[str]]:
    """The terminals as they are written, by the indices that they depend on."""
    names = [*language.terminals, *language.parametrised] if terminals is None else sorted(terminals)
    leaves: dict[Axes, list[str]] = {}
    for name in names:
        if name.partition("(")[0] not in {**language.terminals, **language.parametrised}:
            raise ValueError(f"{name} is no terminal of the language {language.name}")
        written = [name]
        if name in language.parametrised:
            written = [f"{name}({format_number(value)})" for value in language.parametrised[name].choices]
        leaves.setdefault(language.statistic(name).axes, []).extend(written)
    return leaves


class _Builder:
    """Rules level by level: what a level may contain is known when it is built, so no rule is empty."""

    def __init__(self, language: Language, leaves: dict[Axes, list[str]], prefix: str) -> None:
        self.language = language
        self.leaves = leaves
        self.prefix = prefix
        self.rules: dict[str, tuple[Alternative, ...]] = {}
        self.reach: Axes = frozenset().union(*leaves)
        self.kinds = [kind for kind in (_FLAT, ROW, COLUMN, ROW | COLUMN) if kind <= self.reach]

    def build(self, levels: int) -> Grammar:
        self._add(self._name("number"), [(_NUMBER,)])
        for name, functions in self._functions().items():
            self._add(name, [(Literal(f"{function}("),) for function in functions])
        for level in range(1, levels + 1):
            for kind in self.kinds:
                for form in _FORMS:
                    self._add(self._name(form, kind, level), list(self._alternatives(form, kind, level)))
                for loosest in _FORMS:
                    self._add(self._name(f"any_{loosest}", kind, level), self._bracketed(loosest, kind, level))
        return Grammar(self._part("sum", self.reach, levels), self.rules)

    def _add(self, name: str, alternatives: list[Alternative]) -> None:
        if alternatives:
            self.rules[name] = tuple(alternatives)

    def _name(self, form: str, kind: Axes | None = None, level: int | None = None) -> str:
        return "_".join(
            [self.prefix, form, *([] if kind is None else [_letters(kind)]), *([] if level is None else [str(level)])]
        )

    def _part(self, loosest: str, kind: Axes, level: int) -> Rule:
        """An expression that binds at least as tightly as the form `loosest`, in brackets where it does not."""
        return Rule(self._name(f"any_{loosest}", kind, level))

    def _has(self, rule: Rule) -> bool:
        return rule.name in self.rules

    def _bracketed(self, loosest: str, kind: Axes, level: int) -> list[Alternative]:
        found: list[Alternative] = []
        for form in _FORMS:
            rule = Rule(self._name(form, kind, level))
            if self._has(rule):
                tight = _FORMS.index(form) >= _FORMS.index(loosest)
                found.append((rule,) if tight else (Literal("("), rule, Literal(")")))
        return found

    def _alternatives(self, form: str, kind: Axes, level: int) -> Iterator[Alternative]:
        """The sequences of one form at one level; of plain numbers there are only atoms."""
        if form == "atom":
            yield from self._atoms(kind, level)
        elif form in _ARITHMETIC:
            tighter = _FORMS[_FORMS.index(form) + 1]
            for left, right in self._pairs(form, tighter, kind, level - 1):
                for operator in _ARITHMETIC[form]:
                    yield left, Literal(f" {operator} "), right
        elif kind:
            argument = self._part("power" if form == "negation" else "atom", kind, level - 1)
            if self._has(argument):
                yield (Literal("-"), argument) if form == "negation" else (argument, Literal(" ** "), _EXPONENT)

    def _atoms(self, kind: Axes, level: int) -> Iterator[Alternative]:
        for name in self.leaves.get(kind, ()):
            yield (Literal(name),)
        if not kind:
            yield (Rule(self._name("number")),)
        for given in self.kinds:
            function, argument = self._function(kind, given), self._part("sum", given, level - 1)
            if self._has(function) and self._has(argument):
                yield function, argument, Literal(")")
        binary = self._function(kind)
        if self._has(binary):
            for left, right in self._pairs("sum", "sum", kind, level - 1):
                yield binary, left, Literal(", "), right, Literal(")")

    def _pairs(self, left: str, right: str, kind: Axes, level: int) -> Iterator[tuple[Rule, Rule]]:
        """Operands that depend on these indices together; never two plain numbers."""
        for one, other in product(self.kinds, repeat=2):
            operands = self._part(left, one, level), self._part(right, other, level)
            if kind and one | other == kind and all(map(self._has, operands)):
                yield operands

    def _function(self, result: Axes, argument: Axes | None = None) -> Rule:
        """The rule for the names of the functions with this result: of one argument, or of two if none is given."""
        return Rule(self._name("binary" if argument is None else f"of_{_letters(argument)}", result))

    def _functions(self) -> dict[str, list[str]]:
        """The functions by their rule. Each is of something that differs: along the axis that it works on, if any."""
        found: dict[str, list[str]] = {}
        written = {name: operator for name, operator in self.language.operators.items() if name not in _UNWRITTEN}
        for (name, operator), kind in product(written.items(), self.kinds):
            along = COLUMN if name.startswith("row_") else ROW if name.startswith("col_") else _FLAT
            if not kind or not along <= kind:
                continue
            result = kind - along if operator.kind == "reduction" else kind
            rule = self._function(result, kind) if operator.arity == 1 else self._function(kind)
            found.setdefault(rule.name, []).append(name)
        return found


def _letters(kind: Axes) -> str:
    return "".join(sorted(axis[0] for axis in kind)) or "flat"
