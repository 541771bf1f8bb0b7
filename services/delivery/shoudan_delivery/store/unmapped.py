"""Statements on vds_unmapped_code: what suppliers answered that no error code explains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.tables import UNMAPPED_CODE
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest

CODES_MAX: Final = (
    200  # of one channel and class: a supplier may answer with another code each time
)
LISTED_MAX: Final = 1_000
KEPT_DAYS: Final = 30
CODE_CHARS_MAX: Final = 64
DESC_CHARS_MAX: Final = 256


class Seen(msgspec.Struct, frozen=True):
    """A code in the answers of one batch."""

    channel_no: str
    service_class: int
    error_code: str
    error_desc: str
    answers: int
    coop_order_id: str


class Unmapped(msgspec.Struct, frozen=True):
    """A code as it is kept."""

    channel_no: str
    service_class: int
    error_code: str
    error_desc: str
    answers: int
    coop_order_id: str
    create_time: datetime
    last_update_time: datetime


_UNMAPPED: Final = Rows(Unmapped)
_SEEN: Final = types(UNMAPPED_CODE, *Seen.__struct_fields__)
_GIVEN: Final = ", ".join(f"given.{name}" for name in _SEEN)
_THERE: Final = """FROM vds_unmapped_code there WHERE there.channel_no = given.channel_no
        AND there.service_class = given.service_class"""
# New codes while there is room for them, one that is kept always.
_NOTE = statement(f"""
INSERT INTO vds_unmapped_code ({", ".join(_SEEN)}, create_time, last_update_time)
SELECT {", ".join(_SEEN)}, shoudan_now(), shoudan_now()
FROM (SELECT {_GIVEN}, known,
        row_number() OVER (PARTITION BY channel_no, service_class, known ORDER BY error_code) AS place
    FROM (SELECT {_GIVEN}, EXISTS (SELECT 1 {_THERE} AND there.error_code = given.error_code) AS known
        FROM {unnest(**_SEEN)}) given) given
WHERE known OR (SELECT count(*) {_THERE}) + place <= {CODES_MAX}
ORDER BY channel_no, service_class, error_code
ON CONFLICT (channel_no, service_class, error_code) DO UPDATE SET error_desc = EXCLUDED.error_desc,
    answers = vds_unmapped_code.answers + EXCLUDED.answers,
    coop_order_id = EXCLUDED.coop_order_id, last_update_time = shoudan_now()
""")
_KEY: Final = types(UNMAPPED_CODE, "channel_no", "service_class")
# What is explained by now, and what has not come for long: room for others.
_DROP = statement(f"""
DELETE FROM vds_unmapped_code USING {unnest(**_KEY)}
WHERE vds_unmapped_code.channel_no = given.channel_no
    AND vds_unmapped_code.service_class = given.service_class
    AND (vds_unmapped_code.last_update_time < shoudan_now() - interval '{KEPT_DAYS} days'
        OR EXISTS (SELECT 1 FROM vds_channel_error_code code
            WHERE code.channel_no = vds_unmapped_code.channel_no
                AND code.service_class = vds_unmapped_code.service_class
                AND code.error_code = vds_unmapped_code.error_code))
""")
# A process that has not yet heard of a new error code may note it once more.
_LIST = statement(f"""
SELECT {_UNMAPPED.of()} FROM vds_unmapped_code
WHERE (:channel_no = '' OR channel_no = :channel_no)
    AND last_update_time >= shoudan_now() - interval '{KEPT_DAYS} days'
    AND NOT EXISTS (SELECT 1 FROM vds_channel_error_code code
        WHERE code.channel_no = vds_unmapped_code.channel_no
            AND code.service_class = vds_unmapped_code.service_class
            AND code.error_code = vds_unmapped_code.error_code)
ORDER BY channel_no, service_class, error_code LIMIT {LISTED_MAX}
""")


async def note(db: AsyncConnection, seen: Sequence[Seen]) -> None:
    """Count these, one of each code, in the order of their keys, so that no two batches block each other."""
    rows = sorted(seen, key=lambda one: (one.channel_no, one.service_class, one.error_code))
    await db.execute(_NOTE, columns(rows, *_SEEN))


async def drop(db: AsyncConnection, keys: Sequence[tuple[str, int]]) -> None:
    """Forget of these channels what is explained by now, and what has not come for long."""
    given = {"channel_no": [one for one, _ in keys], "service_class": [one for _, one in keys]}
    await db.execute(_DROP, given)


async def listed(db: AsyncConnection, channel_no: str) -> list[Unmapped]:
    """What is not understood, of one channel or of all."""
    return _UNMAPPED.all(await db.execute(_LIST, {"channel_no": channel_no}))
