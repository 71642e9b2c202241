"""Writing under a grammar: whatever a model writes this way has the form that was asked for, by construction.

    rules    grammars as data, with the length of their longest text
    schema   a JSON schema as such a grammar
    decoder  a network that writes what a grammar allows

The grammar of formulas is beside their parser, in `tools.expression.grammar`.
"""
