"""What a person meets: the command line (`tui.cli`), the full-screen app (`tui.app`) and runs as text (`tui.text`)."""
