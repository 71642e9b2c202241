"""Formulas for metrics and allocations: parse, print, simplify, evaluate, and the published ones by name.

    text -> parse -> Node -> simplify -> Node -> evaluate(terminals) -> tensor

A formula is written in Python's expression syntax and never run as Python. `operators` holds the languages, `grammar`
what a model that writes under a grammar may say in them.
"""

from __future__ import annotations

from tools.expression.named import EXPERT_METRICS, NAMED_ALLOCATIONS, NAMED_METRICS, NamedAllocation
from tools.expression.nodes import Call, Constant, Node, Terminal, depth, size, used_terminals
from tools.expression.operators import ALLOCATION, EXPERTS, METRIC, Language
from tools.expression.parse import parse
from tools.expression.score import evaluate
from tools.expression.simplify import simplify
from tools.expression.text import format_expression

__all__ = [
    "ALLOCATION",
    "EXPERTS",
    "EXPERT_METRICS",
    "METRIC",
    "NAMED_ALLOCATIONS",
    "NAMED_METRICS",
    "Call",
    "Constant",
    "Language",
    "NamedAllocation",
    "Node",
    "Terminal",
    "depth",
    "evaluate",
    "format_expression",
    "parse",
    "simplify",
    "size",
    "used_terminals",
]
