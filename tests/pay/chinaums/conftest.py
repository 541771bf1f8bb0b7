"""The harness is the platforms' own."""

from tests.pay.platforms.conftest import harness

__all__ = ["harness"]
