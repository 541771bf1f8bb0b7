"""What an operator does alone in a day: small calls add up, and their sum has the bound of one."""

from __future__ import annotations

import hashlib
from typing import Final

from google.protobuf.message import Message
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement
from shoudan_kit.proposals.kinds import DayBound

CALLS_MAX: Final = 1_000  # of one operator in a day: what bounds the rows that are added up
_SPACE: Final = 0x0A10  # of advisory locks; any number, the same in every process

# Calls of one operator are counted one after the other: without a row to wait for, two at once would not
# see each other.
_LOCK = statement("SELECT pg_advisory_xact_lock(:space, hashtext(:operator_id))")


def counting(table: str, column: str) -> TextClause:
    """The statement that adds a call to a table of a service, in the unit of this column.

    The day is Beijing's. A repeat of a call, which is the same bytes, counts once; days that are over go.
    """
    return statement(f"""
WITH today AS (
    SELECT CAST(shoudan_now() AT TIME ZONE 'UTC' + interval '8 hours' AS date) AS day
), used AS (
    SELECT today.day, coalesce(sum({table}.{column}), 0) + CAST(:amount AS bigint) AS amount,
        count({table}.day) + 1 AS calls
    FROM today LEFT JOIN {table} ON {table}.operator_id = :operator_id
        AND {table}.day = today.day AND {table}.call_digest <> :call_digest
    GROUP BY today.day
), over AS (
    DELETE FROM {table} USING today
    WHERE {table}.operator_id = :operator_id AND {table}.day < today.day
), noted AS (
    INSERT INTO {table} (operator_id, day, call_digest, {column})
    SELECT :operator_id, used.day, :call_digest, CAST(:amount AS bigint) FROM used
    WHERE used.amount <= CAST(:amount_max AS bigint) AND used.calls <= CAST(:calls_max AS bigint)
    ON CONFLICT (operator_id, day, call_digest) DO NOTHING
)
SELECT used.amount <= CAST(:amount_max AS bigint) AND used.calls <= CAST(:calls_max AS bigint) FROM used
""")


MONEY: Final = counting("alone_call", "amount_micros")


async def count(
    db: AsyncConnection,
    bound: DayBound,
    operator_id: str,
    path: str,
    request: Message,
    amount: int,
) -> bool:
    """Whether the call fits beside what the operator did alone today; it counts from then on.

    It counts also when it is refused afterwards, and stays counted. Locks: the operator's calls, to the end
    of the transaction.
    """
    await db.execute(_LOCK, {"space": _SPACE, "operator_id": operator_id})
    digest = hashlib.sha256(path.encode() + b"\n" + request.SerializeToString(deterministic=True))
    binds = {
        "operator_id": operator_id,
        "call_digest": digest.digest(),
        "amount": amount,
        "amount_max": bound.most,
        "calls_max": CALLS_MAX,
    }
    return bool((await db.execute(bound.counts, binds)).scalar_one())
