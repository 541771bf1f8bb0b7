"""The servicers of identity: messages to values and back, no rules."""
