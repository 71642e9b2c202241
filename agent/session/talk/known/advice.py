"""Answers to questions, from what was measured and nothing else; every answer names the candidates it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.session.talk.known.lessons import rules
from memory.remembered import Remembered
from runs.candidate import Candidate
from runs.fold.designers import shares
from runs.fold.history import History
from runs.fold.summary import describe, summary
from runs.fold.thoughts import ThoughtGraph, thought_graph
from runs.fold.words import number
from tools.recipe.measurement import Measurement

BEST = 5


def about(history: History, names: Sequence[str]) -> str:
    """What candidates are and how they came out, a paragraph each."""
    graph = thought_graph(history)
    return "\n".join(_about(history, graph, name) for name in dict.fromkeys(names))


def compare(history: History, one: str, other: str) -> str:
    """In what two candidates differ, and by how much one is better on the longest text that both were measured on."""
    missing = [name for name in (one, other) if name not in history.candidates]
    if missing:
        return about(history, missing)
    first, second = history.candidates[one].recipe, history.candidates[other].recipe
    lines = [
        f"  {name}: {one} has {mine}, {other} has {theirs}"
        for name, mine, theirs in _differences(first.model_dump(mode="json"), second.model_dump(mode="json"))
    ]
    same = f"{one} and {other} are the same recipe: {describe(first)}."
    head = f"{one} is {describe(first)}, {other} is {describe(second)}. They differ in:" if lines else same
    told = better(one, other, history.divergences.get(one, {}), history.divergences.get(other, {}))
    return "\n".join([head, *lines, told])


def _differences(one: dict[str, Any], other: dict[str, Any], inside: str = "") -> Iterator[tuple[str, Any, Any]]:
    """What two recipes hold that is not the same: its name in words, and both values."""
    for name, mine in one.items():
        theirs, called = other.get(name), f"{inside} {name.replace('_', ' ')}".strip()
        if isinstance(mine, dict) and isinstance(theirs, dict):
            yield from _differences(mine, theirs, called)
        elif mine != theirs:
            yield called, _value(mine), _value(theirs)


def _value(part: Any) -> str:
    if isinstance(part, dict):
        return ", ".join(
            f"{name.replace('_', ' ')} {_value(value)}" for name, value in part.items() if value is not None
        )
    if isinstance(part, list) and len(part) > 3 and all(isinstance(one, int | float) for one in part):
        return f"{len(part)} numbers from {number(min(part))} to {number(max(part))}"
    if isinstance(part, list):
        return " to ".join(map(_value, part)) if len(part) == 2 else ", ".join(map(_value, part))
    return "none" if part is None else str(part)


def better(one: str, other: str, mine: Mapping[int, Measurement], theirs: Mapping[int, Measurement]) -> str:
    """Which of two has the lower divergence on the longest text that both were measured on: tokens -> divergence."""
    both = mine.keys() & theirs.keys()
    if not both:
        return "They were not measured on the same text, so neither is known to be better."
    tokens = max(both)
    first, second = mine[tokens].value, theirs[tokens].value
    better, ratio = (one, first / second) if first <= second else (other, second / first)
    values = f"KL {number(first)} and {number(second)} over {tokens:,} tokens"
    return f"{values}: {better} is better, its divergence is {number(100 * (1 - ratio))} % lower."


def _about(history: History, graph: ThoughtGraph, name: str) -> str:
    candidate = history.candidates.get(name)
    if candidate is None:
        known = f"c-1 to c-{len(history.candidates)}" if history.candidates else "none so far"
        return f"{name} is not a candidate of this run; they are {known}."
    parents = f" of {', '.join(candidate.parents)}" if candidate.parents else ""
    by = f" by {candidate.designer}" if history.chosen and candidate.generation else ""
    parts = [f"{name} is {describe(candidate.recipe)} ({candidate.operator}{parents}{by})."]
    parts += [f"It was made because: {candidate.why}."] if candidate.why else []
    outcome = graph.nodes.get(f"o-{name[2:]}")
    parts.append(f"Outcome: {outcome.text}." if outcome else "It is not measured.")
    parts.append(_perplexities(history, name))
    parts += [f"Behind it: {graph.nodes[t].text}" for t in candidate.thoughts if t in graph.nodes]
    return " ".join(parts)


def _perplexities(history: History, name: str) -> str:
    """On which texts its perplexity was measured, if on any."""
    final = history.finals.get(name)
    read = {"test": None if final is None else final.measurement, "selection": history.selections.get(name)}
    found = {text: of for text, of in read.items() if of is not None}
    if not found:
        return "Its perplexity is not known: only finalists are made in their final form, of which it is measured."
    told = [f"perplexity {number(of.value)} on the {text} text" for text, of in found.items()]
    return f"In its final form: {' and '.join(told)}."


def about_pattern(pattern: str, history: History, memories: Sequence[Remembered]) -> str:
    """What is known of an N:M pattern: from this run, else from memory, else that nothing is."""
    here = [c for c in history.ranked() if str(c.recipe.pattern) == pattern]
    if here:
        return f"The best {pattern} candidate is " + _numbers(history, here[0]) + "."
    found = [m for m in memories if str(m.recipe.pattern) == pattern and m.relative is not None]
    if not found:
        return (
            f"Nothing with {pattern} was measured yet, here or in an earlier run: there is no number to answer with. "
            f'"prune MODEL to {pattern}" measures it. {pattern} binds every group of weights, so it usually costs more '
            "perplexity than the same sparsity without a pattern; some GPUs compute 2:4 faster."
        )
    lines = [f"Measured with {pattern} in earlier runs:"]
    for memory in sorted(found, key=lambda m: m.relative or 0.0)[:BEST]:
        final = "" if memory.perplexity is None else f", perplexity {number(memory.perplexity)}"
        dense = "" if memory.dense_perplexity is None else f" (dense {number(memory.dense_perplexity)})"
        lines.append(f"  {memory.id} on {memory.model}: {describe(memory.recipe)}{final}{dense}")
    return "\n".join(lines)


def lessons(history: History) -> str:
    """What to do by what goes with fitness, the evidence for it, and the best so far."""
    drawn = [f"  {rule}" for rule in rules(history)]
    ranked = history.ranked()
    if not ranked:
        return "Nothing is measured yet, so nothing is learnt."
    head = f"The best so far is {_numbers(history, ranked[0])}."
    if not drawn:
        head = f"{head} No feature of the recipes is set apart from chance yet; that takes more candidates."
        return "\n".join([head, *_designers(history)])
    return "\n".join([head, "What to do by what was measured:", *drawn, *_designers(history)])


def _unsearched(history: History) -> str:
    """What a run without a search, or one that has not begun it, measured."""
    if not history.finals:
        return "Nothing is measured yet."
    measured = sorted(history.finals.items(), key=lambda item: item[1].measurement.value)
    lines = [f"  {name}: perplexity {number(final.measurement.value)}" for name, final in measured]
    found = summary(history)
    ended = [found.verdict, found.extent] if found.winner else []
    return "\n".join(["No candidates were searched. On the test text:", *lines, *ended])


def standing(history: History, most: int = BEST) -> str:
    """The best so far, and whether the winner beats the references."""
    ranked = history.ranked()
    if not ranked:
        return _unsearched(history)
    found = summary(history)
    lines = [found.verdict, found.extent] if found.winner else []
    count = "1 candidate is" if len(ranked) == 1 else f"{len(ranked)} candidates are"
    shown = "the best" if most < len(ranked) else "the best first"
    tokens = {max(history.divergences[c.id]) for c in ranked}
    apart = ", those over more tokens before others" if len(tokens) > 1 else ""
    lines += [f"{count} measured in the search, {shown}{apart}:", *(f"  {_numbers(history, c)}" for c in ranked[:most])]
    return "\n".join([*lines, *_designers(history)])


def against(history: History, method: str) -> str:
    """The result beside one published method: perplexities on the test text, else divergences while it is searched."""
    if history.goal is None:
        return "Nothing is measured yet."
    found = summary(history)
    if history.goal.method == method:
        return f"This run is {method}: {standing(history)}"
    rival = next((row for row in found.table if row.name == method), None)
    if found.winner is not None and rival is not None:
        better = "is better than" if found.winner.perplexity < rival.perplexity else "is not better than"
        told = f"perplexity {number(found.winner.perplexity)} against {number(rival.perplexity)} on the same test text"
        return f"{found.winner.name} {better} {method}: {told}."
    ranked = history.ranked()
    if ranked and method in found.references:
        measured = history.divergences[ranked[0].id]
        ours, theirs = measured[max(measured)].value, found.references[method]
        better = "is better than" if ours < theirs else "is not better than"
        told = f"KL {number(ours)} against {number(theirs)} on the search text"
        return f"So far {ranked[0].id} {better} {method}: {told}; perplexities are measured at the end."
    if method in found.references:
        return f"{method} is measured, and no candidate is yet: how they compare is told later."
    if method in history.goal.pattern.references and history.winner is None:
        return f"{method} is a reference of this run and not measured yet; its perplexity is, at the end."
    known = [row.name for row in found.table if row.role == "reference"] or list(found.references)
    beside = f"it has {', '.join(known)} to compare with" if known else "it has no reference yet"
    return f'{method} was not measured in run {found.run}; {beside}. "prune MODEL with {method} to 50 %" applies it.'


def _designers(history: History) -> list[str]:
    """What each designer of an ensemble contributed."""
    found = [f"  {share}" for share in shares(history)]
    return ["Who designed:", *found] if found else []


def _numbers(history: History, candidate: Candidate) -> str:
    measured = history.divergences[candidate.id]
    tokens = max(measured)
    return f"{candidate.id}: KL {number(measured[tokens].value)} over {tokens:,} tokens, {describe(candidate.recipe)}"
