"""The language model behind a designer: how it is called, what it costs, and the journal of what it said."""
