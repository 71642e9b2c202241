"""The tools of a designer that is a language model.

Every tool is a file: its arguments, whose docstring and fields are all that the model reads of it; its work; and the
`Tool` that ties them. Those in `looks` only look, those in `proposals` make drafts of candidates; a toolbox offers
them for one step.
"""
