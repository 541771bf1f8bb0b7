"""The seal of a record: an HMAC under a key the database never sees, over the record and the one before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.days import cut_of

ID_BYTES: Final = 4
UNKEYED_BYTES: Final = 32  # a plain SHA-256: what records had before there were keys


class Ring:
    """The keys of the ledger. The first seals; each of them proves what it sealed.

    A seal begins with the id of its key, so that keys can be changed without touching a record.
    """

    __slots__ = ("_empty", "_id", "_keys")

    def __init__(self, lines: str) -> None:
        """`lines`: one key a line. Raises ValueError when there is none."""
        keys = [line.strip().encode() for line in lines.splitlines() if line.strip()]
        if not keys:
            raise ValueError("no key")
        self._keys = {_id_of(key): key for key in keys}
        self._id = _id_of(keys[0])
        # Copied for each record: preparing the key again would double what a seal costs. The library's own
        # `hmac` copies in Python, for twice as much.
        self._empty = HMAC(keys[0], SHA256())

    def seal(
        self,
        previous: bytes,
        record_id: int,
        account_id: int,
        contra_account_id: int,
        trade_no: str,
        ext_no: str,
        trade_type: int,
        change_type: int,
        amount_micros: int,
        balance_micros: int,
        floor_micros: int | None,
        seq: int,
        memo: str,
        time_micros: int,
        origin: str = "",
    ) -> bytes:
        """The seal of a record that follows `previous`.

        NUL parts the fields: PostgreSQL stores no text that holds one, so two different rows never read
        alike. `origin` is what `origin_of` says of the record, empty for one of before there were days.
        """
        row = (
            f"{record_id}\0{account_id}\0{contra_account_id}\0{trade_no}\0{ext_no}\0{trade_type}\0"
            f"{change_type}\0{amount_micros}\0{balance_micros}\0{floor_micros}\0{seq}\0{memo}\0"
            f"{time_micros}{origin}"
        )
        mac = self._empty.copy()
        mac.update(previous + row.encode())
        return self._id + mac.finalize()

    def of(self, given: bytes) -> Ring | None:
        """The ring that seals with the key `given` was sealed with; None when that key is not known."""
        key = self._keys.get(given[:ID_BYTES])
        return None if key is None else ring(key.decode())


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every new record gets: the seal of the ring, and a day that begins `cut` after midnight."""

    ring: Ring
    cut: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Trust:
    """The seals that count: those of the ring, and up to `unkeyed_id_max` the plain hashes before keys."""

    ring: Ring
    unkeyed_id_max: int = 0


@lru_cache(maxsize=64)
def ring(lines: str) -> Ring:
    """The ring of these keys, made once: keys are few and stay."""
    return Ring(lines)


def ring_of(settings: PaySettings) -> Ring:
    """The keys of this process."""
    return ring(settings.ledger_keys.reveal())


def resealed(
    lines: str,
    previous: bytes,
    facts: tuple[int, int, int, str, str, int, int, int, int, int | None, int, str, int],
    origin: tuple[date | None, int, str, str],
) -> bytes:
    """What `Ring.seal` makes of a record: the entry point for benches that store one."""
    return ring(lines).seal(previous, *facts, origin_of(*origin))


def stamp_of(settings: PaySettings) -> Stamp:
    """What this process stamps its records with."""
    return Stamp(ring_of(settings), cut_of(settings.ledger_day_cut))


def trust_of(settings: PaySettings) -> Trust:
    """The seals that proofs accept."""
    return Trust(ring_of(settings), settings.ledger_unkeyed_id_max)


@lru_cache(maxsize=1024)  # days, services and operators are few
def origin_of(day: date | None, about: int, source: str, operator: str) -> str:
    """What a seal covers of the day and the origin of a record."""
    return "" if day is None else f"\0{day.isoformat()}\0{about}\0{source}\0{operator}"


def unkeyed(previous: bytes, *facts: int | str | None) -> bytes:
    """What a record's seal was before there were keys."""
    row = "\0".join(map(str, facts))
    return hashlib.sha256(previous + row.encode()).digest()


def _id_of(key: bytes) -> bytes:
    """Distinguishes keys and reveals nothing about them."""
    return hashlib.sha256(b"shoudan ledger key\0" + key).digest()[:ID_BYTES]
