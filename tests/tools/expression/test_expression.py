"""Formulas: text and tree are one thing, every operator is what its paper says, simplifying keeps every ranking."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException, localcontext

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tools.expression import (
    ALLOCATION,
    METRIC,
    NAMED_ALLOCATIONS,
    NAMED_METRICS,
    Call,
    Constant,
    Language,
    Node,
    Terminal,
    depth,
    evaluate,
    format_expression,
    parse,
    simplify,
    size,
    used_terminals,
)
from tools.expression.nodes import replaced, walk
from tools.expression.operators import EXP_LIMIT, LOG_OFFSET, Group
from tools.io.errors import SecateurError, UsageError

Matrix = list[list[Decimal]]

# ---- any tree of a language


def trees(language: Language, constants: st.SearchStrategy[float], leaves: int = 10) -> st.SearchStrategy[Node]:
    names = [*language.terminals, *(f"{name}(5)" for name in language.parametrised)]
    exponent = st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 0.25, 4.0]).map(Constant)
    leaf = st.one_of(st.sampled_from(names).map(Terminal), constants.map(Constant))

    def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        def call(name: str) -> st.SearchStrategy[Node]:
            right = exponent if name == "**" else inner
            arguments = st.tuples(inner) if language.operators[name].arity == 1 else st.tuples(inner, right)
            return arguments.map(lambda chosen: Call(name, chosen))

        return st.sampled_from(list(language.operators)).flatmap(call)

    tree = st.recursive(leaf, grow, max_leaves=leaves)
    return tree.filter(lambda node: depth(node) <= language.limits.depth and size(node) <= language.limits.nodes)


finite = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
handy = st.sampled_from([1.0, 2.0, 0.5, -1.0, 4.0, 0.0])


@pytest.mark.parametrize("language", [METRIC, ALLOCATION], ids=lambda language: language.name)
def test_text_and_tree_are_one(language: Language) -> None:
    @settings(deadline=None, max_examples=400)
    @given(trees(language, finite))
    def check(node: Node) -> None:
        text = format_expression(node)
        assume(len(text) <= language.limits.characters)
        assert parse(text, language) == node

    check()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("(W)*(X)", "W * X"),
        ("mul(W, add(X, 2.0))", "W * (X + 2)"),
        ("W-(X-G)", "W - (X - G)"),
        ("(W-X)-G", "W - X - G"),
        ("(-W)**2", "(-W) ** 2"),
        ("-W**2", "-W ** 2"),
        ("W**-0.5", "W ** -0.5"),
        ("pow(W)", "sqr(W)"),
        ("W / (X * G)", "W / (X * G)"),
        ("-(-W)", "-(-W)"),
        ("neg(2)", "neg(2)"),
        ("+W\n  * X", "W * X"),
        ("1e-3 * W", "0.001 * W"),
        ("1_000 * W", "1000 * W"),
    ],
)
def test_prints_what_a_person_would_write(text: str, printed: str) -> None:
    assert format_expression(parse(text)) == printed


def test_a_parametrised_terminal_keeps_its_number() -> None:
    node = parse("minmax(outliers(5.0))", ALLOCATION)
    assert used_terminals(node) == {"outliers(5)"}
    assert format_expression(node) == "minmax(outliers(5))"


# ---- hostile and wrong

HOSTILE = [
    "__import__('os')",
    "__import__",
    "W.__class__",
    "().__class__.__bases__",
    "9**9**9",
    "W ** X",
    "W ** 5",
    "2 ** 2 ** 2 ** 2 ** 2",
    "(" * 10_000 + "W" + ")" * 10_000,
    "(" * 900 + "W" + ")" * 900,
    "-" * 1999 + "W",
    "sqr(" * 399 + "W" + ")" * 399,
    "W" + "**2" * 600,
    "lambda: W",
    "(lambda W: W)(W)",
    "'W'",
    "f'{W}'",
    "W" * 1_000_000,
    "W + " * 250_000 + "W",
    "W \u00d7 X",
    "\uff37",
    "W\x00",
    "\x1b[31mW",
    "W \u202e X",
    "nan",
    "NaN * W",
    "inf",
    "1e999 * W",
    "9" * 1999,
    "sqr(x=W)",
    "sqr(*W)",
    "sqr(**W)",
    "1j * W",
    "True",
    "W * False",
    "None",
    "...",
    "W, X",
    "[W]",
    "W[0]",
    "W if X else G",
    "1if W else X",
    "W and X",
    "not W",
    "W < X",
    "W // X",
    "W % X",
    "W @ X",
    "W ^ 2",
    "(yield W)",
    "(W := X)",
    "sqr(W for W in X)",
    "W; import os",
    "W = X",
    "# W",
    "",
    " \n\t ",
    "W *",
    "W X",
    "W(X)",
    "sqr",
    "sqr()",
    "sqr(W, X)",
    "mul(W)",
    "eval(W)",
    "skew",
    "uniform",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_hostile_text_gets_one_clear_line_at_once(text: str) -> None:
    calls = [0]

    def count(*event: object) -> None:
        calls[0] += 1

    sys.setprofile(count)
    try:
        with pytest.raises(UsageError) as caught:
            parse(text)
    finally:
        sys.setprofile(None)
    assert calls[0] < 100_000
    line = str(caught.value)
    assert line.startswith('metric "')
    assert line.isprintable()
    assert len(line) < 700


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("W * Y", "Y is not known. Terminals are W, X, G, D, R, X_mean, X_var, X_max, X_abs; did you mean X?"),
        ("w * X", "did you mean W?"),
        ("X_maen * W", "did you mean X_mean?"),
        ("sqrr(W)", "did you mean sqr?"),
        ("W ** X", "the exponent of ** is a number from -4 to 4, not X"),
        ("sqr(W, X)", "sqr takes 1 value, not 2"),
        ("W ^ 2", "write ** for a power"),
        ("W" * 2001, "has 2001 characters; the limit is 2000"),
        ("W(X)", "W is a terminal, not an operator"),
    ],
)
def test_a_complaint_says_what_and_what_to_do(text: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert part in str(caught.value)


@pytest.mark.parametrize("text", ["outliers", "outliers()", "outliers(skew)", "outliers(-1)", "outliers(1e9)", "W * 2"])
def test_allocations_have_their_own_terminals(text: str) -> None:
    with pytest.raises(UsageError, match=r'^allocation "'):
        parse(text, ALLOCATION)


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60) | st.text(alphabet="WXG()+-*/.,0123456789esqr \n", max_size=60))
def test_any_text_is_a_formula_or_one_line(text: str) -> None:
    try:
        node = parse(text)
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert parse(format_expression(node)) == node


def test_limits_are_exact() -> None:
    deep, wide = "W", "W"
    for _ in range(15):
        deep = f"sqr({deep})"
    assert depth(parse(deep)) == 16
    with pytest.raises(UsageError, match="too deep"):
        parse(f"sqr({deep})")
    for _ in range(5):
        wide = f"({wide} + {wide})"
    assert size(parse(wide)) == 63
    assert size(parse(f"-{wide}")) == 64
    with pytest.raises(UsageError, match="65 parts; the limit is 64"):
        parse(f"sqr(-{wide})")


def test_a_constant_is_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        Constant(math.inf)


# ------------------------------------------------------------------- the meaning of operators, once more in plain loops


class Undefined(Exception):
    """The formula has no finite value."""


def quotient(a: Decimal, b: Decimal) -> Decimal:
    if b == 0:
        if a == 0:
            return Decimal(0)
        raise Undefined
    return a / b


def power(a: Decimal, b: Decimal) -> Decimal:
    if b == 0:
        return Decimal(1)
    if a == 0 and b > 0:
        return Decimal(0)
    if a == 0 or (a < 0 and b != b.to_integral_value()):
        raise Undefined
    return a**b


def tanh(a: Decimal) -> Decimal:
    if abs(a) > 500:
        return Decimal(1).copy_sign(a)
    grown = (2 * a).exp()
    return (grown - 1) / (grown + 1)


def is_smaller(a: Decimal, b: Decimal) -> bool:
    """Clearly smaller: rounding in the 60th digit makes no difference of rank."""
    return b - a > max(abs(a), abs(b)) * Decimal("1e-12")


def ranks(values: list[Decimal]) -> list[Decimal]:
    others = max(len(values) - 1, 1)
    return [Decimal(sum(is_smaller(other, value) for other in values)) / others for value in values]


def mean(values: list[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


def deviation(values: list[Decimal], correction: int) -> Decimal:
    if len(values) == 1:
        return Decimal(0)
    middle = mean(values)
    return (sum(((value - middle) ** 2 for value in values), Decimal(0)) / (len(values) - correction)).sqrt()


def norm(values: list[Decimal]) -> Decimal:
    return sum((value * value for value in values), Decimal(0)).sqrt()


def scaled(values: list[Decimal]) -> list[Decimal]:
    return [quotient(value - min(values), max(values) - min(values)) for value in values]


def standardised(values: list[Decimal], correction: int) -> list[Decimal]:
    spread = deviation(values, correction)
    spread = Decimal(0) if spread < Decimal("1e-40") else spread
    return [quotient(value - mean(values) if spread else Decimal(0), spread) for value in values]


def softmax(values: list[Decimal]) -> list[Decimal]:
    grown = [(value - max(values)).exp() for value in values]
    return [value / sum(grown) for value in grown]


ELEMENT: dict[str, Callable[..., Decimal]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": quotient,
    "**": power,
    "neg": lambda a: -a,
    "min": min,
    "max": max,
    "sqr": lambda a: a * a,
    "sqrt": lambda a: abs(a).sqrt(),
    "abs": abs,
    "log": lambda a: (abs(a) + Decimal(LOG_OFFSET)).ln(),
    "exp": lambda a: min(a, Decimal(EXP_LIMIT)).exp(),
    "tanh": tanh,
    "skp": lambda a: a,
}
WHOLE: dict[str, Callable[[list[Decimal]], list[Decimal]]] = {
    "rank": ranks,
    "mms": scaled,
    "minmax": scaled,
    "zsn": lambda values: standardised(values, 1),
    "z": lambda values: standardised(values, 0),
    "softmax": softmax,
}
REDUCE: dict[str, Callable[[list[Decimal]], Decimal]] = {
    "sum": lambda values: sum(values, Decimal(0)),
    "mean": mean,
    "max": max,
    "min": min,
    "std": lambda values: deviation(values, 0),
    "norm": norm,
}


def broadcast(a: Matrix, rows: int, columns: int) -> Matrix:
    return [[a[i % len(a)][j % len(a[0])] for j in range(columns)] for i in range(rows)]


def transposed(a: Matrix) -> Matrix:
    return [list(column) for column in zip(*a, strict=True)]


def value_of(node: Node, terminals: Mapping[str, Matrix]) -> Matrix:
    """The formula in 60 digits, one number at a time."""
    match node:
        case Constant(value):
            return [[Decimal(value)]]
        case Terminal(name):
            return terminals[name]
        case Call(operator, arguments):
            return apply(operator, [value_of(argument, terminals) for argument in arguments])


def apply(operator: str, values: list[Matrix]) -> Matrix:
    rows, columns = max(len(a) for a in values), max(len(a[0]) for a in values)
    if operator in ELEMENT:
        wide = [broadcast(a, rows, columns) for a in values]
        return [[ELEMENT[operator](*(a[i][j] for a in wide)) for j in range(columns)] for i in range(rows)]
    if operator == "div":
        length = norm([number for row in broadcast(values[1], rows, columns) for number in row])
        return [[quotient(number, length) for number in row] for row in values[0]]
    if operator in WHOLE:
        flat = WHOLE[operator]([number for row in values[0] for number in row])
        return [flat[i * columns : (i + 1) * columns] for i in range(rows)]
    axis, _, name = operator.partition("_")
    lines = values[0] if axis == "row" else transposed(values[0])
    result = [ranks(line) if name == "rank" else [REDUCE[name](line)] for line in lines]
    return result if axis == "row" else transposed(result)


def tensor(a: Matrix) -> Tensor:
    return torch.tensor([[float(number) for number in row] for row in a], dtype=torch.float64)


def numbers(rows: int, columns: int, low: int, high: int = 40) -> st.SearchStrategy[Matrix]:
    """Eighths, so that equal values and zeros turn up; no row without anything but zeros."""
    number = st.integers(low, high).map(lambda value: Decimal(value) / 8)
    row = st.lists(number, min_size=columns, max_size=columns).filter(any)
    return st.lists(row, min_size=rows, max_size=rows)


def layers(rows: int = 3, columns: int = 4) -> st.SearchStrategy[dict[str, Matrix]]:
    lowest = {"D": 1, "X_mean": -40}
    shape = {"W": rows, "G": rows, "R": rows}
    return st.fixed_dictionaries(
        {name: numbers(shape.get(name, 1), columns, lowest.get(name, 0)) for name in METRIC.terminals}
    )


def units(count: int = 5) -> st.SearchStrategy[dict[str, Matrix]]:
    names = [*ALLOCATION.terminals, "outliers(5)"]
    signed = {"skew", "kurtosis", "redundancy", "alpha"}
    return st.fixed_dictionaries(
        {name: numbers(1, count, -40 if name in signed else 0, 8 if name == "depth" else 40) for name in names}
    )


def defined(node: Node, terminals: Mapping[str, Matrix]) -> Matrix:
    with localcontext(Context(prec=70, Emax=10**15, Emin=-(10**15))):
        try:
            return value_of(node, terminals)
        except (Undefined, DecimalException, ZeroDivisionError):
            assume(False)
            raise


@pytest.mark.parametrize(
    ("language", "name"),
    [(language, name) for language in (METRIC, ALLOCATION) for name in sorted(language.operators)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_every_operator_is_its_plain_loop(language: Language, name: str) -> None:
    operator = language.operators[name]
    left = numbers(3, 4, -40) | numbers(1, 4, -40) if language is METRIC else numbers(1, 5, -40)
    plain = numbers(1, 1, 1)
    right = plain if name == "**" else left | plain

    @settings(deadline=None, max_examples=50)
    @given(left, right)
    def check(x: Matrix, y: Matrix) -> None:
        values = [x, y][: operator.arity]
        tensors = [tensor(value) if language is METRIC or len(value[0]) == 1 else tensor(value)[0] for value in values]
        result = operator.apply(*tensors)
        try:
            expected = tensor(apply(name, values))
        except Undefined:
            assert not result.isfinite().all()
        else:
            torch.testing.assert_close(result.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)

    check()


@pytest.mark.parametrize(
    "text", ["W * X + row_sum(G) / col_max(W)", "mms(W) - zsn(X) * 3", "max(rank(G), X_mean ** 2)"]
)
def test_parts_compose(text: str) -> None:
    @settings(deadline=None, max_examples=50)
    @given(layers())
    def check(layer: dict[str, Matrix]) -> None:
        expected = tensor(broadcast(defined(parse(text), layer), 3, 4))
        assume(len(expected.unique()) > 1)
        value = evaluate(parse(text), {name: tensor(value) for name, value in layer.items()})
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)

    check()


# ---- evaluation


def layer32(seed: int = 0, rows: int = 24, columns: int = 40) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = {"W": rows, "G": rows, "R": rows}
    random = {name: torch.randn(shape.get(name, 1), columns, generator=generator) for name in METRIC.terminals}
    return {name: value if name == "X_mean" else value.abs() + 0.01 for name, value in random.items()}


def test_the_value_has_the_shape_of_the_weight_and_single_precision() -> None:
    for text in ("X", "row_sum(W) + 0 * X", "W * X", "col_rank(W)"):
        value = evaluate(parse(text), layer32())
        assert (value.shape, value.dtype) == ((24, 40), torch.float32)


def test_half_precision_is_computed_in_single() -> None:
    half = {name: value.to(torch.bfloat16) for name, value in layer32().items()}
    expected = half["W"].float() * half["X"].float()
    assert torch.equal(evaluate(parse("W * X"), half), expected)


@settings(deadline=None, max_examples=100)
@given(trees(METRIC, handy))
def test_inputs_are_never_written(node: Node) -> None:
    layer = layer32(rows=4, columns=6)
    before = {name: value.clone() for name, value in layer.items()}
    try:
        evaluate(node, layer)
    except SecateurError as error:
        assert str(error).startswith('metric "')
        assert str(error).isprintable()
    assert all(torch.equal(layer[name], before[name]) for name in layer)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("W / 0", "divides by zero everywhere"),
        ("sqr(W) + W / (X - X)", "W / (X - X) divides by zero everywhere"),
        ("log(neg(W)) ** 0.5", "yields NaN"),
        ("X_mean ** 0.5 * W", "X_mean ** 0.5 yields NaN"),
        ("exp(100 * W + 90)", "is infinite everywhere"),
        ("W - W", "is 0 everywhere"),
        ("3", "is 3 everywhere"),
        ("sqr(W) * 1e300", "is infinite"),
    ],
)
def test_an_invalid_value_says_why(text: str, part: str) -> None:
    with pytest.raises(SecateurError) as caught:
        evaluate(parse(text), layer32())
    assert str(caught.value).startswith(f'metric "{format_expression(parse(text))}": ')
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "text", ["tanh(W / (X - X))", "rank(W / (X - X))", "W + 1 / exp(1 / (X - X))", "min(W, X / 0)"]
)
def test_what_is_not_finite_cannot_hide(text: str) -> None:
    with pytest.raises(SecateurError, match="divides by zero everywhere"):
        evaluate(parse(text), layer32())


def test_one_zero_divisor_is_counted() -> None:
    layer = layer32()
    layer["X"][0, 3] = 0
    with pytest.raises(SecateurError, match=r"W / X divides by zero at 24 of 960 places"):
        evaluate(parse("W / X"), layer)


def test_a_missing_statistic_is_named() -> None:
    with pytest.raises(SecateurError, match="G was not measured"):
        evaluate(parse("W * G"), {"W": torch.rand(2, 3)})


def test_rows_and_columns_of_zeros_do_not_kill_ria() -> None:
    layer = layer32()
    layer["W"][5] = 0
    layer["W"][:, 7] = 0
    value = evaluate(parse(NAMED_METRICS["ria"]), layer)
    assert value.isfinite().all()
    assert (value[5] == 0).all()
    assert (value[:, 7] == 0).all()


def test_equal_values_rank_equally() -> None:
    value = evaluate(parse("rank(size)", ALLOCATION), {"size": torch.tensor([4.0, 4.0, 9.0, 4.0])})
    assert value.tolist() == [0.0, 0.0, 1.0, 0.0]


# ---- the published ones

Scalar = Callable[[int, int], float]


def paper_scores(name: str, layer: dict[str, Tensor]) -> Tensor:
    """The paper's formula, one weight at a time, in double precision."""
    weight = {key: value.double().tolist() for key, value in layer.items()}
    w, x, g, d, r = weight["W"], weight["X"][0], weight["G"], weight["D"][0], weight["R"]
    rows, columns = len(w), len(w[0])
    low = min(min(row) for row in g)
    high = max(max(row) for row in g)
    formulas: dict[str, Scalar] = {
        "magnitude": lambda i, j: w[i][j],
        "wanda": lambda i, j: w[i][j] * x[j],
        "ria": lambda i, j: (w[i][j] / sum(w[k][j] for k in range(rows)) + w[i][j] / sum(w[i])) * x[j] ** 0.5,
        "gblm": lambda i, j: w[i][j] * x[j] + w[i][j] * g[i][j],
        "pruner_zero": lambda i, j: abs(w[i][j] * w[i][j]) * ((g[i][j] - low) / (high - low)),
        "obs": lambda i, j: w[i][j] ** 2 / d[j],
        "wanda_pp": lambda i, j: (100 * r[i][j] + x[j]) * w[i][j],
    }
    return torch.tensor([[formulas[name](i, j) for j in range(columns)] for i in range(rows)], dtype=torch.float64)


def paper_code(name: str, layer: dict[str, Tensor]) -> Tensor:
    """What the authors' code computes in single precision, in its order of operations."""
    w, x, g, d, r = (layer[key] for key in ("W", "X", "G", "D", "R"))
    scores = {
        "magnitude": lambda: torch.abs(w),
        "wanda": lambda: torch.abs(w) * x.reshape((1, -1)),
        "ria": lambda: (
            (
                torch.abs(w) / torch.sum(torch.abs(w), dim=0)
                + torch.abs(w) / torch.sum(torch.abs(w), dim=1).reshape(-1, 1)
            )
            * x.reshape((1, -1)) ** 0.5
        ),
        "gblm": lambda: torch.abs(w) * x.reshape((1, -1)) + torch.abs(w) * torch.abs(g),
        "pruner_zero": lambda: torch.abs(torch.mul(w, w)) * ((g - g.min()) / (g.max() - g.min())),
        "obs": lambda: w**2 / d.reshape((1, -1)),
        "wanda_pp": lambda: (100 * r + x.reshape((1, -1))) * torch.abs(w),
    }
    return scores[name]()


def lowest_per_row(scores: Tensor) -> Tensor:
    mask = torch.zeros_like(scores, dtype=torch.bool)
    chosen = torch.sort(scores, dim=-1, stable=True).indices[:, : scores.shape[1] // 2]
    return mask.scatter(1, chosen, True)


@pytest.mark.parametrize("name", sorted(NAMED_METRICS))
def test_a_named_metric_is_its_papers_formula(name: str) -> None:
    for seed in range(3):
        layer = layer32(seed)
        value = evaluate(parse(NAMED_METRICS[name]), layer)
        torch.testing.assert_close(value.double(), paper_scores(name, layer), rtol=1e-5, atol=0)
        assert torch.equal(lowest_per_row(value), lowest_per_row(paper_code(name, layer)))


def paper_priorities(name: str, skew: list[float], outliers: list[float], score: list[float]) -> list[float]:
    count = len(skew)
    middle = sum(skew) / count
    spread = math.sqrt(sum((value - middle) ** 2 for value in skew) / count)
    grown = [math.exp((value - middle) / spread) for value in skew]
    share = [1 - value / sum(score) for value in score]
    return {
        "sdsa": [value / sum(grown) for value in grown],
        "owl": [(value - min(outliers)) / (max(outliers) - min(outliers)) for value in outliers],
        "dlp": [(value - min(share)) / (max(share) - min(share)) for value in share],
        "atp": [-index / (count - 1) for index in range(count)],
    }[name]


@pytest.mark.parametrize("name", sorted(set(NAMED_ALLOCATIONS) - {"uniform"}))
def test_a_named_allocation_is_its_papers_formula(name: str) -> None:
    skew, outliers, score = [2.2, 1.4, 1.5, 1.1, 0.9], [4.0, 1.0, 2.5, 3.0, 0.5], [0.1, 0.2, 0.4, 0.3, 0.9]
    terminals = {"skew": skew, "outliers(5)": outliers, "score_mean": score, "depth": [0, 0.25, 0.5, 0.75, 1]}
    tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in terminals.items()}
    value = evaluate(parse(NAMED_ALLOCATIONS[name].expression, ALLOCATION), tensors)
    assert value.tolist() == pytest.approx(paper_priorities(name, skew, outliers, score))


# ---- simplification


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("abs(mul(W, W)) * mms(G)", "W * sqrt(mms(G))"),
        ("sqr(W) * mms(G)", "W * sqrt(mms(G))"),
        ("sqrt(sqr(W)) * 2 * row_sum(W)", "W"),
        ("log(exp(W * X))", "W * X"),
        ("W * sqrt(sqr(X_mean))", "W * abs(X_mean)"),
        ("exp(log(W))", "W"),
        ("-(-W)", "W"),
        ("W + X_mean - X_mean", "W"),
        ("(X * W) * W", "W * sqrt(X)"),
        ("sqr(W * X) / D", "W * X / sqrt(D)"),
        ("zsn(tanh(W)) / row_norm(X) + row_std(W)", "W"),
        ("rank(mms(3 * W))", "W"),
        ("skp(W) * (3 - 1)", "W"),
        ("W * X * mms(zsn(2 * G + row_sum(X)))", "W * X * mms(G)"),
        ("(W + X) / 2 + G / 2", "W + X + G"),
        ("1 - W", "-W"),
        ("1 / (W * X)", "-(W * X)"),
        ("row_sum(W)", "0"),
    ],
)
def test_formulas_that_rank_alike_become_one(text: str, simple: str) -> None:
    assert format_expression(simplify(parse(text))) == simple


@pytest.mark.parametrize(
    "text",
    [
        "W / W",
        "W / sqr(W)",
        "W / 0",
        "X / W",
        "W * X_mean",
        "W * sqrt(X_mean) / X_mean",
        "W * abs(X_mean)",
        "W * row_sum(X_mean)",
        "exp(W) * X",
        "log(X_mean - W)",
        "sqr(X_mean - W)",
        "W * mms(G)",
        "W + X * exp(G + log(X_mean))",
        "tanh(W) + X",
        "rank(exp(W)) + X",
        "rank(tanh(W)) + X",
        "row_rank(W * row_max(G)) + X",
    ],
)
def test_what_only_looks_opposing_stays(text: str) -> None:
    assert format_expression(simplify(parse(text))) == text


@pytest.mark.parametrize(
    ("group", "simple"), [("row", "W"), ("matrix", "W * row_sum(W)"), ("block", "mms(W * row_sum(W))")]
)
def test_the_comparison_group_decides_what_may_go(group: Group, simple: str) -> None:
    assert format_expression(simplify(parse("2 * sqrt(mms(W * row_sum(W)))"), METRIC, group)) == simple


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("minmax(outliers(5))", "outliers(5)"),
        ("2 * z(skew) + 3", "skew"),
        ("softmax(z(minmax(skew)))", "softmax(z(skew))"),
        ("exp(skew)", "exp(skew)"),
        ("sqr(depth)", "sqr(depth)"),
        ("minmax(-score_mean)", "-score_mean"),
        ("rank(sqrt(2 * depth))", "rank(depth)"),
    ],
)
def test_an_allocation_may_lose_shift_and_scale_only(text: str, simple: str) -> None:
    assert format_expression(simplify(parse(text, ALLOCATION), ALLOCATION)) == simple


def contradictions(original: list[Decimal], simple: list[Decimal]) -> list[tuple[int, int]]:
    """Pairs that the original orders clearly and the simplified formula ties or orders the other way."""
    tied = max(map(abs, original)) * Decimal("1e-9")
    count = len(original)
    return [
        (i, j)
        for i in range(count)
        for j in range(count)
        if original[i] - original[j] > tied and simple[i] <= simple[j]
    ]


@pytest.mark.parametrize("group", ["row", "matrix", "block"])
def test_simplifying_keeps_every_ranking(group: Group) -> None:
    @settings(deadline=None, max_examples=300)
    @given(trees(METRIC, handy), layers(), layers())
    @example(parse("W / row_sum(W) * X"), *two_layers())
    @example(parse("col_rank(div(sqr(D) + X * G, G)) + 0 * W"), *two_layers())
    @example(parse("W * row_rank(G * row_max(W) - R)"), *two_layers())
    @example(parse("sqrt(col_rank(tanh(X_abs * R)))"), *two_layers())
    @example(parse("rank(exp(G * 400)) - mms(-sqr(W))"), *two_layers())
    @example(parse("X_mean * W / X_mean + W * row_sum(X_mean)"), *two_layers())
    @example(parse("log(X_mean - W) * 2"), *two_layers())
    @example(parse("sqrt(sqr(X_mean * W)) * row_mean(X_mean)"), *two_layers())
    @example(parse("-2 * zsn(-(W ** 3 * X) / D)"), *two_layers())
    def check(node: Node, first: dict[str, Matrix], second: dict[str, Matrix]) -> None:
        simple = simplify(node, METRIC, group)
        original = [broadcast(defined(node, layer), 3, 4) for layer in (first, second)]
        with localcontext(Context(prec=70, Emax=10**15, Emin=-(10**15))):
            changed = [broadcast(value_of(simple, layer), 3, 4) for layer in (first, second)]
            for before, after in zip(grouped(original, group), grouped(changed, group), strict=True):
                assert not contradictions(before, after), format_expression(simple)

    check()


def two_layers() -> tuple[dict[str, Matrix], dict[str, Matrix]]:
    """Fixed values with a zero here and there, in X as well; X_mean is signed."""

    def layer(shift: int) -> dict[str, Matrix]:
        def number(name: str, i: int, j: int) -> Decimal:
            digit = (i * 7 + j * 3 + shift + len(name) + ord(name[0])) % 11
            return Decimal(digit + (name == "D") - 5 * (name == "X_mean")) / 8

        rows = {"W": 3, "G": 3, "R": 3}
        return {
            name: [[number(name, i, j) for j in range(4)] for i in range(rows.get(name, 1))]
            for name in METRIC.terminals
        }

    return layer(0), layer(5)


def grouped(matrices: list[Matrix], group: Group) -> list[list[Decimal]]:
    """The values that compete with each other."""
    if group == "row":
        return [row for matrix in matrices for row in matrix]
    flat = [[number for row in matrix for number in row] for matrix in matrices]
    return flat if group == "matrix" else [flat[0] + flat[1]]


@settings(deadline=None, max_examples=300)
@given(trees(ALLOCATION, handy), units())
def test_simplifying_an_allocation_keeps_its_scaled_value(node: Node, statistics: dict[str, Matrix]) -> None:
    simple = simplify(node, ALLOCATION)
    (before,) = broadcast(defined(node, statistics), 1, 5)
    assume(max(before) - min(before) > max(map(abs, before)) * Decimal("1e-9"))
    with localcontext(Context(prec=70, Emax=10**15, Emin=-(10**15))):
        (after,) = broadcast(value_of(simple, statistics), 1, 5)
        for a, b in zip(scaled(before), scaled(after), strict=True):
            assert abs(a - b) < Decimal("1e-6"), format_expression(simple)


@pytest.mark.parametrize("language", [METRIC, ALLOCATION], ids=lambda language: language.name)
def test_simplifying_ends_in_a_readable_fixed_point(language: Language) -> None:
    @settings(deadline=None, max_examples=300)
    @given(trees(language, handy, leaves=16))
    def check(node: Node) -> None:
        simple = simplify(node, language)
        assert simplify(simple, language) == simple
        assert parse(format_expression(simple), language) == simple

    check()


# ---- the tree


@settings(deadline=None, max_examples=100)
@given(trees(METRIC, handy), st.data())
def test_replacing_a_part_touches_only_that_part(node: Node, data: st.DataObject) -> None:
    parts = list(walk(node))
    place = data.draw(st.integers(0, len(parts) - 1))
    changed = replaced(node, place, Terminal("new"))
    assert list(walk(changed))[place] == Terminal("new")
    assert size(changed) == size(node) - size(parts[place]) + 1
    assert replaced(changed, place, parts[place]) == node


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        replaced(parse("W * X"), 3, Terminal("W"))


def test_a_formula_that_reads_nothing_ranks_nothing() -> None:
    with pytest.raises(SecateurError, match=r"0\.5 reads no statistic, which ranks nothing"):
        evaluate(parse("0.5", ALLOCATION), {})
