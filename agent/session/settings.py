"""Settings and where each came from: command line, then environment, then `config.toml` in the home, then default.

The home is resolved first, as it says where `config.toml` lies. Environment variables are called SECATEUR_ and the
setting's name, for example SECATEUR_THREADS.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from runs.goal import Evaluation, ExecutorName, Size, Workers
from tools.io.errors import UsageError
from tools.io.files import expanded
from tools.io.frozen import Frozen, first_problem
from tools.recipe import Calibration

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

PREFIX = "SECATEUR_"
HOME_VARIABLE = PREFIX + "HOME"
CONFIG = "config.toml"
DEFAULT_CANDIDATES = 24

Source = Literal["command line", "environment", "config.toml", "default"]


class Values(Frozen):
    """Every setting that has a home-independent default."""

    designer: str = "builtin"
    """Who invents the recipes; `builtin` needs no LLM."""
    prompting: Literal["gcot", "history"] = "gcot"
    """What an LLM's prompts are built from: the thought graph or the plain history."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """None: the checkpoint's own, but float32 on a CPU."""
    device: str = "auto"
    """`auto` is the first CUDA device where there is one, else the CPU."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None leaves the choice to torch."""
    executor: ExecutorName = Workers().executor
    """Where candidates are measured: in-process, processes, ray or ray://HOST:PORT."""
    workers: int | None = Field(default=None, ge=1)
    """Workers that measure at the same time; None: one for each GPU, one on a CPU."""
    gpus_per_worker: float | None = Field(default=None, gt=0, le=1)
    accelerator: str | None = Field(default=None, min_length=1)
    """Type of the GPUs that Ray chooses, for example A100."""
    calibration: str = Calibration().source
    windows: int = Field(default=Calibration().windows, ge=1)
    """Windows of calibration text."""
    length: int = Field(default=Calibration().length, ge=8)
    """Tokens per window of calibration text."""
    search_windows: int = Field(default=Evaluation().search.windows, ge=1)
    """Windows of the text that candidates are compared on, and as many of the text that selects among the best."""
    search_length: int = Field(default=Evaluation().search.length, ge=8)
    test_windows: int = Field(default=Size().windows, ge=1)
    test_length: int = Field(default=Size().length, ge=8)
    finalists: int = Field(default=Evaluation().finalists, ge=1)
    """Recipes of a search that are made in their final form, beside the strongest reference."""
    candidates: int | None = Field(default=None, ge=1)
    """Candidates that a search may measure."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes that a run may take; with neither limit, `candidates` is DEFAULT_CANDIDATES."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens that the designer's LLM may read and write."""
    money: float | None = Field(default=None, gt=0)
    """US dollars that the designer's LLM may cost."""
    seed: int = 0
    task_data: str | None = None
    """Folder of JSONL files that tasks come from; None: lm-eval's own data, from the hub."""


@dataclass(frozen=True)
class Settings:
    """The values, the home, and the source of each."""

    home: Path
    values: Values
    sources: Mapping[str, Source]

    @property
    def cache(self) -> Path:
        """What can be computed again: converted models, statistics, fetched samples."""
        return self.home / "cache"

    @property
    def device(self) -> str:
        """The torch device to work on."""
        if self.values.device != "auto":
            return self.values.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def use_threads(self) -> None:
        """Let torch compute with as many threads as the settings say."""
        if self.values.threads is not None:
            import torch

            torch.set_num_threads(self.values.threads)

    def opened(self, name: str) -> Model:
        """Open a model with the precision and device that the settings say."""
        from tools.model.checkpoint import open_model

        self.use_threads()
        return open_model(name, cache=self.cache, dtype=self.values.dtype, device=self.device)


def load(home: Path | None = None, given: Mapping[str, Any] | None = None) -> Settings:
    """Resolve every setting.

    Args:
        home: from the command line, if it was given there.
        given: settings from the command line; None means not given.

    Raises:
        UsageError: a value cannot be meant; the line says where it stands.
    """
    where, source = _home(home)
    layers: list[tuple[Source, dict[str, Any]]] = [
        ("config.toml", _config(where / CONFIG)),
        ("environment", _environment()),
        ("command line", {name: value for name, value in (given or {}).items() if value is not None}),
    ]
    merged: dict[str, Any] = {}
    sources: dict[str, Source] = {"home": source} | dict.fromkeys(Values.model_fields, "default")
    for name, layer in layers:
        _check(layer, name, where / CONFIG)
        merged |= layer
        sources |= dict.fromkeys(layer, name)
    return Settings(where, Values.model_validate(merged), sources)


def _home(given: Path | None) -> tuple[Path, Source]:
    if given is not None:
        return expanded(given).resolve(), "command line"
    if variable := os.environ.get(HOME_VARIABLE):
        return expanded(variable).resolve(), "environment"
    import platformdirs

    return platformdirs.user_data_path("secateur"), "default"


def _config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML ({error})") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def _environment() -> dict[str, Any]:
    variables = {name: os.environ.get(PREFIX + name.upper()) for name in Values.model_fields}
    return {name: value for name, value in variables.items() if value}


def _check(layer: Mapping[str, Any], source: Source, config: Path) -> None:
    """Validate one source alone, so that the complaint can name it."""
    for name in layer:
        if name not in Values.model_fields:
            close = difflib.get_close_matches(name, Values.model_fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else f". Settings are {', '.join(Values.model_fields)}."
            raise UsageError(f'{config}: "{name}" is not known{hint}')
    try:
        Values.model_validate(dict(layer))
    except ValidationError as error:
        problem = first_problem(error)
        name = problem.partition(":")[0]
        place = {
            "config.toml": f"{config}: {problem}",
            "environment": f"{PREFIX}{name.upper()}{problem.removeprefix(name)}",
            "command line": f"--{name.removeprefix('test_').replace('_', '-')}{problem.removeprefix(name)}",
            "default": problem,
        }
        raise UsageError(place[source]) from error
