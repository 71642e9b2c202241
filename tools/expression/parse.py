"""Text to tree: Python's grammar, an allow-list of its nodes, and nothing is ever evaluated.

The text is checked for length, characters and raw bracket depth before Python's parser sees it, because that parser
may recurse too deep or use much memory on hostile text. All complaints are one line that names the formula.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import warnings
from collections.abc import Iterable
from typing import NoReturn

from tools.expression.nodes import Call, Constant, Node, Terminal, depth, size
from tools.expression.operators import MAX_EXPONENT, METRIC, Language
from tools.expression.text import format_number
from tools.io.errors import UsageError

_FOREIGN = re.compile(r"[^A-Za-z0-9_\s.,+\-*/()]")
_BRACKETS = 64
_SHOWN = 60

_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}


def parse(text: str, language: Language = METRIC) -> Node:
    """Read a formula.

    Raises:
        UsageError: the text is not a formula of the language, or is larger than its limits.
    """
    return _Reader(text, language).read()


class _Reader:
    def __init__(self, text: str, language: Language) -> None:
        self.raw = text
        self.text = ""
        self.language = language

    def read(self) -> Node:
        limits = self.language.limits
        if len(self.raw) > limits.characters:
            self._refuse(f"has {len(self.raw)} characters; the limit is {limits.characters}")
        self.text = " ".join(self.raw.split())
        self._check_characters()
        node = self._node(self._syntax_tree(), 1)
        if depth(node) > limits.depth:
            self._too_deep()
        if size(node) > limits.nodes:
            self._refuse(f"has {size(node)} parts; the limit is {limits.nodes}")
        return node

    def _check_characters(self) -> None:
        if not self.text:
            self._refuse("is empty; write a formula, for example W * X" if self.language is METRIC else "is empty")
        if foreign := _FOREIGN.search(self.text):
            hint = "; write ** for a power" if foreign[0] == "^" else ""
            self._refuse(f"the character {foreign[0]!a} does not belong in a formula{hint}")
        level = 0
        for character in self.text:
            level += (character == "(") - (character == ")")
            if level > _BRACKETS:
                self._too_deep()

    def _syntax_tree(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "1if" only warns, and is refused below anyway
                return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            place = f" near character {error.offset}" if error.offset else ""
            self._refuse(f"is not a formula{place} ({error.msg})")
        except (RecursionError, MemoryError):
            self._too_deep()
        except ValueError:
            self._refuse("is not a formula")

    def _node(self, tree: ast.expr, level: int) -> Node:
        # A sign before a number is a level of Python's tree but not of ours.
        if level > 2 * self.language.limits.depth:
            self._too_deep()
        match tree:
            case ast.Constant():
                return self._constant(tree)
            case ast.Name():
                return self._terminal(tree)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._node(operand, level + 1)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._node(operand, level + 1)
                if isinstance(operand, ast.Constant) and isinstance(inner, Constant):
                    return Constant(0.0 - inner.value)
                return Call("neg", (inner,))
            case ast.BinOp():
                return self._arithmetic(tree, level)
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                return self._call(name, tree.args, level)
        self._refuse(f"{self._source(tree)} ({type(tree).__name__}) does not belong in a formula")

    def _constant(self, tree: ast.Constant) -> Constant:
        if not isinstance(tree.value, int | float) or isinstance(tree.value, bool):
            self._refuse(f"{self._source(tree)} is not a real number")
        try:
            value = float(tree.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self._refuse(f"{self._source(tree)} is not a finite number")
        return Constant(value)

    def _terminal(self, tree: ast.Name) -> Terminal:
        name = tree.id
        if name in self.language.terminals:
            return Terminal(name)
        if name in self.language.parametrised:
            self._refuse(f"{name} needs a number: write {name}(5)")
        if name in self.language.operators or name in self.language.aliases:
            self._refuse(f"{name} is an operator: write {name}(...)")
        names = [*self.language.terminals, *self.language.parametrised]
        self._refuse(f"{_cut(name)} is not known. Terminals are {', '.join(names)}{_suggestion(name, names)}")

    def _arithmetic(self, tree: ast.BinOp, level: int) -> Call:
        operator = _ARITHMETIC.get(type(tree.op))
        if operator is None:
            self._refuse(f"{self._source(tree)}: arithmetic is +, -, *, / and **")
        right = self._node(tree.right, level + 1)
        if operator == "**" and not (isinstance(right, Constant) and abs(right.value) <= MAX_EXPONENT):
            self._refuse(f"the exponent of ** is a number from -4 to 4, not {self._source(tree.right)}")
        return Call(operator, (self._node(tree.left, level + 1), right))

    def _call(self, name: str, arguments: list[ast.expr], level: int) -> Node:
        if name in self.language.parametrised:
            return self._parametrised(name, arguments)
        operator = self.language.aliases.get(name, name)
        if operator not in self.language.operators:
            names = sorted({*self.language.operators, *self.language.aliases} - set(_ARITHMETIC.values()))
            if name in self.language.terminals:
                self._refuse(f"{name} is a terminal, not an operator")
            known = ", ".join(names)
            self._refuse(f"{_cut(name)} is not an operator. Operators are {known}{_suggestion(name, names)}")
        wanted = self.language.operators[operator].arity
        if len(arguments) != wanted:
            self._refuse(f"{name} takes {wanted} value{'s' if wanted > 1 else ''}, not {len(arguments)}")
        return Call(operator, tuple(self._node(argument, level + 1) for argument in arguments))

    def _parametrised(self, name: str, arguments: list[ast.expr]) -> Terminal:
        low, high = self.language.parametrised[name].bounds
        value = arguments[0].value if len(arguments) == 1 and isinstance(arguments[0], ast.Constant) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self._refuse(f"{name} takes one number from {low:g} to {high:g}, for example {name}(5)")
        return Terminal(f"{name}({format_number(float(value))})")

    def _source(self, tree: ast.expr) -> str:
        return _cut(self.text[tree.col_offset : tree.end_col_offset])

    def _too_deep(self) -> NoReturn:
        self._refuse(f"is nested too deep; the limit is {self.language.limits.depth} levels")

    def _refuse(self, problem: str) -> NoReturn:
        raise UsageError(f'{self.language.name} "{_cut(self.raw)}": {problem}') from None


def _cut(text: str) -> str:
    """The beginning of a text on one line, with nothing in it that a terminal would obey."""
    line = " ".join(text[: 2 * _SHOWN].split())
    safe = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
    return safe if len(safe) <= _SHOWN and len(text) <= 2 * _SHOWN else safe[:_SHOWN] + "…"


def _suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`: the same word in other letters, a similar one, or for a letter its neighbour."""
    names = list(known)
    same = [other for other in names if other.lower() == name.lower()]
    letters = [other for other in names if len(other) == len(name) == 1]
    neighbours = sorted(letters, key=lambda other: abs(ord(other) - ord(name)))
    close = same or difflib.get_close_matches(name[:_SHOWN], names, n=1) or neighbours
    return f"; did you mean {close[0]}?" if close else ""
