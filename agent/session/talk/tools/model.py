"""What a model is like, as a whole and layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from agent.session.talk.known.room import of_model, of_number
from agent.session.talk.session import Session
from agent.session.talk.tools.subjects import priced, subject, surveying, to_do_first
from agent.session.talk.tools.tool import Group, SessionTool
from tools.io.errors import SecateurError, reason

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

PATTERNS = ("unstructured", "2:4", "width", "depth", "width+depth", "experts", "experts+width")
HALF = 0.5
"""The sparsity that patterns are tried at."""
EXTREMES = 3
"""Blocks that are named as highest and lowest."""

Statistic = Literal["skew", "kurtosis", "outliers", "redundancy", "score_mean", "input_norm", "input_max", "size"]

MEANINGS: Mapping[str, str] = {
    "skew": "skewness of |weight|",
    "kurtosis": "kurtosis of |weight|",
    "outliers": "per cent of |weight| x input norm above 5 times their mean (OWL)",
    "redundancy": "1 - cosine between input and output of the block; a low one means that the block changes little",
    "score_mean": "mean of |weight| x input norm",
    "input_norm": "mean norm of the input channels",
    "input_max": "largest input",
    "size": "prunable weights",
}


class ModelFacts(SessionTool):
    """Facts of a model without loading its weights: family, blocks, parameters, precision, size on disk, which patterns
    it can be pruned to and how much of it each reaches."""

    group: ClassVar[Group] = "look"

    model: str = Field(
        default="", max_length=300, description="As said; empty for the result of the run, or the model talked about."
    )

    def plan(self, session: Session) -> str:
        """What has to be fetched or converted first; a model that does not exist is refused."""
        name = self._names(session)[0]
        first = to_do_first(session, [name])
        return f"Plan: look at {name}. {first}" if first else ""

    def work(self, session: Session) -> str:
        """From configuration and headers of files alone."""
        from tools.model.checkpoint import locate, outline

        models = [outline(name, locate(name, session.settings.cache)) for name in self._names(session)]
        patterns = [f"  {text}: {_reached(models[0], text)}" for text in PATTERNS]
        beside = [line for model in models[1:] for line in ("It was made of:", *_facts(model))]
        return "\n".join([*_facts(models[0]), *beside, "What patterns reach, of what can be pruned:", *patterns])

    def _names(self, session: Session) -> list[str]:
        """The model that is named; with none the result of the run before the model that it was made of."""
        run = session.run
        if not self.model and run is not None and run.model_folder.exists():
            return [str(run.model_folder), run.goal.model]
        return [subject(session, self.model)]


class MemoryNeed(SessionTool):
    """How much memory a model needs: its weights by precision, and what a search holds beside them. Of a model that is
    named, or of a number of weights, as "7B"."""

    group: ClassVar[Group] = "look"

    model: str = Field(default="", max_length=300, description="As said; empty for the one that is talked about.")
    billions: float | None = Field(default=None, gt=0, le=10_000, description="Weights, where only a size is said: 7.")

    def plan(self, session: Session) -> str:
        """What has to be fetched or converted first; a model that does not exist is refused."""
        if self.billions is not None:
            return ""
        name = subject(session, self.model)
        first = to_do_first(session, [name])
        return f"Plan: look at {name}. {first}" if first else ""

    def work(self, session: Session) -> str:
        """From the number of weights, or from configuration and headers of files alone."""
        from tools.model.checkpoint import locate

        if self.billions is not None:
            return of_number(1e9 * self.billions)
        name = subject(session, self.model)
        return of_model(name, locate(name, session.settings.cache), session.settings.values.search_length)


def block_sizes(name: str, cache: Path) -> tuple[float, ...]:
    """Prunable weights of every block, of a model that lies here; empty where it has to be fetched first."""
    from tools.model.checkpoint import local_folder, outline
    from tools.model.units import units

    folder = local_folder(name, cache)
    return () if folder is None else tuple(float(u.size) for u in units(outline(name, folder).architecture, "block"))


def _facts(model: Model) -> list[str]:
    from tools.model.soundness import stored_bytes, stored_weights

    of, config = model.architecture, model.config.get_text_config()
    sizes = {
        "hidden size": getattr(config, "hidden_size", None),
        "heads": getattr(config, "num_attention_heads", None),
        "key-value heads": getattr(config, "num_key_value_heads", None),
        "neurons of an MLP": getattr(config, "intermediate_size", None),
        "vocabulary": getattr(config, "vocab_size", None),
        "longest context": getattr(config, "max_position_embeddings", None),
    }
    told = ", ".join(f"{name} {value:,}" for name, value in sizes.items() if isinstance(value, int))
    every = sum(parameter.numel() for parameter in model.network.parameters())
    return [
        f"{model.name}: {model.config.model_type}, {of.n_blocks} blocks, {every:,} parameters, {of.size:,} of them "
        "prunable weights of linear maps",
        f"  {told}",
        f"  on disk {stored_bytes(model.folder) / 1e6:,.1f} MB, {stored_weights(model.folder):,} weights, "
        f"{_stored(model.folder)}, in {model.folder}",
    ]


def _stored(folder: Path) -> str:
    """The precisions of the tensors in its files."""
    from safetensors import safe_open

    from tools.model.hub import weight_files

    found: set[str] = set()
    for file in weight_files(folder):
        with safe_open(file, framework="np") as opened:
            found |= {str(opened.get_slice(key).get_dtype()) for key in opened.keys()}  # noqa: SIM118
    return " and ".join(sorted(found))


def _reached(model: Model, text: str) -> str:
    """How far a pattern reaches, or why the model cannot take it."""
    from tools.prune.reach import reach_of
    from tools.prune.way import way_of
    from tools.recipe import parse_pattern

    pattern = parse_pattern(text)
    try:
        reach = reach_of(model, pattern)
        way_of(pattern).require(model, pattern.prescribed or HALF)
    except SecateurError as error:
        return f"no ({reason(error)})"
    return str(reach)


class LayerStatistics(SessionTool):
    """One statistic for every block of a model, first to last, and which blocks stand out: it tells layers that
    matter from those that may give more."""

    group: ClassVar[Group] = "look"

    model: str = Field(default="", max_length=300, description="As said; empty for the one that is talked about.")
    statistic: Statistic = Field(
        default="redundancy",
        description="redundancy (how much a block changes its input), outliers, skew, kurtosis, score_mean, sizes.",
    )

    def plan(self, session: Session) -> str:
        """Nothing where the run surveyed it; else what is read."""
        name = subject(session, self.model)
        if self._surveyed(session, name):
            return ""
        values = session.settings.values
        doing = f"statistics of {name} over {values.windows} windows of {values.length} tokens"
        return priced(session, doing, [name], values.windows * values.length, surveying)

    def work(self, session: Session) -> str:
        """From the survey of the run, else from `secateur stats`."""
        name = subject(session, self.model)
        if values := self._surveyed(session, name):
            return self._told(name, values, f"survey of run {session.present().id}")
        given = session.settings.values
        more = ["--calibration", given.calibration, "--windows", str(given.windows), "--length", str(given.length)]
        found = session.command("stats", name, *more, *session.machine)
        text = found["calibration"]
        return self._told(
            name, _by_block(found["linears"], self.statistic), f"{text['tokens']:,} tokens of {text['text']}"
        )

    def _surveyed(self, session: Session, name: str) -> Sequence[float]:
        survey = session.history().survey
        if survey is None or session.run is None or name != session.run.goal.model:
            return ()
        return survey.units.get(self.statistic, ())

    def _told(self, name: str, values: Sequence[float], source: str) -> str:
        order = sorted(range(len(values)), key=lambda block: values[block])
        many = min(EXTREMES, len(order) // 2)
        every = ", ".join(f"{block}: {value:.4g}" for block, value in enumerate(values))
        lines = [f"{self.statistic} of {name} by block ({MEANINGS[self.statistic]}; {source}):", f"  {every}"]
        if many:
            lines.append(f"Lowest: block {_listed(order[:many])}. Highest: block {_listed(order[: -many - 1 : -1])}.")
        return "\n".join(lines)


def _by_block(rows: Iterable[dict[str, Any]], statistic: str) -> list[float]:
    """The mean over the linears of every block; of sizes the sum."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["block"], []).append(float(row["parameters" if statistic == "size" else statistic]))
    whole = statistic == "size"
    return [sum(of) if whole else sum(of) / len(of) for _, of in sorted(found.items())]


def _listed(blocks: Iterable[int]) -> str:
    return ", ".join(map(str, blocks))
