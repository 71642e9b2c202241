"""Whole structures fall: head groups, neurons, the attention or the MLP of a block, blocks.

`anatomy` says what a model is made of, `sizes` how many structures of every layer stay, `scores` which ones, `cut`
writes a candidate into the resident model, `stream` says what it lacks beside the dense one, and `shrink` makes the
model that is really smaller. `timed` takes the time of layers, `seconds` is the table of it.
"""
