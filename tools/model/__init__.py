"""A model: where it is found, whether it is what it seems to be, what it is made of, and how its blocks are run."""
