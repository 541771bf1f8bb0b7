"""The statements on proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement
from shoudan_kit.proposals.states import PROPOSAL, ProposalEvent, ProposalState
from shoudan_kit.proposals.tables import LIVE, OPEN

APPROVED: Final = f"status = {int(ProposalState.APPROVED)}"
EXPIRED_MAX: Final = 100  # proposals that one statement ends


@dataclass(frozen=True, slots=True)
class New:
    """A proposal to be written."""

    proposal_id: int
    method: str
    request: bytes
    request_json: str
    subject: str
    amount_micros: int | None
    dry_run: str
    reason: str
    evidence: str
    proposal_key: str
    maker_id: str
    maker_name: str


@dataclass(frozen=True, slots=True)
class Row(New):
    """One row of proposal."""

    status: ProposalState
    create_time: datetime
    expire_time: datetime
    decider_id: str
    decider_name: str
    decide_reason: str
    end_time: datetime | None
    result: str
    refusal: str


@dataclass(frozen=True, slots=True)
class End:
    """How a proposal ends, and by whom."""

    event: ProposalEvent
    decider_id: str
    decider_name: str
    reason: str
    refusal: str = ""


_ROW: Final = Rows(Row)

_INSERT = statement(f"""
INSERT INTO proposal (proposal_id, method, request, request_json, subject, amount_micros, dry_run, reason,
    evidence, proposal_key, maker_id, maker_name, status, create_time, expire_time, decider_id, decider_name,
    decide_reason, result, refusal)
VALUES (:proposal_id, :method, :request, :request_json, :subject, CAST(:amount_micros AS bigint), :dry_run,
    :reason, :evidence, :proposal_key, :maker_id, :maker_name, {int(PROPOSAL.initial)}, shoudan_now(),
    shoudan_now() + make_interval(secs => :valid_s), '', '', '', '', '')
ON CONFLICT (maker_id, proposal_key) DO NOTHING
RETURNING {_ROW.of()}
""")
_FIND = statement(f"SELECT {_ROW.of()} FROM proposal WHERE proposal_id = :proposal_id")
_BY_KEY = statement(f"""
SELECT {_ROW.of()} FROM proposal WHERE maker_id = :maker_id AND proposal_key = :proposal_key
""")
# The condition is the lock: of two at once the second waits here and finds the row ended.
_END = statement(f"""
UPDATE proposal SET status = :status, decider_id = :decider_id, decider_name = :decider_name,
    decide_reason = :reason, end_time = shoudan_now(), refusal = :refusal
WHERE proposal_id = :proposal_id AND {OPEN} AND expire_time > shoudan_now()
RETURNING {_ROW.of()}
""")
# Of a call that is several transactions: the one that is its last, or a refusal, ends the proposal.
_FINISH = statement(f"""
UPDATE proposal SET status = :status, end_time = shoudan_now(), result = :result, refusal = :refusal
WHERE proposal_id = :proposal_id AND {APPROVED}
RETURNING {_ROW.of()}
""")
_LEFT = statement(f"""
SELECT {_ROW.of()} FROM proposal
WHERE {LIVE} AND status = {int(ProposalState.APPROVED)}
    AND end_time < shoudan_now() - make_interval(secs => :left_s)
ORDER BY proposal_id LIMIT :most
""")
_RESULT = statement(f"""
UPDATE proposal SET result = :result WHERE proposal_id = :proposal_id RETURNING {_ROW.of()}
""")
# SKIP LOCKED: one that is being decided at this moment is looked at the next time.
_EXPIRE = statement(f"""
UPDATE proposal SET status = {int(PROPOSAL.target(ProposalEvent.EXPIRED))}, end_time = shoudan_now()
WHERE proposal_id = ANY(ARRAY(
    SELECT proposal_id FROM proposal WHERE {OPEN} AND expire_time <= shoudan_now()
    ORDER BY expire_time LIMIT :most FOR UPDATE SKIP LOCKED
)) RETURNING {_ROW.of()}
""")
_LIST_EDGE = pages.edge("proposal", "proposal_id")
_LIST = statement(f"""
SELECT {_ROW.of()} FROM proposal
WHERE proposal_id < :before AND proposal_id >= :since
    AND (CAST(:statuses AS smallint[]) = '{{}}' OR status = ANY(CAST(:statuses AS smallint[])))
ORDER BY proposal_id DESC LIMIT :most
""")
_COUNT = statement(f"""
SELECT count(*), min(w.create_time) FROM (
    SELECT create_time FROM proposal WHERE {LIVE} ORDER BY proposal_id LIMIT :most) w
""")


async def insert(db: AsyncConnection, new: New, valid_s: int) -> Row | None:
    """Write a proposal; None when its maker used the key before."""
    binds = {name: getattr(new, name) for name in New.__slots__}
    return _ROW.one(await db.execute(_INSERT, {**binds, "valid_s": float(valid_s)}))


async def find(db: AsyncConnection, proposal_id: int) -> Row | None:
    """The proposal with this number."""
    return _ROW.one(await db.execute(_FIND, {"proposal_id": proposal_id}))


async def by_key(db: AsyncConnection, maker_id: str, key: str) -> Row | None:
    """The proposal that the maker made with this key."""
    binds = {"maker_id": maker_id, "proposal_key": key}
    return _ROW.one(await db.execute(_BY_KEY, binds))


async def end(db: AsyncConnection, proposal_id: int, ended: End) -> Row | None:
    """End an open proposal, locked to the end of the transaction; None when it is not open, or too late."""
    binds = {
        "proposal_id": proposal_id,
        "status": int(PROPOSAL.target(ended.event)),
        "decider_id": ended.decider_id,
        "decider_name": ended.decider_name,
        "reason": ended.reason,
        "refusal": ended.refusal,
    }
    return _ROW.one(await db.execute(_END, binds))


async def finish(
    db: AsyncConnection, proposal_id: int, event: ProposalEvent, result: str, refusal: str
) -> Row | None:
    """End a proposal whose call was begun; None when that was done before."""
    binds = {
        "proposal_id": proposal_id,
        "status": int(PROPOSAL.target(event)),
        "result": result,
        "refusal": refusal,
    }
    return _ROW.one(await db.execute(_FINISH, binds))


async def left(db: AsyncConnection, left_s: float) -> Sequence[Row]:
    """Proposals whose call was begun so long ago that its process must have died."""
    return _ROW.all(await db.execute(_LEFT, {"left_s": left_s, "most": EXPIRED_MAX}))


async def write_result(db: AsyncConnection, proposal_id: int, result: str) -> Row:
    """Add what the call changed to a proposal that was ended in this transaction."""
    row = await db.execute(_RESULT, {"proposal_id": proposal_id, "result": result})
    return _ROW.read(row.one())


async def expire(db: AsyncConnection) -> Sequence[Row]:
    """End open proposals whose time is over, at most EXPIRED_MAX."""
    return _ROW.all(await db.execute(_EXPIRE, {"most": EXPIRED_MAX}))


async def page(
    db: AsyncConnection, statuses: Sequence[int], before: int, most: int
) -> tuple[Sequence[Row], str]:
    """A page of numbers below `before`, newest first, and the token of the next."""
    reached = await pages.walk_end(db, _LIST_EDGE, before, 0)
    binds = {"statuses": list(statuses), "before": before, "since": reached, "most": most}
    found = _ROW.all(await db.execute(_LIST, binds))
    return found, pages.next_token([one.proposal_id for one in found], most, reached, 0)


async def count(db: AsyncConnection, most: int) -> tuple[int, datetime | None]:
    """How many are open, up to `most`, and the time of the oldest of these."""
    row = (await db.execute(_COUNT, {"most": most})).one()
    return row[0], row[1]
