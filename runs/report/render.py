"""The report for people: one self-contained HTML page and the same in Markdown.

Everything that comes from the journal is untrusted text (models and people wrote it) and is escaped.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from runs.candidate import Candidate
from runs.fold.summary import Summary, Trial, describe, summary
from runs.fold.thoughts import ThoughtGraph, thought_graph
from runs.fold.words import number, percent
from runs.plain import plain
from runs.report import plots, tasks
from runs.report.family import family
from runs.report.reproducible import reproduction
from runs.run import Run
from tools.io.files import file_aside
from tools.measure.tasks.scores import TaskScores

if TYPE_CHECKING:
    from jinja2 import Environment

    from runs.fold.tasks import TaskTable

_MARKS = re.compile(r"([\\`*_\[\]<>|#&!~$])")
_ADDRESS = re.compile(r"://|@|www\.|\b(mailto|xmpp|javascript|data|file|tel):", re.IGNORECASE)


def write(run: Run) -> None:
    """Write the run's `report.html`, `report.md` and, where something was measured that can be measured again,
    `reproduce.yaml` from its journal, each aside and then in place of what was there.

    Raises:
        SecateurError: the run has not started, or a file cannot be written.
    """
    history = run.history()
    found, graph, again = summary(history), thought_graph(history), reproduction(history)
    file = None if again is None else run.reproduction_file
    texts = {run.report_html: render_html(found, graph, file), run.report_md: render_markdown(found, graph, file)}
    if again is not None:
        texts[run.reproduction_file] = again.yaml
    for path, text in texts.items():
        with file_aside(path) as partial:
            partial.write_text(text, encoding="utf-8")


def render_html(found: Summary, graph: ThoughtGraph | None = None, reproduction_file: Path | None = None) -> str:
    """The page, plots included; it needs no other file and no network."""
    return _render("report.html.j2", found, graph, again=_again(reproduction_file))


def render_markdown(found: Summary, graph: ThoughtGraph | None = None, reproduction_file: Path | None = None) -> str:
    """The report as Markdown, without plots."""
    return _render("report.md.j2", found, graph, again=_again(reproduction_file))


def render_card(found: Summary, origin: str) -> str:
    """The model card of the pruned model, Markdown; `origin` is what figures of the dense model must say, or empty."""
    return _render("card.md.j2", found, None, base_origin=origin)


def render_evaluation(found: TaskTable, kind: str) -> str:
    """What `secateur evaluate --tasks --output DIR` writes; `kind` is `md` or `html`."""
    return _environment(f"evaluation.{kind}.j2").get_template(f"evaluation.{kind}.j2").render(table=found)


def _render(template: str, found: Summary, graph: ThoughtGraph | None, **more: str) -> str:
    graph = graph or ThoughtGraph()
    return (
        _environment(template)
        .get_template(template)
        .render(
            summary=found,
            best=sorted(found.trials, key=_standing),
            values={trial.candidate.id: trial.value for trial in found.trials},
            divergences=plots.divergences(found.trials, found.references),
            pareto=plots.pareto(found.table),
            sparsities=plots.sparsities(found.sparsities, found.goal.sparsity),
            recipe=_recipe_yaml(found),
            family=family(graph),
            shares=found.shares,
            lessons=graph.of_kind("lesson"),
            **more,
        )
    )


@cache  # compiled templates lie in it
def _environment(template: str) -> Environment:
    # Here, since summaries are read wherever a screen is opened, and reports are written once.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=number, percent=percent, describe=describe, origin=_origin, md=_markdown_text, code=_markdown_code
    )
    environment.globals["plot_tasks"] = tasks.plot
    environment.filters.update(public=_public, judged=_judged)
    return environment


def _again(file: Path | None) -> str:
    """The command that measures it again; empty where there is no file for it."""
    return "" if file is None else f"secateur reproduce {shlex.quote(str(file))}"


def _public(name: str) -> str:
    """What others may read of a model's or text's name: of a path only its last part."""
    return Path(name).name if Path(name).is_absolute() else name


def _judged(judged: Mapping[str, TaskScores], trial: Trial) -> str:
    scores = judged.get(trial.candidate.id)
    return "" if scores is None or scores.mean is None else f"{100 * scores.mean:.1f} %"


def _standing(trial: Trial) -> tuple[int, float]:
    """Those that got farther stand before those that stopped early, whose numbers are over fewer tokens."""
    return (-trial.tokens, trial.value)


def _origin(candidate: Candidate) -> str:
    """How it was made and of what: `crossover of c-3, c-7`."""
    return candidate.operator + (f" of {', '.join(candidate.parents)}" if candidate.parents else "")


def _recipe_yaml(found: Summary) -> str:
    recipe = found.recipe
    return "" if recipe is None else yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).strip()


def _shown(value: object) -> object:
    """What a template puts out, with nothing that hides or turns around what stands there."""
    return type(value)(plain(value)) if isinstance(value, str) else plain(str(value))


def _markdown_text(value: object) -> str:
    """`value` on one line, with no character left that Markdown or HTML would act upon. Addresses become code: GitHub
    and others make links of them, escaped or not."""
    words = str(value).split()
    return " ".join(_markdown_code(word) if _ADDRESS.search(word) else _MARKS.sub(r"\\\1", word) for word in words)


def _markdown_code(value: object) -> str:
    """`value` as a code span that also fits into a table's cell."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    padding = " " if "`" in text else ""
    return f"{fence}{padding}{text}{padding}{fence}"
