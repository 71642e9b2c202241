"""A run on disk and in flight: goal, journal, lock, inbox, budget, executors, report.

The journal is the truth. Whatever a person sees and whatever memory keeps is derived from it.
"""
