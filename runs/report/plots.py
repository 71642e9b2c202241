"""Small plots as inline SVG: divergence over the candidates, sparsity over the projections, quality against size.

They carry their numbers as tooltips and titles, use no colour alone to tell things apart, and print.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from runs.fold.summary import Row, Trial
from runs.fold.words import number
from runs.report.front import front

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 150, 14, 30
_LABEL_GAP = 13.0


def divergences(trials: Sequence[Trial], references: Mapping[str, float]) -> Markup:
    """Divergence of every candidate in the order of measuring, log scale; references as dashed lines.

    Full dots were measured over the most tokens and can be compared; hollow ones stopped earlier. The line is the best
    so far of the full dots. Nothing is drawn where no value is positive and finite.
    """
    values = [trial.value for trial in trials] + list(references.values())
    drawn = [value for value in values if math.isfinite(value) and value > 0]
    if not trials or not drawn:
        return Markup("")
    low, high = math.log(min(drawn)) - 0.05, math.log(max(drawn)) + 0.05

    def y(value: float) -> float:
        level = math.log(value) if value > 0 and math.isfinite(value) else (low if value <= 0 else high)
        return _TOP + (high - level) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def x(place: int) -> float:
        return _LEFT + (place + 0.5) / len(trials) * (_WIDTH - _LEFT - _RIGHT)

    ticks = [math.exp(low + share * (high - low)) for share in (0.05, 0.35, 0.65, 0.95)]
    parts = [_axis(y(tick), number(tick)) for tick in ticks]
    parts += _dashed_lines({name: y(value) for name, value in references.items()}, references)
    full = max(trial.tokens for trial in trials)
    parts.append(_best_so_far([(x(i), y(t.value)) for i, t in enumerate(trials) if t.tokens == full]))
    parts += [_dot(x(place), y(trial.value), trial, trial.tokens == full) for place, trial in enumerate(trials)]
    parts.append(_text(_LEFT, _HEIGHT - 8, f"{len(trials)} candidates in the order of measuring", "start"))
    return _svg("KL divergence to the dense model of every candidate, lower is better", parts)


def sparsities(shares: Mapping[str, float], asked: float) -> Markup:
    """Measured sparsity of every projection in forward order, with a dashed line at what was asked on the whole."""
    if not shares:
        return Markup("")
    width = (_WIDTH - _LEFT - _RIGHT) / len(shares)

    def y(share: float) -> float:
        return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_axis(y(share), f"{100 * share:.0f} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for place, (name, share) in enumerate(shares.items()):
        parts.append(_bar(_LEFT + place * width, y(share), 0.8 * width, y(0), f"{name}: {100 * share:.2f} %"))
    parts += [_text(_LEFT + place * width, _HEIGHT - 12, label, "start") for place, label in _blocks(list(shares))]
    parts += _dashed_lines({"asked": y(asked)}, {"asked": f"{100 * asked:.3g} %"})
    return _svg("Measured sparsity of every projection, in forward order", parts)


def pareto(rows: Sequence[Row]) -> Markup:
    """Perplexity (log scale) of everything that was measured on the held-out text against the share of weights removed.

    The line joins the rows that no other row beats in both. Nothing is drawn for less than two rows.
    """
    drawn = [row for row in rows if math.isfinite(row.perplexity) and row.perplexity > 0]
    if len(drawn) < 2:
        return Markup("")
    logs = [math.log(row.perplexity) for row in drawn]
    low, high = min(logs) - 0.1, max(logs) + 0.1
    most = max(0.01, *(row.sparsity for row in drawn))

    def place(row: Row) -> tuple[float, float]:
        x = _LEFT + 10 + row.sparsity / most * (_WIDTH - _LEFT - _RIGHT - 20)
        return x, _TOP + (high - math.log(row.perplexity)) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    ticks = [math.exp(low + share * (high - low)) for share in (0.05, 0.5, 0.95)]
    scale = _HEIGHT - _TOP - _BOTTOM
    parts = [_axis(_TOP + (high - math.log(t)) / (high - low) * scale, number(t)) for t in ticks]
    corners = "L".join(f"{x:.1f},{y:.1f}" for x, y in map(place, front(drawn)))
    parts.append(Markup('<path class="best" d="M{}"/>').format(corners))
    lowest = -math.inf
    for row in sorted(drawn, key=lambda row: place(row)[1]):
        x, y = place(row)
        lowest = max(y, lowest + _LABEL_GAP)
        kind, tip = ("full" if row.role == "result" else "hollow"), f"{row.name} {number(row.perplexity)}"
        dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>')
        parts += [dot.format(kind, x, y, tip), _text(x + 8, lowest + 4, tip, "start")]
    parts += [_text(_LEFT, _HEIGHT - 8, "0 % removed", "start")]
    parts += [_text(_WIDTH - _RIGHT, _HEIGHT - 8, f"{100 * most:.3g} % removed", "end")]
    return _svg("Perplexity against the share of weights removed; the line joins what nothing beats in both", parts)


@dataclass(frozen=True)
class Dot:
    """A number with its interval; None where there is none."""

    name: str
    value: float
    low: float | None
    high: float | None
    tip: str


def dots(groups: Mapping[str, Sequence[Dot]], title: str, *, zero: bool) -> Markup:
    """Shares of one, a line for every dot and a group for every task; with a dashed line at `zero` where that is asked.

    Nothing is drawn where there are no groups.
    """
    ends = [e for dots in groups.values() for d in dots for e in (d.value, d.low, d.high) if e is not None]
    if not ends:
        return Markup("")
    low, high = min(ends + [0.0] * zero), max(ends + [0.0] * zero)
    low, high = (low - 0.05, high + 0.05) if high - low < 1e-9 else (low, high)
    left, step = 150, 18
    height = _TOP + step * sum(len(dots) + 1 for dots in groups.values()) + _BOTTOM

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (_WIDTH - left - _RIGHT)

    parts = []
    for tick in (low, (low + high) / 2, high):
        grid = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
        label = _text(x(tick), height - 8, f"{100 * tick:.1f} %", "middle")
        parts += [grid.format(x(tick), _TOP, height - _BOTTOM), label]
    if zero:
        mark = Markup('<line class="reference" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
        parts.append(mark.format(x(0.0), _TOP, height - _BOTTOM))
    y = float(_TOP)
    for group, members in groups.items():
        parts.append(_text(left - 8, y + step / 2 + 4, group, "end"))
        for dot in members:
            y += step
            if dot.low is not None and dot.high is not None:
                line = Markup('<line class="interval" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
                parts.append(line.format(x(dot.low), x(dot.high), y, y))
            circle = Markup('<circle class="full" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>')
            parts.append(circle.format(x(dot.value), y, f"{group}, {dot.name}: {dot.tip}"))
            parts.append(_text(_WIDTH - _RIGHT + 6, y + 4, dot.name, "start"))
        y += step
    return _svg(title, parts, height)


def _blocks(names: Sequence[str]) -> list[tuple[int, str]]:
    """Where the number in the names goes up, at most some fifteen labels: (place, number)."""
    starts: list[tuple[int, str]] = []
    for place, name in enumerate(names):
        found = re.search(r"\d+", name)
        if found and (not starts or starts[-1][1] != found[0]):
            starts.append((place, found[0]))
    return starts[:: max(1, math.ceil(len(starts) / 15))]


def _dashed_lines(heights: Mapping[str, float], values: Mapping[str, float | str]) -> list[Markup]:
    parts, lowest = [], -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = max(height, lowest + _LABEL_GAP)  # labels move down rather than onto each other
        value = values[name]
        label = value if isinstance(value, str) else number(value)
        parts.append(
            Markup('<line class="reference" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                _LEFT, _WIDTH - _RIGHT, height, height
            )
        )
        parts.append(_text(_WIDTH - _RIGHT + 6, lowest + 4, f"{name} {label}", "start"))
    return parts


def _best_so_far(points: Sequence[tuple[float, float]]) -> Markup:
    """A staircase down; smaller divergence is a larger y on the screen."""
    path, best = "", -math.inf
    for x, y in points:
        path += f"M{x:.1f},{y:.1f}" if not path else f"H{x:.1f}"
        best = max(best, y)
        path += f"V{best:.1f}"
    return Markup('<path class="best" d="{}"/>').format(path)


def _dot(x: float, y: float, trial: Trial, full: bool) -> Markup:
    tip = f"{trial.candidate.id} {number(trial.value)} over {trial.tokens:,} tokens: {trial.candidate.recipe.metric}"
    kind = "full" if full else "hollow"
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>').format(
        kind, x, y, tip
    )


def _bar(x: float, y: float, width: float, floor: float, tip: str) -> Markup:
    bar = Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.2f}" height="{:.1f}"><title>{}</title></rect>')
    return bar.format(x, y, width, floor - y, tip)


def _axis(y: float, label: str) -> Markup:
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, _WIDTH - _RIGHT, y, y)
    return line + _text(_LEFT - 6, y + 4, label, "end")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(title: str, parts: Sequence[Markup], height: int = _HEIGHT) -> Markup:
    body = Markup("\n").join(parts)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">\n{}\n</svg>').format(
        _WIDTH, height, escape(title), body
    )
