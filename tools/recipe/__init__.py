"""What to do to a model, complete and portable, as data: patterns, allocations, recipes; and what was measured."""

from tools.recipe.allocation import Allocation
from tools.recipe.pattern import (
    NM,
    Experts,
    Pattern,
    Structured,
    Unstructured,
)
from tools.recipe.recipe import Calibration, Compensation, Recipe, check_sparsity
from tools.recipe.request import Request
from tools.recipe.written import parse_pattern

__all__ = [
    "NM",
    "Allocation",
    "Calibration",
    "Compensation",
    "Experts",
    "Pattern",
    "Recipe",
    "Request",
    "Structured",
    "Unstructured",
    "check_sparsity",
    "parse_pattern",
]
