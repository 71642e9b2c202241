"""A tree as text that Python's grammar reads back into the same tree, with no parenthesis too many."""

from __future__ import annotations

from tools.expression.nodes import Call, Constant, Node, Terminal

_UNARY, _POWER, _ATOM = 3, 4, 5
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


def format_expression(node: Node) -> str:
    """The formula in infix form: `parse(format_expression(n)) == n` for every tree within the limits."""
    return _formatted(node)[0]


def format_number(value: float) -> str:
    """The shortest text that reads back as `value`: `2` rather than `2.0`."""
    whole = value.is_integer() and abs(value) < 1e15
    return str(int(value)) if whole else repr(float(value))


def _formatted(node: Node) -> tuple[str, int]:
    """The text of a node and how tightly it binds."""
    match node:
        case Constant(value):
            return format_number(float(value)), _ATOM if value >= 0 else _UNARY
        case Terminal(name):
            return name, _ATOM
        case Call("neg", (Call() | Terminal() as argument,)):
            return "-" + _within(argument, _POWER), _UNARY
        case Call("**", (base, exponent)):
            return f"{_within(base, _ATOM)} ** {_within(exponent, _UNARY)}", _POWER
        case Call(operator, (left, right)) if operator in _PRECEDENCE:
            own = _PRECEDENCE[operator]
            return f"{_within(left, own)} {operator} {_within(right, own + 1)}", own
        case Call(operator, arguments):
            return f"{operator}({', '.join(format_expression(argument) for argument in arguments)})", _ATOM


def _within(node: Node, needed: int) -> str:
    text, binding = _formatted(node)
    return text if binding >= needed else f"({text})"
