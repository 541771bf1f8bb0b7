"""The shoudan command: one frame, sub-commands found by entry point."""
