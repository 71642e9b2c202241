"""The conversation: what a person says is read, planned, confirmed, done and answered, without a screen."""
