"""Scores and differences in words: what a table shows, and what can be concluded from it."""

from __future__ import annotations

from collections.abc import Sequence

from tools.measure.tasks.scores import Comparison, Difference, Score


def shown(score: Score) -> str:
    """`69.5 % ± 3.3`, the standard error behind it."""
    return value_of(score, score.value) + ("" if score.stderr is None else f" ± {_number(score, score.stderr)}")


def value_of(score: Score, value: float) -> str:
    """A value as the score's table shows it: accuracies as per cent."""
    return f"{100 * value:.1f} %" if score.is_share else f"{value:.4g}"


def gap(score: Score | None, found: Difference) -> str:
    """`−6.5 [−11.0, −2.0]`: points of per cent, or the metric's own unit; None stands for the mean of accuracies."""
    value = _signed(score, found.difference)
    if found.low is None or found.high is None:
        return value
    return f"{value} [{_signed(score, found.low)}, {_signed(score, found.high)}]"


def flips(found: Difference) -> str:
    """`3 lost, 1 won`; nothing where samples are not right or wrong."""
    return "" if found.flips is None else f"{found.flips.lost} lost, {found.flips.won} won"


def conclusion(tasks: dict[str, Score], found: Comparison, ours: str, theirs: str) -> str:
    """What can be said of two models, in a few sentences."""
    if all(d.difference == 0 and (d.flips is None or d.flips.lost == d.flips.won == 0) for d in found.tasks.values()):
        return f"{ours} and {theirs} are right and wrong on the same samples."
    verdicts = {name: d.better(tasks[name].higher_is_better) for name, d in found.tasks.items()}
    unknown = [name for name, d in found.tasks.items() if d.low is None]
    sentences = []
    for better, word in ((False, "worse"), (True, "better")):
        if names := [name for name, verdict in verdicts.items() if verdict is better]:
            sentences.append(f"{ours} is {word} than {theirs} on {_listed(names)}.")
    if same := [name for name, verdict in verdicts.items() if verdict is None and name not in unknown]:
        sizes = sorted({tasks[name].samples for name in same})
        many = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        sentences.append(
            f"{ours} shows no difference to {theirs} on {_listed(same)} at this number of samples ({many})."
        )
    if unknown:
        sentences.append(f"How sure {_listed(unknown)} is, is not known: the figure is no mean over samples.")
    if found.mean is not None and len(tasks) > 1:
        sentences.append(_about_mean(found.mean))
    return " ".join(sentences)


def minutes(value: float) -> str:
    """`about 3.2 minutes`."""
    return (
        "less than a minute"
        if value < 1
        else f"about {value:.1f} minutes"
        if value < 10
        else f"about {value:,.0f} minutes"
    )


def _about_mean(mean: Difference) -> str:
    tenths = f"{abs(100 * mean.difference):.1f}"
    points = f"{tenths} points {'lower' if mean.difference < 0 else 'higher'}" if float(tenths) else "the same"
    assert mean.low is not None
    assert mean.high is not None
    between = f"95 % interval {_signed(None, mean.low)} to {_signed(None, mean.high)}"
    sure = "" if mean.better(True) is not None else ", which may be chance"
    return f"Its mean is {points} ({between}){sure}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(score: Score, value: float) -> str:
    return f"{100 * value:.1f}" if score.is_share else f"{value:.3g}"


def _signed(score: Score | None, value: float) -> str:
    text = f"{100 * abs(value):.1f}" if score is None or score.is_share else f"{abs(value):.4g}"
    sign = "" if float(text) == 0 else "−" if value < 0 else "+"
    return sign + text
