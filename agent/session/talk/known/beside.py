"""A candidate beside a reference, and why one won: what was measured of both on the same text."""

from __future__ import annotations

from collections.abc import Mapping

from agent.session.talk.known.advice import about, better
from runs.fold.history import History
from runs.fold.summary import describe, summary
from runs.fold.words import number
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement
from tools.recipe.methods import RECIPES


def against_reference(history: History, one: str, method: str) -> str:
    """In what a candidate differs from a reference, and by how much one is better."""
    if one not in history.candidates:
        return about(history, [one])
    theirs = {
        tokens: of for (name, tokens), of in history.references.items() if name == method and of.kind == "divergence"
    }
    lines = [f"{one} is {describe(history.candidates[one].recipe)}."]
    if (recipe := _recipe(history, method)) is not None:
        lines = [f"{lines[0][:-1]}, {method} is {describe(recipe)}."]
    if not theirs and method not in history.finals:
        known = ", ".join(dict.fromkeys(name for name, _ in history.references)) or "none so far"
        missing = f"{method} was not measured in run {history.run}, so neither is known to be better; {known} were."
        return f"{lines[0]} {missing}"
    if theirs:
        lines.append(better(one, method, history.divergences.get(one, {}), theirs))
    lines.append(_perplexities(history, one, method))
    return " ".join(filter(None, lines))


def _recipe(history: History, method: str) -> Recipe | None:
    made = [of.recipe for of in history.methods if of.name == method]
    made += [of.recipe for name, of in history.finals.items() if name == method]
    return next((recipe for recipe in made if recipe is not None), RECIPES.get(method))


def _perplexities(history: History, one: str, method: str) -> str:
    """Of final forms, where both were made."""
    tests = {name: of.measurement for name, of in history.finals.items()}
    for text, found in (("test", tests), ("selection", history.selections)):
        if one in found and method in found:
            return f"In their final forms: {_pair(found, one, method)} on the {text} text."
    return ""


def _pair(found: Mapping[str, Measurement], one: str, other: str) -> str:
    return f"perplexity {number(found[one].value)} of {one} and {number(found[other].value)} of {other}"


def won(history: History, name: str) -> str:
    """Why a candidate is the result of the run; that it is not, where it is not."""
    if name not in history.candidates:
        return about(history, [name])
    ranked = history.ranked()
    if history.winner is None:
        leads = f" {ranked[0].id} leads so far: {_in_search(history, ranked[0].id)}." if ranked else ""
        return f"{name} has not won: run {history.run} has no result yet.{leads}"
    if name != history.winner:
        mine, theirs = history.divergences.get(name, {}), history.divergences.get(history.winner, {})
        beside = f" {better(name, history.winner, mine, theirs)}" if history.winner in history.candidates else ""
        return f"{name} did not win: the result is {history.winner}.{beside}"
    parts = [f"{name} won.", _chosen(history, name), f"In the search: {_in_search(history, name)}."]
    parts += [f"It is {describe(history.candidates[name].recipe)}.", summary(history).verdict]
    return " ".join([*filter(None, parts), 'What goes with a low divergence in this run: "what did you learn?"'])


def _chosen(history: History, name: str) -> str:
    """By what it was chosen among the finalists."""
    found = history.selections
    if name not in found:
        return ""
    others = ", ".join(f"{other} {number(of.value)}" for other, of in found.items() if other != name)
    lowest = all(found[name].value <= of.value for of in found.values())
    how = "the lowest perplexity" if lowest else "perplexity"
    by = " The finalists were judged by tasks." if history.judged else ""
    beside = f" (the others: {others})" if others else ""
    return f"In its final form it had {how} on the selection text: {number(found[name].value)}{beside}.{by}"


def _in_search(history: History, name: str) -> str:
    """Its divergence, and which place that is among those that were measured on as many tokens."""
    measured = history.divergences.get(name, {})
    if not measured:
        return "it was not measured"
    tokens = max(measured)
    alike = sorted(of[tokens].value for of in history.divergences.values() if tokens in of)
    place, value = alike.index(measured[tokens].value) + 1, measured[tokens].value
    return f"KL {number(value)} over {tokens:,} tokens, place {place} of {len(alike)}"
