"""What a person asks for, without a screen: settings, goals, the start of a run and the talk about it."""
