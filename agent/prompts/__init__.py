"""What a designer that is a language model is told.

The words are Markdown templates. `system.md` is the task as it is for single weights; where other things fall that need
other words, `system_*.md`, named after them, changes the blocks that differ. `reason.md` and `design.md` are the two
steps, `design_*.md` what a generation is told to do.
"""
