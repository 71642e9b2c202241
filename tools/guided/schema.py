"""A JSON schema as a grammar of bounded texts: objects and lists are spelled out, scalars are left to llguidance.

Every property is written, in the schema's order, also one that has a default: a small model need not know what it may
leave out. What a schema leaves open is closed here: strings are printable ASCII without quotes and backslashes, their
and the lists' lengths are capped, numbers lie within a million and have few decimals. All of that narrows the schema,
so what is written is valid under it.

What has the extra key `grammar` is written as a string that follows the grammar of that name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.guided.rules import Alternative, Grammar, Json, Literal, Pattern, Rule, Symbol

Schema = Mapping[str, Any]

_LARGEST = 1_000_000
_DECIMALS = 3


@dataclass(frozen=True)
class Caps:
    """What holds where a schema allows more."""

    text: int = 240
    """Characters of a string."""
    items: int = 8
    """Items of a list."""


def schema_grammar(schema: Schema, grammars: Mapping[str, Sequence[Grammar]], caps: Caps, name: str) -> Grammar:
    """The grammar of the values that a schema describes.

    Args:
        schema: objects with properties, lists, strings, numbers, booleans, null, `enum`, `const`, `anyOf`, `oneOf`
            (read as `anyOf`), `allOf` of one, references within the schema; what pydantic writes for a tool.
        grammars: what the extra key `grammar` of a string may name; of several, the first within the string's
            `maxLength` is taken. Their rules have names of their own.
        caps: for strings and lists.
        name: what the rules' names begin with.

    Raises:
        ValueError: a part of the schema is recursive, has no bound, or says nothing of its form.
    """
    builder = _Builder(schema, grammars, caps, name)
    return Grammar(builder.value(schema, ()), builder.rules)


class _Builder:
    def __init__(self, root: Schema, grammars: Mapping[str, Sequence[Grammar]], caps: Caps, name: str) -> None:
        self.root = root
        self.grammars = grammars
        self.caps = caps
        self.name = name
        self.rules: dict[str, tuple[Alternative, ...]] = {}

    def value(self, schema: Schema, open_references: tuple[str, ...]) -> Symbol:
        """What derives the values of one schema; `open_references` are those that it is part of."""
        if "$ref" in schema:
            return self._referenced(schema, open_references)
        if "grammar" in schema:
            return self._formula(schema)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return self._rule([(Literal(json.dumps(value)),) for value in values])
        if choices := _choices(schema):
            return self._rule([(self.value(one, open_references),) for one in choices])
        return self._typed(schema, open_references)

    def _typed(self, schema: Schema, open_references: tuple[str, ...]) -> Symbol:
        match schema.get("type"):
            case "object" if schema.get("properties") or schema.get("additionalProperties") is False:
                return self._object(schema, open_references)
            case "array":
                return self._array(schema, open_references)
            case "string":
                return self._string(schema)
            case "integer":
                return _integer(schema)
            case "number":
                return _number(schema)
            case "boolean":
                return self._rule([(Literal("true"),), (Literal("false"),)])
            case "null":
                return Literal("null")
        raise ValueError(f"{self.name}: {json.dumps(schema)} says too little of the values it allows")

    def _rule(self, alternatives: Sequence[Alternative]) -> Rule:
        rule = Rule(f"{self.name}_{len(self.rules)}")
        self.rules[rule.name] = tuple(alternatives)
        return rule

    def _referenced(self, schema: Schema, open_references: tuple[str, ...]) -> Symbol:
        path = str(schema["$ref"])
        if path in open_references:
            raise ValueError(f"{self.name}: {path} holds itself, so its values have no bound")
        target: Any = self.root
        for key in path.removeprefix("#/").split("/"):
            target = target[key]
        return self.value(target, (*open_references, path))

    def _object(self, schema: Schema, open_references: tuple[str, ...]) -> Symbol:
        parts: list[Symbol] = []
        for key, value in schema.get("properties", {}).items():
            parts += [Literal(f"{', ' if parts else '{'}{json.dumps(key)}: "), self.value(value, open_references)]
        return self._rule([(*parts, Literal("}"))] if parts else [(Literal("{}"),)])

    def _array(self, schema: Schema, open_references: tuple[str, ...]) -> Symbol:
        fixed: list[Symbol] = [self.value(one, open_references) for one in schema.get("prefixItems", ())]
        least = max(int(schema.get("minItems", 0)), len(fixed))
        most = min(schema.get("maxItems", math.inf), max(self.caps.items, least))
        if most > len(fixed):
            fixed += [self.value(schema.get("items", {}), open_references)] * (most - len(fixed))
        # From the last item to the first: what may follow so many items.
        rest: Symbol = Literal("]")
        for index in reversed(range(most)):
            item: Alternative = (*((Literal(", "),) if index else ()), fixed[index], rest)
            rest = self._rule([item, (Literal("]"),)] if index >= least else [item])
        return self._rule([(Literal("["), rest)])

    def _formula(self, schema: Schema) -> Symbol:
        known = self.grammars[schema["grammar"]]
        grammar = next((one for one in known if one.longest <= schema.get("maxLength", math.inf)), None)
        if grammar is None:
            raise ValueError(f"{self.name}: {json.dumps(schema)} allows less than the grammar that it names")
        self.rules.update(grammar.rules)
        return self._rule([(Literal('"'), grammar.start, Literal('"'))])

    def _string(self, schema: Schema) -> Symbol:
        least = int(schema.get("minLength", 0))
        most = min(schema.get("maxLength", math.inf), max(self.caps.text, least))
        if "pattern" in schema or "format" in schema:
            form = {key: schema[key] for key in ("pattern", "format") if key in schema}
            # In UTF-8 a character has at most four bytes; an escape has two.
            return Json.of({"type": "string", "minLength": least, "maxLength": most, **form}, 4 * most + 2)
        return Pattern(rf'"[ !#-\[\]-~]{{{least},{most}}}"', most + 2)


def _choices(schema: Schema) -> list[Schema]:
    """The schemas of which a value follows one; none for a schema that is no choice."""
    if isinstance(kinds := schema.get("type"), list):
        return [{**schema, "type": kind} for kind in kinds]
    if len(schema.get("allOf", ())) == 1:
        return list(schema["allOf"])
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


def _bounds(schema: Schema, step: float) -> tuple[float, float]:
    """Smallest and largest value; a strict bound is one step further in."""
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + step)
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - step)
    if math.isinf(low):
        low = min(-_LARGEST, high - _LARGEST) if math.isfinite(high) else -_LARGEST
    if math.isinf(high):
        high = max(_LARGEST, low + _LARGEST)
    return low, high


def _integer(schema: Schema) -> Json:
    low, high = _bounds(schema, 1)
    low, high = math.ceil(low), math.floor(high)
    known = {"multipleOf": schema["multipleOf"]} if "multipleOf" in schema else {}
    longest = max(len(str(low)), len(str(high)), 2)  # "-0" is written where negative numbers are
    return Json.of({"type": "integer", "minimum": low, "maximum": high, **known}, longest)


def _number(schema: Schema) -> Json:
    """A number on a grid, as nothing else bounds its decimals: at least a hundred steps between the bounds."""
    decimals = _DECIMALS
    low, high = _bounds(schema, 0.0)
    while high > low and (high - low) * 10**decimals < 100:
        decimals += 1
    step = float(f"1e-{decimals}")
    low, high = _bounds(schema, step)
    longest = max(len(str(math.floor(bound))) for bound in (low, high, -1.0)) + 1 + decimals
    grid = {"type": "number", "multipleOf": schema.get("multipleOf", step)}
    return Json.of({**grid, "minimum": low, "maximum": high}, longest)
