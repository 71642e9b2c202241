"""Settings and where each came from: command line, then environment, then `config.toml` in the home, then default.

The home is resolved first, as it says where `config.toml` lies. Environment variables are called SECATEUR_ and the
setting's name, for example SECATEUR_THREADS.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agent.session.options import Choices, flag_of
from runs.goal import ExecutorName
from tools.io.errors import UsageError
from tools.io.files import expanded
from tools.io.frozen import first_problem

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

PREFIX = "SECATEUR_"
HOME_VARIABLE = PREFIX + "HOME"
CONFIG = "config.toml"

Source = Literal["command line", "environment", "config.toml", "default"]


class Values(BaseSettings, Choices):
    """Every setting that has a home-independent default."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    executor: ExecutorName = Choices.executor

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is made of is all it reads: `load` asks the other sources, and knows which said what."""
        return (init_settings,)


@dataclass(frozen=True)
class Settings:
    """The values, the home, and the source of each."""

    home: Path
    values: Values
    sources: Mapping[str, Source]

    def given(self, name: str) -> Any:
        """What the command line said of a setting; None where it said nothing."""
        return getattr(self.values, name) if self.sources[name] == "command line" else None

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
    layers: dict[Source, dict[str, Any]] = {
        "command line": {name: value for name, value in (given or {}).items() if value is not None},
        "environment": EnvSettingsSource(Values)(),
        "config.toml": _config(where / CONFIG),
    }
    for name, layer in reversed(layers.items()):
        _check(layer, name, where / CONFIG)
    sources = {setting: _source(setting, layers) for setting in Values.model_fields}
    return Settings(where, Values(**ChainMap(*layers.values())), {"home": source, **sources})


def _source(setting: str, layers: Mapping[Source, Mapping[str, Any]]) -> Source:
    return next((name for name, layer in layers.items() if setting in layer), "default")


def _home(given: Path | None) -> tuple[Path, Source]:
    if given is not None:
        return expanded(given).resolve(), "command line"
    if variable := os.environ.get(HOME_VARIABLE):
        return expanded(variable).resolve(), "environment"
    import platformdirs

    return platformdirs.user_data_path("secateur"), "default"


def _config(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise UsageError(f"{path}: cannot be read (it is a folder)")
    try:
        return TomlConfigSettingsSource(Values, path)()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML ({error})") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def _check(layer: Mapping[str, Any], source: Source, config: Path) -> None:
    """Validate one source alone, so that the complaint can name it, even where another outranks it."""
    for name in layer.keys() - Values.model_fields.keys():
        close = difflib.get_close_matches(name, Values.model_fields, n=1)
        hint = f"; did you mean {close[0]}?" if close else f". Settings are {', '.join(Values.model_fields)}."
        raise UsageError(f'{config if source == "config.toml" else "option"}: "{name}" is not known{hint}')
    try:
        Values(**layer)
    except ValidationError as error:
        name, _, problem = first_problem(error).partition(":")
        raise UsageError(f"{_place(name, source, config)}:{problem}") from error


def _place(name: str, source: Source, config: Path) -> str:
    """Where a setting stands, as the person wrote it."""
    match source:
        case "environment":
            return PREFIX + name.upper()
        case "command line":
            flag = flag_of(get_type_hints(Choices, include_extras=True)[name])
            return (flag and flag.name) or f"--{name.replace('_', '-')}"
        case _:
            return f"{config}: {name}"
