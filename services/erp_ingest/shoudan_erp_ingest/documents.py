"""Finding documents: one, a page, or all of them as a stream."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from shoudan_erp_ingest.refusals import FieldInvalid, NotFound
from shoudan_erp_ingest.store import finding
from shoudan_erp_ingest.store.finding import Filter, Found, Place
from shoudan_erp_ingest.tables.schema import TRADE
from shoudan_kit.db.pool import Database
from shoudan_kit.secrets.sealing import KeyRing

PAGE_MAX = 1_000
PAGE_DEFAULT = 100
EXPORT_ROWS = 500  # of one message of a stream; the memory an export takes, whatever its size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Documents:
    """Reads of one service's documents."""

    database: Database
    ring: KeyRing

    async def get(self, kind: int, sender: str, no: str) -> Found:
        """The document with this natural key. Refuses: NotFound."""
        async with self.database.connect() as db:
            found = await finding.by_number(db, self.ring, kind, sender, no)
        if found is None:
            raise NotFound("trade" if kind == TRADE else "refund", no[:64])
        return found

    async def page(
        self, kind: int, wanted: Filter, size: int, token: str
    ) -> tuple[list[Found], str]:
        """One page, newest change first, and the token of the next one, empty at the end."""
        if size < 0 or size > PAGE_MAX:
            raise FieldInvalid("page_size", f"0 to {PAGE_MAX}")
        most = size or PAGE_DEFAULT
        after = place_of(token) if token else None
        async with self.database.connect() as db:
            found, place = await finding.page(
                db, self.ring, kind, wanted, after=after, most=most, newest_first=True
            )
        return found, "" if place is None else token_of(place)

    async def export(self, kind: int, wanted: Filter) -> AsyncIterator[list[Found]]:
        """All of them, oldest change first, some at a time; no transaction stays open between."""
        after: Place | None = None
        while True:
            async with self.database.connect() as db:
                found, after = await finding.page(
                    db, self.ring, kind, wanted, after=after, most=EXPORT_ROWS, newest_first=False
                )
            if found:
                yield found
            if after is None:
                return


def token_of(place: Place) -> str:
    """A place as text callers hand back unread."""
    micros = (place[0] - _EPOCH) // (datetime.resolution)
    return base64.urlsafe_b64encode(f"{micros}.{place[1]}".encode()).decode().rstrip("=")


def place_of(token: str) -> Place:
    """The place of a token. Refuses: FieldInvalid."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        micros, _, number = text.partition(".")
        return _EPOCH + datetime.resolution * int(micros), int(number)
    except (ValueError, OverflowError, binascii.Error):
        raise FieldInvalid("page_token", "not one of ours") from None
