"""What answers are made of: the journal of a run, the runs of before, and what is reckoned from both."""
