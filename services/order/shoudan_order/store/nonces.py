"""Statements on oms_used_nonce: the nonces of signed writes, each used up by one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import returned
from shoudan_kit.db.text_statements import statement

FORGET_MAX: Final = 5_000  # deleted by one statement


class CallNonce(msgspec.Struct, frozen=True):
    """The nonce of one signed call. `call_id` tells the call itself, sent again, from a replay of it."""

    channel_no: str
    nonce: str
    call_id: int
    keep_s: int


# Rows go in by key, so that two batches with the same nonces wait for each other in the same order.
# What comes back was not used before, has expired, or was used by this same call.
USE_NONCES: Final = """INSERT INTO oms_used_nonce AS u (channel_no, nonce, call_id, expire_time)
    SELECT n.channel_no, n.nonce, n.call_id, shoudan_now() + make_interval(secs => n.keep_s)
    FROM unnest(CAST(:nonce_channels AS text[]), CAST(:nonces AS text[]),
        CAST(:nonce_calls AS bigint[]), CAST(:nonce_keeps_s AS integer[]))
        AS n(channel_no, nonce, call_id, keep_s)
    ORDER BY n.channel_no, n.nonce
    ON CONFLICT (channel_no, nonce) DO UPDATE
        SET call_id = excluded.call_id, expire_time = excluded.expire_time
        WHERE u.expire_time <= shoudan_now() OR u.call_id = excluded.call_id
    RETURNING u.call_id"""

_USE: Final = statement(USE_NONCES)

_FORGET: Final = statement(f"""
DELETE FROM oms_used_nonce WHERE (channel_no, nonce) IN (
    SELECT channel_no, nonce FROM oms_used_nonce WHERE expire_time <= shoudan_now()
    ORDER BY expire_time LIMIT {FORGET_MAX} FOR UPDATE SKIP LOCKED)
RETURNING 1
""")


def nonce_binds(nonces: Sequence[CallNonce]) -> dict[str, Any]:
    """The binds of USE_NONCES; keys in `nonces` are distinct."""
    return {
        "nonce_channels": [one.channel_no for one in nonces],
        "nonces": [one.nonce for one in nonces],
        "nonce_calls": [one.call_id for one in nonces],
        "nonce_keeps_s": [one.keep_s for one in nonces],
    }


async def use_nonces(db: AsyncConnection, nonces: Sequence[CallNonce]) -> set[int]:
    """Use nonces up; the calls whose nonce another call has used."""
    used = await returned(db, _USE, **nonce_binds(nonces))
    return {one.call_id for one in nonces} - used


async def forget_expired(db: AsyncConnection) -> bool:
    """Delete nonces that have expired, at most FORGET_MAX; whether there may be more."""
    return len(list((await db.execute(_FORGET)).scalars())) == FORGET_MAX
