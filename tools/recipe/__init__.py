"""What to do to a model, complete and portable, as data: patterns, allocations, recipes; and what was measured."""

from tools.recipe.recipe import (
    NM,
    Allocation,
    Calibration,
    Compensation,
    Experts,
    Frozen,
    Granularity,
    Group,
    Pattern,
    Recipe,
    Request,
    Structured,
    Unstructured,
    check_sparsity,
    first_problem,
    parse_pattern,
)

__all__ = [
    "NM",
    "Allocation",
    "Calibration",
    "Compensation",
    "Experts",
    "Frozen",
    "Granularity",
    "Group",
    "Pattern",
    "Recipe",
    "Request",
    "Structured",
    "Unstructured",
    "check_sparsity",
    "first_problem",
    "parse_pattern",
]
