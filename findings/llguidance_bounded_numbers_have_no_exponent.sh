#!/usr/bin/env bash
# A bound in a JSON schema takes the exponent from llguidance's numbers: a model that means 1e-5 can only write 1.
#
# Versions:  llguidance 1.9.1.
# Guess:     "exclusiveMinimum": 0 leaves out values, not notations: 1e-5 stays a number that may be written.
# Behaviour: without a bound 1e-5 is accepted. With one, an exponent is no part of the grammar: after the "1" only more
#            digits, a point or the end of the number may follow, so "e" is masked; 0.00001 is accepted.
# Why it matters: the answer is valid and wrong: a learning rate of 1. llama.cpp's server can be built with llguidance,
#            and vLLM and SGLang offer it. Leave bounds of small numbers out of the schema, and check them afterwards.
# Output:    {"type": "number"}: 1e-5 is taken up to '1e-5', 0.00001 up to '0.00001'
#            {"type": "number", "exclusiveMinimum": 0}: 1e-5 is taken up to '1', 0.00001 up to '0.00001'
#            {"type": "number", "minimum": 0, "maximum": 1}: 1e-5 is taken up to '1', 0.00001 up to '0.00001'
#
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "llguidance==1.9.1"
"$work/venv/bin/python" - <<'PYTHON'
import json
import sys

from llguidance import JsonCompiler, LLMatcher, LLTokenizer

TOKENIZER = LLTokenizer("byte")


def taken(schema: dict, text: str) -> str:
    """The beginning of a text that the schema's grammar accepts."""
    matcher = LLMatcher(TOKENIZER, JsonCompiler().compile(json.dumps(schema)))
    return text[: matcher.try_consume_tokens(TOKENIZER.tokenize_str(text))]


found = []
for bound in ({}, {"exclusiveMinimum": 0}, {"minimum": 0, "maximum": 1}):
    schema = {"type": "number", **bound}
    found.append((taken(schema, "1e-5"), taken(schema, "0.00001")))
    print(f"{json.dumps(schema)}: 1e-5 is taken up to {found[-1][0]!r}, 0.00001 up to {found[-1][1]!r}")
sys.exit(found != [("1e-5", "0.00001"), ("1", "0.00001"), ("1", "0.00001")])
PYTHON
