"""What a person meets: the command line (`tui.cli`) and, later, the app. Both read the journal's events only."""
