"""What a person says while a run is at work: what of it holds, read by a pure function, and what obeys it.

Designers without a language model obey what is read here and nothing else; one with a language model reads the words
themselves, and is held to the same rules.
"""
