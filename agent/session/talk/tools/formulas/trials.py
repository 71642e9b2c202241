"""What trying a formula on a model takes: the calibration text it is read on, and the minutes of reading it."""

from __future__ import annotations

from dataclasses import replace

from agent.session.talk.session import Session
from agent.session.talk.tools.subjects import priced, surveying
from tools.recipe import Calibration, Recipe
from tools.recipe.allocation import Allocation

GRAM, GRADIENT, ERRORS = 2, 3, 2
"""Times that reading the text once takes: with Gram matrices, with gradients, and all blocks' errors after that."""


def calibration(session: Session, model: str) -> Calibration:
    """The run's for its model, whose statistics are kept; else that of the settings."""
    goal, values = session.history().goal, session.settings.values
    if goal is not None and goal.model == model:
        return goal.calibration
    return Calibration(source=values.calibration, windows=values.windows, length=values.length, seed=values.seed)


def trial_plan(session: Session, model: str, recipe: Recipe, doing: str, *, whole: bool) -> str:
    """The plan to try a recipe on a model, with what it takes; empty where that is less than ten seconds.

    Args:
        whole: whether every block is pruned, not one.

    Raises:
        SecateurError: there is no such model.
    """
    text = calibration(session, model)
    tokens = text.windows * text.length
    told = f"{doing}; statistics of {tokens:,} tokens of {text.source}"
    after = ERRORS * tokens * whole + _losses(recipe.allocation, session, model, text)
    plan = priced(session, told, [model], _reading(recipe) * tokens + after, surveying)
    if plan and _kept(session, model, recipe, text):  # looked for last, as the weights are hashed for it
        return priced(session, f"{told}, which are kept", [model], after, surveying)
    return plan


def _reading(recipe: Recipe) -> int:
    """How many times reading the text once it takes to collect what the recipe reads."""
    from tools.prune.metric import needs_of

    return GRAM + GRADIENT * len(needs_of(recipe) & {"gradient", "regional"})


def _losses(allocation: Allocation, session: Session, model: str, text: Calibration) -> int:
    """Tokens that are read to measure what the model loses without each block, where the allocation asks for it."""
    from tools.expression import ALLOCATION, parse, used_terminals
    from tools.model.checkpoint import local_folder, outline
    from tools.prune.losses import WINDOWS

    if allocation.uniform or "loss" not in used_terminals(parse(str(allocation.expression), ALLOCATION)):
        return 0
    folder = local_folder(model, session.settings.cache)
    blocks = 1 if folder is None else outline(model, folder).architecture.n_blocks
    return blocks * min(WINDOWS, text.windows) * text.length


def _kept(session: Session, model: str, recipe: Recipe, text: Calibration) -> bool:
    """Whether all the statistics that the recipe reads are in the cache."""
    from tools.model.checkpoint import fingerprint, local_folder, open_reader, outline, precision
    from tools.prune.metric import needs_of
    from tools.statistics.collect import shelf_of
    from tools.text.windows import windows

    settings = session.settings
    folder = local_folder(model, settings.cache)
    if folder is None:
        return False
    reader = open_reader(model, settings.cache)
    cut = windows(text.source, reader, part="calibration", count=text.windows, length=text.length, seed=text.seed)
    of = replace(
        outline(model, folder),
        fingerprint=fingerprint(folder),
        dtype=precision(reader.config, settings.values.dtype, settings.device),
    )
    shelf = shelf_of(settings.cache, of, cut)
    return all(shelf.holds_tensors(name) for name in {"gram", *needs_of(recipe)})
