"""What a journal has come to."""
