"""The secrets in force, in memory: what every check of a signature reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from shoudan_kit.clock import Clock

USED_MAX: Final = 1_000  # numbers of one report


@dataclass(frozen=True, slots=True)
class LiveSecret:
    """One secret; it is in force between its times, without one from or to any moment."""

    credential_id: int
    kind: str
    owner: str
    secret: str = field(repr=False)
    not_before: datetime | None = None
    expire_time: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        """Whether it fits at this moment."""
        begun = self.not_before is None or self.not_before <= now
        return begun and (self.expire_time is None or now < self.expire_time)


class LiveSecrets:
    """All live secrets of some kinds, by kind and owner; who verifies with them says which fitted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: Mapping[tuple[str, str], tuple[LiveSecret, ...]] = {}
        self._used: set[int] = set()

    def replace(self, secrets: Iterable[LiveSecret]) -> None:
        """These and no others are live, newest first for each owner."""
        known: dict[tuple[str, str], tuple[LiveSecret, ...]] = {}
        for one in sorted(secrets, key=lambda secret: -secret.credential_id):
            key = one.kind, one.owner
            known[key] = (*known.get(key, ()), one)
        self._known = known

    def of(self, kind: str, owner: str) -> tuple[LiveSecret, ...]:
        """Those of an owner that are in force now, newest first."""
        found = self._known.get((kind, owner))
        if not found:
            return ()
        now = self._clock.now()
        return tuple(one for one in found if one.in_force(now))

    def texts(self, kind: str, owner: str) -> tuple[str, ...]:
        """The same without their numbers."""
        return tuple(one.secret for one in self.of(kind, owner))

    def all(self) -> list[LiveSecret]:
        """Every one, whatever its times."""
        return [one for of_owner in self._known.values() for one in of_owner]

    def use(self, credential_id: int) -> None:
        """Note that it fitted; reported to who owns it about once a minute."""
        self._used.add(credential_id)

    def take_used(self) -> list[int]:
        """Those that fitted since the last call, at most USED_MAX; the rest comes with the next."""
        taken = list(islice(self._used, USED_MAX))
        self._used.difference_update(taken)
        return taken
