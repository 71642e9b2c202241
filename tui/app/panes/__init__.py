"""The panes beside the conversation. A pane shows a `RunView`; it is asked to when it is visible and something changed.

A pane never reads the journal and never starts anything: it posts messages, and the app acts.
"""
