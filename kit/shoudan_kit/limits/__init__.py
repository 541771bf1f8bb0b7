"""Bounds: calls in flight, rates, and turns of the event loop, each shared fairly among parties."""
