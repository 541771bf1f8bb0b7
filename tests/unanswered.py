"""Commits whose answer is lost, for the tests of what is tried again."""

from __future__ import annotations

from typing import Any


class Unanswered:
    """A transaction that is committed without its caller learning it."""

    def __init__(self, real: Any) -> None:
        self._real = real

    async def __aexit__(self, *error: object) -> None:
        await self._real.__aexit__(*error)
        raise ConnectionResetError
