"""Experts of a mixture fall, and what is left gets narrower: the ways of `experts` and `width`, one after the other."""
