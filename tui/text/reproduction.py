"""A reproduction as text: what was measured then and now, number by number."""

from __future__ import annotations

from collections.abc import Mapping

from agent.reproduce import VERDICTS, Reproduced, tolerance
from runs.plain import plain
from runs.reproduction import Measured, Reproduction


def progress(asked: Reproduction, then: Measured, now: Measured) -> str:
    """The line of one row that was measured again."""
    place = f"{asked.rows.index(then) + 1}/{len(asked.rows)}"
    return f"  {place}  {_shown(then.name)}  perplexity {now.perplexity:.6g}, then {then.perplexity:.6g}"


def table(asked: Reproduction, done: Reproduced) -> str:
    """What was measured then and now, and which numbers are the same."""
    differences = _differences(done.differs_from)
    return "\n".join([*_heading(asked), *differences, *_table(done), _tolerances(asked), _verdict(done)])


def _heading(asked: Reproduction) -> list[str]:
    on = asked.machine
    threads = "" if on.threads is None else f", {on.threads} thread{'' if on.threads == 1 else 's'}"
    text = f"{asked.test.windows} windows of {asked.test.length} tokens of {asked.test.source}"
    return [
        _shown(f"run {asked.run}: {asked.model.name}, {text}"),
        _shown(f"  then    {asked.model.dtype} on {on.device}{f' ({on.hardware})' if on.hardware else ''}{threads}"),
    ]


def _differences(differs: Mapping[str, tuple[str, str]]) -> list[str]:
    """What is not as it was; where numbers differ, the likely reason."""
    if not differs:
        return ["  now     the same libraries, hardware and threads"]
    return [_shown(f"  differs {name}: {then} then, {now} now") for name, (then, now) in differs.items()]


def _table(done: Reproduced) -> list[str]:
    names = [_shown(number.row) for number in done.numbers]
    width, room = max(map(len, names)), max(len(repr(n)) for of in done.numbers for n in (of.expected, of.found))
    head = f"  {'':<{width}}  {'':<10}  {'then':>{room}}  {'now':>{room}}"
    return [head] + [
        f"  {name:<{width}}  {of.name:<10}  {of.expected!r:>{room}}  {of.found!r:>{room}}  {of.verdict}"
        for name, of in zip(names, done.numbers, strict=True)
    ]


def _tolerances(asked: Reproduction) -> str:
    parts = [f"{name} {'{:g} {}'.format(*tolerance(name, asked.model.dtype))}" for name in asked.rows[0].numbers]
    return f"  tolerance in {_shown(asked.model.dtype)}: {', '.join(parts)}"


def _verdict(done: Reproduced) -> str:
    count, near, off = (done.count(verdict) for verdict in VERDICTS)
    are = "is" if count == 1 else "are"
    said = [f"{count} of {len(done.numbers)} numbers {are} the same to the last digit"]
    said += [f"{near} within tolerance"] if near else []
    said += [f"{off} {'differs' if off == 1 else 'differ'}"] if off else []
    return ", ".join(said) + "."


def _shown(text: str) -> str:
    """On one line, whatever a file says."""
    return plain(text.replace("\n", " ").replace("\t", " "))
