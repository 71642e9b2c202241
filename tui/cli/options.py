"""Options on the command line: made of `agent.session.options`, or written here once where several commands share them.

    @takes("model", "calibration", "windows", "json", *MACHINE)
    def stats(model: Model, settings: Settings, json: Json = False) -> None: ...

gives `stats` the options in this order, and calls it with the settings that those of them come to.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from agent.session.options import Choices, Wish, flag_of

if TYPE_CHECKING:
    from agent.session.settings import Settings

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A hub id, a folder, a GGUF file or a sample: smollm2-135m, tiny."),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or enough of its start.")]
Home = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="Where runs, memory and caches live (or SECATEUR_HOME).")
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]

MACHINE = ("home", "dtype", "device", "threads")
"""What every command that opens a model ends with."""

Command = Callable[..., None]


def settings(home: Path | None, **given: Any) -> Settings:
    """What `agent.session.settings.load` resolves; imported when a command runs, not for `--help`."""
    from agent.session.settings import load

    return load(home, given)


def takes(*names: str, **helps: str) -> Callable[[Command], Command]:
    """Give a command its options, in the order of the help: its own parameters, fields of a wish, settings.

    It is called with its own, with `settings`, and with the `wish` where it has such a parameter.

    Args:
        names: of all of them. helps: what this command says of an option, where it is not the option's own text.
    """

    def dress(command: Command) -> Command:
        own = inspect.signature(command).parameters
        hints = get_type_hints(command, localns={"Settings": object}, include_extras=True)

        @functools.wraps(command)
        def called(**given: Any) -> None:
            mine = {name: given.pop(name) for name in names if name in own}
            if "wish" in own:
                mine["wish"] = Wish(**{name: given.pop(name) for name in _WISHED.keys() & given.keys()})
            command(settings=settings(**given), **mine)

        parameters = [
            own[name].replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            if name in own
            else _parameter(name, helps.get(name))
            for name in names
        ]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return dress


def option(name: str, text: str | None = None) -> Any:
    """An option as typer takes it.

    Args:
        text: what is said of it, where that is not its own text.
    """
    flag = flag_of(_hints()[name])
    if flag is None:
        raise LookupError(f"{name} is no option of the command line")
    return typer.Option(
        flag.name or f"--{name.replace('_', '-')}",
        metavar=flag.value,
        help=text or flag.help,
        min=flag.least,
        parser=flag.reads,
    )


_WISHED = {field.name: field.default for field in fields(Wish)}


@functools.cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Choices, include_extras=True) | get_type_hints(Wish, include_extras=True)


def _parameter(name: str, text: str | None = None) -> inspect.Parameter:
    """The parameter of an option that a command does not write down itself; a setting that is not given is None, as
    other sources may hold it."""
    kind = Home if name == "home" else Annotated[_line_type(name), option(name, text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_WISHED.get(name), annotation=kind)


def _line_type(name: str) -> Any:
    """The type that the line is read as; which words a setting takes is checked where all its sources are."""
    kind = get_args(_hints()[name])[0]
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    plain = str if get_origin(kinds[0]) is Literal else kinds[0]
    return plain if kinds == (plain,) and name in _WISHED else plain | None
