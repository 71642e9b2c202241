"""The tools of a designer that is a language model."""
