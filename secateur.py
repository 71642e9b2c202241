"""Secateur from Python: prune a model, search for a recipe, measure and look into models.

The names here are thin: they share settings, runs and memory with the command line, which `python -m secateur` is.
Every function takes what `secateur` takes as options; `home` is the folder of runs, memory and caches
(`SECATEUR_HOME`, or the user's data folder, where it is not given).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from agent.session.settings import Settings
    from runs.report import Summary
    from tools.deliver.keep_zeros import Hold
    from tools.measure.tasks import TaskScores
    from tools.recipe.measurement import Measurement
    from tools.statistics.layers import LayerRow

__all__ = ["Recipe", "answer", "evaluate", "keep_zeros", "prune", "search", "statistics"]


def prune(model: str, recipe: Recipe | str, *, home: Path | None = None, **options: Any) -> Summary:
    """Apply a recipe or a named method to a model, save the result and verify it.

    Args:
        model: a hub id, a folder, a GGUF file or a sample.
        recipe: a recipe, or the name of a method such as `wanda`, which needs `sparsity`.
        options: those of `secateur prune` by name. `sparsity`: share of weights to remove, where it is not the
            recipe's own; `output`: folder of the pruned model, inside the run where it is not given; `compress`: pack
            its weights on disk (opened by its folder, it is unpacked); `masks`: save which weights are kept; `text`:
            what the result is measured on; `windows`, `length`, `calibration`, `dtype`, `device`, `threads`, `seed`,
            ...

    Raises:
        SecateurError: something failed; the message is one line.
        UsageError: what was asked cannot be meant.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> small = dict(windows=2, length=64, test_windows=2, test_length=64, home=home)
    >>> done = prune("tiny", "wanda", sparsity=0.5, **small)
    >>> round(done.winner.sparsity, 3), done.winner.perplexity > done.dense.perplexity
    (0.5, True)
    >>> again = prune("tiny", Recipe(metric="W * X_abs", sparsity=0.25), **small)
    >>> again.winner.perplexity < done.winner.perplexity
    True
    """
    if isinstance(recipe, str):
        return _carried_out(home, model, {**options, "method": recipe})
    return _carried_out(home, model, options, recipe)


def search(model: str, sparsity: float, *, home: Path | None = None, **options: Any) -> Summary:
    """Search for the recipe that costs the model least, apply it, save the result and verify it.

    Args:
        model: a hub id, a folder, a GGUF file or a sample.
        sparsity: share of weights to remove.
        options: those of `secateur prune` by name. `pattern`: `unstructured`, `unstructured/matrix`,
            `unstructured/block`, N:M, `width`, `depth`, `width+depth` (each also with `/free`), `experts` or
            `experts+width`; `recall`: whether memory is asked what worked in earlier runs; `compensation`: whether the
            weights that stay may be updated; `text`: what the result is measured on, once, at the end, as candidates
            are compared on the calibration's source; `tasks` of lm-eval, as `commonsense` or `piqa,hellaswag`: what
            every line of the final table answers, with `limit` samples of each, and `judge="tasks"` lets a part of the
            samples choose between finalists; `output`, `compress` and `masks` as in `prune`; `candidates`, `minutes`,
            `windows`, `length`, `dtype`, `seed`, `task_data`, ...

    Raises:
        SecateurError: something failed; the message is one line.
        UsageError: what was asked cannot be meant.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> small = dict(windows=2, length=64, search_windows=2, search_length=64, test_windows=2, test_length=64)
    >>> found = search("tiny", 0.5, candidates=2, home=home, **small)
    >>> round(found.winner.sparsity, 2), len(found.trials), isinstance(found.recipe, Recipe)
    (0.5, 2, True)
    """
    return _carried_out(home, model, {**options, "sparsity": sparsity})


def evaluate(model: str, *, text: str = "builtin", home: Path | None = None, **options: Any) -> Measurement:
    """Measure the perplexity of a model.

    Args:
        model: a hub id, a folder, a GGUF file or a sample.
        text: `builtin`, `wikitext2`, `c4`, or a .txt or .jsonl file.
        options: settings by name: `test_windows`, `test_length`, `dtype`, `device`, `threads`.

    >>> measured = evaluate("tiny", test_windows=2, test_length=64)
    >>> measured.kind, measured.tokens, measured.protocol.text
    ('perplexity', 126, 'builtin/test')
    >>> 1 < measured.value < 100
    True
    """
    from agent.session.measures import perplexities

    return perplexities([model], text, _settings(home, options))[0]


def answer(
    model: str,
    tasks: str,
    *,
    limit: int | None = None,
    shots: int | None = None,
    chat: bool = False,
    home: Path | None = None,
    **options: Any,
) -> TaskScores:
    """Have a model answer tasks of lm-eval; `tools.measure.tasks.compare` holds two such scores against each other.

    Args:
        model: a hub id, a folder, a GGUF file or a sample.
        tasks: as `commonsense` or `piqa,hellaswag`. limit: samples of each. shots: answered examples before a question.
        chat: whether prompts are put into the model's chat template.
        options: settings by name: `task_data`, `dtype`, `device`, `threads`.

    Raises:
        SecateurError: a task or the model does not permit it.
    """
    from agent.session.goal import task_plan
    from agent.session.measures import answers

    settings = _settings(home, options)
    plan = task_plan(tasks, limit=limit, shots=shots, data=settings.values.task_data, chat=chat)
    return answers([model], plan, settings)[0][1]


def keep_zeros(network: torch.nn.Module, folder: str | Path) -> Hold:
    """Keep the pruned weights of a network at exactly zero, now and after every step of any optimizer.

    Args:
        network: as transformers loads it from the folder, before it is wrapped or compiled.
        folder: of a model that was pruned with `masks`.

    Raises:
        SecateurError: there are no masks, or they are of another network.
    """
    from tools.deliver.keep_zeros import keep_zeros as held

    return held(network, folder)


def statistics(model: str, *, home: Path | None = None, **options: Any) -> list[LayerRow]:
    """Weight and activation statistics of every prunable linear, in forward order.

    Args:
        model: a hub id, a folder, a GGUF file or a sample.
        options: settings by name: `calibration`, `windows`, `length`, `dtype`, `device`, `threads`.

    >>> import tempfile
    >>> rows = statistics("tiny", windows=2, length=64, home=Path(tempfile.mkdtemp()))
    >>> rows[0].role, rows[0].block, rows[0].skew > 0
    ('q', 0, True)
    """
    from agent.session.measures import layers

    return layers(model, _settings(home, options))[2]


def _settings(home: Path | None, options: dict[str, Any]) -> Settings:
    from agent.session.settings import load

    return load(home, options)


def _carried_out(home: Path | None, model: str, options: dict[str, Any], recipe: Recipe | None = None) -> Summary:
    from dataclasses import fields

    from agent.session.goal import build
    from agent.session.options import Wish
    from agent.session.start import carry_out, start

    wished = {field.name for field in fields(Wish)}
    wish = Wish(**{name: value for name, value in options.items() if name in wished})
    settings = _settings(home, {name: value for name, value in options.items() if name not in wished})
    settings.use_threads()
    return carry_out(start(settings, build(settings, model, wish, recipe=recipe)))


if __name__ == "__main__":
    from tui.cli import main

    main()
