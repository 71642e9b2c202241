"""Conversation: what a person says becomes an intent, a goal, or a question that measurements answer."""
