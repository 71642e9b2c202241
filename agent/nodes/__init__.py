"""The nodes of the state machine, one file per part of the way; each does nothing that the journal says is done."""
