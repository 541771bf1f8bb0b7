"""Passwords: argon2id in a few threads, so that a flood of logins stops nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shoudan_identity.codes import secret
from shoudan_identity.refusals import Overloaded, PasswordWeak
from shoudan_kit.limits.bulkhead import Admission, Bulkhead, Limits

T = TypeVar("T")

# OWASP's smallest for argon2id: 19 MiB and two passes, about 20 ms of one core.
HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
CHARS_MIN: Final = 12
CHARS_MAX: Final = 256
DIFFERENT_MIN: Final = 5  # characters that are not one and the same again and again
ADDRESS_MAX: Final = 4  # of one address at once


class PasswordRoom:
    """Where passwords are hashed: `at_once` threads, `waiting_max` places, ADDRESS_MAX of one address.

    Each address has one place whatever the others do.
    """

    def __init__(self, at_once: int, waiting_max: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="password")
        most = min(ADDRESS_MAX, waiting_max - 1)
        self._places = Bulkhead(Limits(waiting_max, group_max=most, party_max=most, reserve=1))

    @cached_property
    def _dummy_hash(self) -> str:
        return HASHER.hash(secret())

    def prepare(self) -> None:
        """Make the hash that unknown names are checked against, before the first one comes."""
        assert self._dummy_hash

    async def verify(self, address: str, stored: str | None, password: str) -> bool:
        """Whether the password is right; without a stored one it takes as long. Refuses Overloaded."""
        right = await self._run(address, partial(_verify, stored or self._dummy_hash, password))
        return right and stored is not None

    async def hash(self, address: str, password: str) -> str:
        """What is stored of a password. Refuses Overloaded."""
        return await self._run(address, partial(HASHER.hash, password))

    async def _run(self, address: str, work: Callable[[], T]) -> T:
        party = (address, "")
        if self._places.enter(party, 0) is not Admission.GO:
            raise Overloaded
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Of a caller that hangs up the place is free only when its thread is.
        running.add_done_callback(lambda _: self._places.leave(party, 0, answered=True))
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def check_strength(password: str, name: str) -> None:
    """Length is what counts; classes of characters do not. Refuses PasswordWeak."""
    if not CHARS_MIN <= len(password) <= CHARS_MAX:
        raise PasswordWeak(f"{CHARS_MIN} to {CHARS_MAX} characters")
    if not password.isprintable():
        raise PasswordWeak("printable characters only")
    if len(set(password)) < DIFFERENT_MIN:
        raise PasswordWeak(f"at least {DIFFERENT_MIN} different characters")
    if name in password.lower() and len(password) < len(name) + CHARS_MIN:
        raise PasswordWeak("it is little more than the login name")


def _verify(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password[: CHARS_MAX + 1])
    except (VerificationError, InvalidHashError):
        return False
