"""Apply a recipe: from the dense model's statistics (search), or block after block (final).

Both forms share `prune_block`, which takes the weights of one block and the statistics of their inputs and writes the
pruned weights. The search form gives it the dense model's statistics. The final form recomputes, for each block, the
statistics of the inputs that the already pruned blocks produce (SparseGPT's and Wanda's sequential form).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tools.expression import ALLOCATION, Node, evaluate, parse, used_terminals
from tools.io.errors import SecateurError
from tools.model.architecture import Projection, weight
from tools.model.blocks import check_blocks, passes
from tools.model.checkpoint import Model
from tools.prune.allocation import check_length, sparsities, units
from tools.prune.experts.mixtures import staying
from tools.prune.structures.anatomy import Layer, layers_of, require_biases, sized
from tools.prune.structures.scores import across_model, standardised
from tools.prune.structures.shrink import check_sayable
from tools.prune.structures.sizes import fit
from tools.prune.weights.masks import lowest_of_all, lowest_per_group, lowest_per_row, ranks, spread
from tools.prune.weights.obs import compensate
from tools.recipe import NM, Compensation, Experts, Recipe, Structured, Unstructured
from tools.statistics.collect import InputStatistics, Statistics, batches, recording, shared_inputs
from tools.statistics.layers import LayerStatistics
from tools.text.windows import Windows

if TYPE_CHECKING:
    from tools.prune.structures.seconds import Prices

INPUT_TERMINALS: Mapping[str, Callable[[InputStatistics], torch.Tensor]] = {
    "X": lambda s: s.norm,
    "X_mean": lambda s: s.mean,
    "X_var": lambda s: s.variance,
    "X_max": lambda s: s.largest.float(),
    "X_abs": lambda s: (s.absolute / s.tokens).float(),
}


@dataclass(frozen=True)
class Plan:
    """A recipe made ready for one model: the parsed metric and the sparsity of every projection."""

    recipe: Recipe
    metric: Node
    sparsity: dict[str, float]
    """Where experts fall: of every mixture."""
    sizes: tuple[int, ...] = ()
    """Units of every layer that stay (`structure.anatomy.layers_of`), where structures fall; experts of every mixture
    (`structure.experts.mixtures_of`), where experts do."""

    @property
    def needs(self) -> frozenset[str]:
        return needs_of(self.recipe)

    @property
    def terminals(self) -> frozenset[str]:
        return used_terminals(self.metric)


def needs_of(recipe: Recipe) -> frozenset[str]:
    """Which optional statistics (`gram`, `gradient`, `regional`, `routing`) a recipe reads."""
    used = used_terminals(parse(recipe.metric, recipe.language))
    wanted = {
        "gram": "D" in used or recipe.compensation.kind in ("obs", "least_squares"),
        "gradient": "G" in used,
        "regional": "R" in used,
        "routing": isinstance(recipe.pattern, Experts),
    }
    return frozenset(name for name, needed in wanted.items() if needed)


def plan(model: Model, layers: LayerStatistics, recipe: Recipe, prices: Prices | None = None) -> Plan:
    """Decide every projection's sparsity from the dense model's layer statistics.

    Args:
        prices: what layers cost, where the recipe counts time.

    Raises:
        SecateurError: the metric or the allocation cannot be used on this model.
    """
    metric = parse(recipe.metric, recipe.language)
    if isinstance(recipe.pattern, NM):
        _check_groups(model, recipe.pattern)
        return Plan(recipe, metric, {p.name: recipe.sparsity for p in model.architecture.projections})
    if isinstance(recipe.pattern, Experts):
        return _plan_experts(model, layers.statistics.routing, recipe, metric)
    if isinstance(recipe.pattern, Structured):
        return _plan_structures(model, layers, recipe, recipe.pattern, metric, prices)
    members = units(model.architecture, recipe.allocation.granularity)
    return Plan(recipe, metric, sparsities(recipe.allocation, members, recipe.sparsity, priorities(layers, recipe)))


def priorities(layers: LayerStatistics, recipe: Recipe) -> torch.Tensor | None:
    """Value of the allocation's expression per unit; None where there is none to evaluate."""
    allocation = recipe.allocation
    if allocation.uniform or allocation.expression is None:
        return None
    node = parse(allocation.expression, ALLOCATION)
    return evaluate(node, layers.terminals(used_terminals(node), allocation.granularity))


def _plan_experts(model: Model, routing: Mapping[str, torch.Tensor], recipe: Recipe, metric: Node) -> Plan:
    """Decide how many experts of every block stay; the model may hold fewer of them now."""
    units, chosen = next(iter(routing.values())).shape[1], model.network.config.get_text_config().num_experts_per_tok
    kept = staying(units, chosen, recipe.sparsity)
    return Plan(recipe, metric, dict.fromkeys(routing, 1 - kept / units), (kept,) * len(routing))


def _plan_structures(
    model: Model,
    statistics: LayerStatistics,
    recipe: Recipe,
    pattern: Structured,
    metric: Node,
    prices: Prices | None,
) -> Plan:
    """Decide how many units of every layer stay."""
    layers = layers_of(model)
    if recipe.compensation.kind == "bias":
        require_biases(model, layers)
    if pattern.group == "model":
        used = used_terminals(metric)
        scores = [
            standardised(
                metric_scores(
                    metric,
                    used,
                    statistics.dense[of.consumer.name],
                    statistics.statistics.inputs[of.consumer.name],
                    of.consumer.name,
                    statistics.statistics,
                ),
                of,
            )
            for of in layers
        ]
        wanted = across_model(scores, layers, recipe.sparsity)
    else:
        wanted = _wanted(model, statistics, recipe, pattern, layers)
    if pattern.request is None:
        kept = fit(layers, wanted, recipe.sparsity, pattern)
    else:
        assert prices is not None, "a recipe that counts time needs prices"
        kept = fit(layers, wanted, prices.of_blocks(layers, recipe.sparsity), pattern, prices.price)
    check_sayable(model, layers, kept)
    return Plan(recipe, metric, sized(model.architecture, layers, kept), tuple(kept))


def _wanted(
    model: Model, statistics: LayerStatistics, recipe: Recipe, pattern: Structured, layers: Sequence[Layer]
) -> list[float]:
    """The sparsity that the allocation wants for every layer; `fit` makes the mean exact.

    For depth alone only the order counts: what has the lowest priority falls first. An explicit vector is taken as it
    is, so that a layer that shall fall whole (1) does.
    """
    allocation = recipe.allocation
    members = units(model.architecture, allocation.granularity)
    priority = priorities(statistics, recipe)
    if allocation.vector is not None:
        check_length(allocation, members)
        rates = {p.name: rate for of, rate in zip(members, allocation.vector, strict=True) for p in of.projections}
    elif priority is not None and pattern.kind == "depth":
        order = ranks(priority.neg()) / max(1, len(priority) - 1)
        rates = {p.name: float(rate) for of, rate in zip(members, order, strict=True) for p in of.projections}
    else:
        rates = sparsities(allocation, members, recipe.sparsity, priority)
    sizes = {p.name: p.size for p in model.architecture.projections}
    named = [(*of.producers, of.consumer.name) for of in layers]
    return [sum(rates[n] * sizes[n] for n in names) / sum(sizes[n] for n in names) for names in named]


def _check_groups(model: Model, pattern: NM) -> None:
    for p in model.architecture.projections:
        if p.in_features % pattern.m:
            raise SecateurError(f"{pattern}: {p.name} has rows of {p.in_features}, not a multiple of {pattern.m}")


def metric_scores(
    metric: Node,
    used: frozenset[str],
    w: torch.Tensor,
    inputs: InputStatistics,
    name: str,
    statistics: Statistics,
    inverse_diagonal: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scores (out, in) float32 of one matrix; the lowest fall.

    Args:
        w: (out, in) current weights. inputs: statistics of its input, dense or propagated.
        statistics: of the dense model, for the gradients. inverse_diagonal: D where OBS supplies it.

    Raises:
        SecateurError: they are not finite, or all the same although the matrix is not silent.
    """
    values: dict[str, torch.Tensor] = {"W": w.float().abs()}
    for terminal in used & INPUT_TERMINALS.keys():
        values[terminal] = INPUT_TERMINALS[terminal](inputs).unsqueeze(0)
    if "D" in used:
        d = inputs.inverse_diagonal() if inverse_diagonal is None else inverse_diagonal
        values["D"] = d.unsqueeze(0)
    if "G" in used:
        values["G"] = statistics.gradient[name]
    if "R" in used:
        values["R"] = statistics.regional[name]
    try:
        return evaluate(metric, values, equal=lambda: is_silent(w, inputs))
    except SecateurError as error:
        raise SecateurError(f"{error} ({name})") from error


def is_silent(w: torch.Tensor, inputs: InputStatistics) -> bool:
    """Whether a matrix puts out nothing, being zero itself or reading only zeros: then whatever falls of it is right,
    and where its scores are equal they fall in index order."""
    return not bool(inputs.largest.any()) or not bool(w.any())


def prune_block(
    ready: Plan,
    members: Sequence[Projection],
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, InputStatistics],
    statistics: Statistics,
    into: Mapping[str, torch.Tensor],
) -> None:
    """Prune the projections of one block.

    Args:
        weights: (out, in) by name, read. into: the same, written; it may be the same tensors.
    """

    def score(name: str, w: torch.Tensor, d: torch.Tensor | None = None) -> torch.Tensor:
        return metric_scores(ready.metric, ready.terminals, w, inputs[name], name, statistics, d)

    pattern, compensation = ready.recipe.pattern, ready.recipe.compensation
    wanted = {p.name: round(ready.sparsity[p.name] * p.size) for p in members}
    masks: dict[str, torch.Tensor] = {}
    if isinstance(pattern, Unstructured) and pattern.group == "block" and members:
        found = lowest_of_all([score(p.name, weights[p.name]) for p in members], sum(wanted.values()))
        masks = {p.name: mask for p, mask in zip(members, found, strict=True)}
        wanted = {name: int(mask.sum()) for name, mask in masks.items()}
    if compensation.kind == "obs":
        for name, pruned in _compensated(ready, members, weights, inputs, wanted, score).items():
            into[name].copy_(pruned)
        return
    for p in members:
        w = weights[p.name]
        mask = masks[p.name] if masks else _mask(ready.recipe, score(p.name, w), wanted[p.name])
        # 0 + w * keep: several times faster on a CPU than `where`, and no zero is negative.
        torch.addcmul(w.new_zeros(()), w, (~mask).to(w.dtype), out=into[p.name])


def _mask(recipe: Recipe, scores: torch.Tensor, count: int) -> torch.Tensor:
    """`count` weights of one matrix, by the pattern's comparison group."""
    if isinstance(recipe.pattern, NM):
        return lowest_per_group(scores, recipe.pattern.n, recipe.pattern.m)
    if isinstance(recipe.pattern, Unstructured) and recipe.pattern.group == "row":
        return lowest_per_row(scores, spread(count, scores.shape[0]).to(scores.device))
    return lowest_of_all([scores], count)[0]


def _compensated(
    ready: Plan,
    members: Sequence[Projection],
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, InputStatistics],
    wanted: Mapping[str, int],
    score: Callable[..., torch.Tensor],
) -> dict[str, torch.Tensor]:
    """OBS on all matrices that share an input at once: they share the Hessian, their rows do not meet."""
    found: dict[str, torch.Tensor] = {}
    by_input: dict[int, list[Projection]] = {}
    for p in members:
        by_input.setdefault(id(inputs[p.name]), []).append(p)
    compensation = ready.recipe.compensation
    for group in by_input.values():
        shared = inputs[group[0].name]
        assert shared.gram is not None, "OBS needs Gram matrices"
        rows = [p.out_features for p in group]
        choose = _batch_rule(ready.recipe, group, wanted, score, shared.gram.diagonal() == 0)
        factor = shared.factor(compensation.damping)
        stacked = torch.cat([weights[p.name] for p in group])
        pruned = compensate(stacked, factor, choose, _batch_size(compensation, ready.recipe))
        found |= {p.name: part for p, part in zip(group, pruned.split(rows), strict=True)}
    return found


def _batch_size(compensation: Compensation, recipe: Recipe) -> int:
    """A lazy batch holds whole N:M groups."""
    m = recipe.pattern.m if isinstance(recipe.pattern, NM) else 1
    return -(-compensation.batch // m) * m


def _batch_rule(
    recipe: Recipe,
    group: Sequence[Projection],
    wanted: Mapping[str, int],
    score: Callable[..., torch.Tensor],
    dead: torch.Tensor,
) -> Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]:
    """The rule that OBS asks for the mask of a batch of columns; over all batches the counts add up exactly.

    Inputs that are always zero (dead columns) fall first, as SparseGPT has it, but never more than were asked for.
    """
    rows = [p.out_features for p in group]
    shares = {p.name: spread(wanted[p.name], p.in_features).cumsum(0).tolist() for p in group}

    def choose(current: torch.Tensor, diagonal: torch.Tensor, first: int, last: int) -> torch.Tensor:
        masks = []
        for p, w in zip(group, current.split(rows), strict=True):
            scores = score(p.name, w, diagonal)[:, first:last].masked_fill(dead[first:last], -torch.inf)
            before = shares[p.name][first - 1] if first else 0
            masks.append(_mask(recipe, scores, shares[p.name][last - 1] - before))
        return torch.cat(masks)

    return choose


def prune_from_statistics(model: Model, dense: Mapping[str, torch.Tensor], statistics: Statistics, ready: Plan) -> None:
    """Write the pruned weights into the model, from the dense weights and the dense model's statistics (search form).

    Args:
        dense: (out, in) weights of every projection before pruning.
    """
    with torch.inference_mode():
        for block in range(model.architecture.n_blocks):
            members = model.architecture.of_block(block)
            into = {p.name: weight(model.network, p) for p in members}
            prune_block(ready, members, dense, statistics.inputs, statistics, into)


def prune_propagated(
    model: Model,
    windows: Windows,
    statistics: Statistics,
    ready: Plan,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Prune the dense model block after block, each on what the pruned blocks before it put out (final form).

    Args:
        windows: the calibration windows. statistics: of the dense model, for gradients.
        progress: called with (blocks done, blocks in all).
    """
    if not reads_inputs(ready.recipe):  # magnitude, Pruner-Zero: the same masks whatever comes in
        dense = {p.name: weight(model.network, p) for p in model.architecture.projections}
        prune_from_statistics(model, dense, statistics, ready)
        return
    gram = "gram" in needs_of(ready.recipe)
    shared = shared_inputs(model.architecture)
    check_blocks(model, windows.ids)
    together = batches(windows)
    with torch.inference_mode(), passes(model, together) as held:
        for block in range(model.architecture.n_blocks):
            members = model.architecture.of_block(block)
            names = {p.name for p in members}
            firsts = {k: v for k, v in shared.items() if k in names}
            with recording(model, firsts, windows.ids.shape[1], gram) as inputs:
                for place in range(len(together)):
                    held.run(place)
            weights = {p.name: weight(model.network, p) for p in members}
            prune_block(ready, members, weights, inputs, statistics, into=weights)
            held.go_on()
            if progress is not None:
                progress(block + 1, model.architecture.n_blocks)


def reads_inputs(recipe: Recipe) -> bool:
    """Whether what the blocks before put out makes a difference to a block."""
    used = used_terminals(parse(recipe.metric, recipe.language))
    return recipe.compensation.kind != "none" or bool(used & {*INPUT_TERMINALS, "D"})


def overall(model: Model, shares: Mapping[str, float]) -> float:
    """Share of zeros over all prunable weights."""
    return sum(shares[p.name] * p.size for p in model.architecture.projections) / model.architecture.size
