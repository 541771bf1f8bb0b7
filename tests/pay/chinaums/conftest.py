"""The desk is the platforms' own."""

from tests.pay.platforms.conftest import desk

__all__ = ["desk"]
