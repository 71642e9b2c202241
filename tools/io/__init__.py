"""What anything here may stand on: errors for people, files, locks, and the one cache of what was computed."""
