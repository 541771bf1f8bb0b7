"""The servicers of the delivery service: messages to dataclasses and back, shape checks, no rules."""
