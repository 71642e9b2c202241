"""What past runs found out: an index of candidates by model and recipe.

The index can be lost at any time: the journals of the runs are the truth and it is rebuilt from them.
"""
