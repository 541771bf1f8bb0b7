"""The servicers of the order service: messages to dataclasses and back, shape checks, no rules."""
