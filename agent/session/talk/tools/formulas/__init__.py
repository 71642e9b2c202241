"""Formulas that a person tries: what they read, what they are like, and what they cost the layers of a model."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from agent.session.talk.session import Session
from agent.session.talk.tools.formulas.trials import calibration, trial_plan
from agent.session.talk.tools.subjects import subject
from agent.session.talk.tools.tool import Group, SessionTool
from runs.fold.history import History
from runs.fold.words import number
from tools.expression import ALLOCATION, METRIC, NAMED_METRICS, Language, Node, parse, simplify, used_terminals
from tools.expression.operators import Group as Compared
from tools.io.errors import UsageError
from tools.recipe import Recipe, Unstructured
from tools.recipe.trial import allocation_recipe, metric_recipe

HALF = 0.5
"""The sparsity of trials, where no run says another."""
EXPERTS = "Experts are not tried on one layer, only metrics of single weights are: a run measures metrics of experts."


def _written(text: Any) -> Any:
    """A formula as people write it, in the language: |W| is W, ^ a power."""
    if not isinstance(text, str):
        return text
    return re.sub(r"\|\s*W\s*\|", "W", text).replace("^", "**").replace("·", "*")


Formula = Annotated[str, BeforeValidator(_written), Field(min_length=1, max_length=2000)]


class TryMetric(SessionTool):
    """Try a metric on one layer: prune that block alone, without changing the model, and tell the relative output error
    of each of its projections beside Wanda's and magnitude's; also what the formula reads, and which known one it is
    like."""

    group: ClassVar[Group] = "look"

    expression: Formula = Field(description="As W * X or sqr(W) / D, or a name: wanda, ria, sparsegpt.")
    layer: int | None = Field(default=None, description="The block, -1 the last; empty for the middle one.")
    model: str = Field(default="", max_length=300, description="As said; empty for the one that is talked about.")
    sparsity: float | None = Field(default=None, gt=0, lt=1, description="Where another than the run's is meant.")

    def plan(self, session: Session) -> str:
        """What is read and how long it takes; a formula, a model or a layer that is none is refused at once."""
        name, recipe = self._recipe(session)
        model = _model(session, self.model)
        if not model:
            return ""
        _check_layer(session, model, self.layer)
        where = {None: "the middle block", -1: "the last block"}.get(self.layer, f"block {self.layer}")
        doing = f"try {name} on {where} of {model}, which stays as it is"
        return trial_plan(session, model, recipe, doing, whole=False)

    def work(self, session: Session) -> str:
        """What the formula is; with a model at hand also what it costs the layer."""
        name, recipe = self._recipe(session)
        about = read_metric(session.history(), name, recipe)
        model = _model(session, self.model)
        if not model:
            return f'{about}\nNo model is talked about, so nothing was measured: name one, as in "on layer 3 of tiny".'
        layer = [] if self.layer is None else ["--layer", str(self.layer)]
        more = ["--metric", self.expression, *layer, "--sparsity", f"{recipe.sparsity:g}"]
        return f"{about}\n{_told_layer(model, _child(session, model, more))}"

    def _recipe(self, session: Session) -> tuple[str, Recipe]:
        goal = session.history().goal
        if goal is not None and goal.pattern.language is not METRIC and not self.model:
            raise UsageError(EXPERTS)
        return metric_recipe(self.expression, self.sparsity or _share(session))


class TryAllocation(SessionTool):
    """Try an allocation: the sparsity that it would give to each block, lowest, highest and mean, and what that costs
    the outputs of the blocks beside one rate for all. Nothing is changed."""

    group: ClassVar[Group] = "look"

    expression: Formula = Field(description="As minmax(outliers(5)) or -depth, or a name: owl, sdsa, dlp, atp.")
    width: float | None = Field(default=None, ge=0, le=0.5, description="How far rates lie apart; OWL's is 0.08.")
    model: str = Field(default="", max_length=300, description="As said; empty for the one that is talked about.")
    sparsity: float | None = Field(default=None, gt=0, lt=1, description="Where another than the run's is meant.")

    def plan(self, session: Session) -> str:
        """What is read and how long it takes; a formula or a model that is none is refused at once."""
        name, recipe = self._recipe(session)
        model = _model(session, self.model)
        doing = f"try {name} on every block of {model}, which stays as it is"
        return trial_plan(session, model, recipe, doing, whole=True) if model else ""

    def work(self, session: Session) -> str:
        """What the formula is; with a model at hand also rates and errors."""
        name, recipe = self._recipe(session)
        about = read_allocation(name, recipe)
        model = _model(session, self.model)
        if not model:
            return (
                f'{about}\nNo model is talked about, so no rate is known: name one, as in "what would owl do to tiny?".'
            )
        width = [] if self.width is None else ["--width", f"{self.width:g}"]
        more = ["--allocation", self.expression, *width, "--sparsity", f"{recipe.sparsity:g}"]
        return f"{about}\n{_told_rates(model, _child(session, model, more))}"

    def _recipe(self, session: Session) -> tuple[str, Recipe]:
        return allocation_recipe(self.expression, self.sparsity or _share(session), self.width)


def read_metric(history: History, name: str, recipe: Recipe) -> str:
    """What a metric reads, which published one it is, and what the run measured with it."""
    node = parse(recipe.metric)
    group: Compared = "row" if history.goal is None else history.goal.pattern.comparison

    def alike(formula: str) -> bool:
        return simplify(parse(formula), METRIC, group) == simplify(node, METRIC, group)

    called = f"{name} is {recipe.metric}" if name != recipe.metric else f"{name} is a valid metric"
    update = f", and {recipe.compensation} updates what stays" if recipe.compensation.kind != "none" else ""
    lines = [f"{called}; the lowest values fall{update}.", *_reads(node, METRIC)]
    same = [of for of, formula in NAMED_METRICS.items() if of != name and alike(formula)]
    if same:
        lines.append(f"It ranks weights as the published metric {', '.join(same)} does.")
    weights = history.goal is not None and history.goal.pattern.language is METRIC
    tried = [c for c in history.ranked() if weights and alike(c.recipe.metric)]
    if tried:
        found = history.divergences[tried[0].id][max(history.divergences[tried[0].id])]
        lines.append(f"Measured in this run: {tried[0].id} has KL {number(found.value)} over {found.tokens:,} tokens.")
    return "\n".join(lines)


def read_allocation(name: str, recipe: Recipe) -> str:
    """What an allocation reads."""
    expression = str(recipe.allocation.expression)
    if recipe.allocation.uniform:
        return f"{name} gives every block the same sparsity."
    called = f"{name} is {expression}" if name != expression else f"{name} is a valid allocation"
    lines = [f"{called} with width {recipe.allocation.width:g}; the higher its value, the more a block keeps."]
    return "\n".join(lines + _reads(parse(expression, ALLOCATION), ALLOCATION))


def _reads(node: Node, language: Language) -> list[str]:
    used = sorted(used_terminals(node))
    return [f"It reads {'; '.join(f'{name} ({language.statistic(name).meaning})' for name in used)}."] if used else []


def _share(session: Session) -> float:
    """The run's sparsity where it counts single weights, else a half."""
    goal = session.history().goal
    return HALF if goal is None or goal.pattern.fells != Unstructured.fells else goal.sparsity


def _model(session: Session, named: str) -> str:
    """The model that is meant; empty where none is named and none is talked about."""
    return subject(session, named) if named or session.home_model else ""


def _check_layer(session: Session, model: str, layer: int | None) -> None:
    """Refuse a layer that is not there, from the configuration of a model that lies here."""
    from tools.model.checkpoint import local_folder, outline
    from tools.prune.trial import present

    folder = local_folder(model, session.settings.cache)
    if layer is not None and folder is not None:
        present(outline(model, folder).architecture, layer)


def _child(session: Session, model: str, more: list[str]) -> Any:
    of = calibration(session, model)
    text = [
        "--calibration",
        of.source,
        "--windows",
        str(of.windows),
        "--length",
        str(of.length),
        "--seed",
        str(of.seed),
    ]
    return session.command("stats", model, *more, *text, *session.machine)


def _told_layer(model: str, found: dict[str, Any]) -> str:
    mean, groups = found["mean"], found["groups"]
    ours, *others = mean
    beside = ", ".join(f"{name} {_percent(mean[name])} (within a {groups[name]})" for name in others)
    rows = [
        f"  {of['role']} {of['shape'][0]} x {of['shape'][1]}: {_percent(of['errors'][ours])}; "
        + ", ".join(f"{name} {_percent(of['errors'][name])}" for name in others)
        for of in found["projections"]
    ]
    return "\n".join(
        [
            f"Block {found['block']} of {model} (blocks 0 to {found['n_blocks'] - 1}), pruned alone to "
            f"{100 * found['sparsity']:g} %; relative output error |(W - W')X|² / |WX|² of each projection:",
            *rows,
            f"  mean: {_percent(mean[ours])} (within a {groups[ours]}); {beside}",
            _protocol(found),
        ]
    )


def _told_rates(model: str, found: dict[str, Any]) -> str:
    blocks, mean = found["blocks"], found["mean"]
    rates = [100 * of["sparsity"] for of in blocks]
    every = ", ".join(f"{of['block']}: {rate:.1f} %" for of, rate in zip(blocks, rates, strict=True))
    return "\n".join(
        [
            f"Sparsity of {model} by block: {every}.",
            f"Lowest {min(rates):.1f} %, highest {max(rates):.1f} %, mean {100 * found['sparsity']:.1f} % by size.",
            f"Expected loss, by {found['metric']}'s mean relative output error |(W - W')X|² / |WX|² of single layers: "
            f"{_percent(mean['allocated'])}, and {_percent(mean['uniform'])} with one rate for all.",
            _protocol(found),
        ]
    )


def _protocol(found: dict[str, Any]) -> str:
    text = found["calibration"]
    note = f" In this model {found['note']}." if found["note"] else ""
    return (
        f"Inputs of the dense model, {text['tokens']:,} tokens of {text['text']}; what the whole model loses was not "
        f"measured, a run does that.{note}"
    )


def _percent(value: float) -> str:
    return f"{number(100 * value)} %"
