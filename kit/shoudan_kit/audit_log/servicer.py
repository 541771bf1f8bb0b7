"""AuditLogService over one database: rows page by page, an export, a proof."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.core.v1 import audit_log_service_pb2, audit_log_service_pb2_grpc
from shoudan_kit.audit_log.verify import Finding, Head, verify
from shoudan_kit.db import pages
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import holdable, statement
from shoudan_kit.rpc.messages import ONE_SHARD, RpcContext, filled
from shoudan_kit.seal_keys import SealKeys

pb = audit_log_service_pb2

NAME: Final = "shoudan.core.v1.AuditLogService"
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1_000
EXPORT_ROWS: Final = 500  # of one message

_COLUMNS: Final = """id, create_time, service, action, caller_kind, caller_ref, address, subject_kind,
    subject_key, before, after, reason, request_id, proposal_id, outcome"""
_FITS: Final = """(:caller_ref = '' OR caller_ref = :caller_ref) AND (:action = '' OR action = :action)
    AND (:subject_kind = '' OR subject_kind = :subject_kind)
    AND (:subject_key = '' OR subject_key = :subject_key)
    AND (:request_id = '' OR request_id = :request_id)
    AND (CAST(:proposal_id AS bigint) = 0 OR proposal_id = :proposal_id)
    AND create_time >= CAST(:start AS timestamptz) AND create_time < CAST(:end AS timestamptz)"""
# Numbers grow with time: a period is a range of them, and each page reads a bounded part of it.
_LIST_EDGE = pages.edge("audit_log", "id")
_LIST = statement(f"""
SELECT {_COLUMNS} FROM audit_log WHERE id < :before AND id >= :reached AND {_FITS}
ORDER BY id DESC LIMIT :most
""")
_EXPORT_EDGE = pages.rising_edge("audit_log", "id")
_EXPORT = statement(f"""
SELECT {_COLUMNS},
    (SELECT block_no FROM audit_log_sealed sealed WHERE sealed.id = audit_log.id) AS block_no
FROM audit_log WHERE id > :after AND id <= :reached AND {_FITS} ORDER BY id LIMIT :most
""")
_EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2089, 1, 1, tzinfo=UTC)


class AuditLog(audit_log_service_pb2_grpc.AuditLogServiceServicer):
    """The calls of AuditLogService."""

    def __init__(self, database: Database, service: str, keys: SealKeys) -> None:
        self._database, self._service, self._keys = database, service, keys

    async def ListAuditLog(
        self, request: pb.ListAuditLogRequest, context: RpcContext
    ) -> pb.ListAuditLogResponse:
        """One page, newest first."""
        if not 0 <= request.page_size <= PAGE_MAX:
            await _refuse(context, f"page_size is 0 to {PAGE_MAX}")
        most = request.page_size or PAGE_DEFAULT
        fits = await _fitting(request.filter, context)
        since = pages.first_id(fits["start"])
        before = await _number(request.page_token, context) or pages.end_id(fits["end"])
        async with self._database.connect() as db:
            reached = await pages.walk_end(db, _LIST_EDGE, before, since)
            walk = {"before": before, "reached": reached, "most": most}
            rows = (await db.execute(_LIST, fits | walk)).all()
        token = pages.next_token([row.id for row in rows], most, reached, since)
        return pb.ListAuditLogResponse(rows=map(_message, rows), next_page_token=token)

    async def ExportAuditLog(
        self, request: pb.ExportAuditLogRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportAuditLogResponse]:
        """Rows, oldest first; a message may have none, so that a long walk is not silent."""
        fits = await _fitting(request.filter, context)
        after = max(request.after_id, pages.first_id(fits["start"]) - 1)
        while True:
            async with self._database.connect() as db:
                reached = await pages.rising_end(db, _EXPORT_EDGE, after)
                walk = {"after": after, "reached": reached, "most": EXPORT_ROWS}
                rows = (await db.execute(_EXPORT, fits | walk)).all()
            yield pb.ExportAuditLogResponse(
                rows=[_message(row, block_no=row.block_no or 0) for row in rows]
            )
            token = pages.rising_token([row.id for row in rows], EXPORT_ROWS, reached)
            if not token or int(token) >= pages.end_id(fits["end"]):
                return
            after = int(token)

    async def VerifyAuditLog(
        self, request: pb.VerifyAuditLogRequest, context: RpcContext
    ) -> pb.VerifyAuditLogResponse:
        """One page of a proof."""
        if request.shard:
            await _refuse(context, ONE_SHARD)
        expected = Head(request.expected_block_no, request.expected_digest)
        try:
            proof = await verify(
                self._database, self._service, self._keys, request.page_token, expected
            )
        except ValueError as error:
            await _refuse(context, str(error))
            raise
        return pb.VerifyAuditLogResponse(
            findings=map(_finding, proof.findings),
            blocks=proof.blocks,
            rows=proof.rows,
            next_page_token=proof.token,
            last_block_no=proof.head.block_no,
            last_digest=proof.head.digest,
        )


async def _fitting(wanted: pb.AuditLogFilter, context: RpcContext) -> dict[str, Any]:
    """The filter as binds."""
    names = ("caller_ref", "action", "subject_kind", "subject_key", "request_id")
    made: dict[str, Any] = {name: getattr(wanted, name) for name in names}
    if not holdable(made.values()):
        await _refuse(context, "a text of the filter has NUL in it")
    made["proposal_id"] = wanted.proposal_id
    made["start"] = _time(wanted.start_time, _EARLIEST, set_=wanted.HasField("start_time"))
    made["end"] = _time(wanted.end_time, _LATEST, set_=wanted.HasField("end_time"))
    return made


def _time(given: Timestamp, default: datetime, *, set_: bool) -> datetime:
    """A time of the filter, within what numbers and the database reach."""
    return min(max(given.ToDatetime(UTC), _EARLIEST), _LATEST) if set_ else default


async def _number(token: str, context: RpcContext) -> int:
    fits = not token or (token.isascii() and token.isdecimal() and len(token) < 20)
    if not fits or int(token or 0) > pages.ID_MAX:
        await _refuse(context, "page_token is not one of ours")
    return int(token or 0)


async def _refuse(context: RpcContext, text: str) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


def _message(row: Any, block_no: int = 0) -> pb.AuditLogRow:
    return filled(pb.AuditLogRow, row, block_no=block_no)


def _finding(found: Finding) -> pb.VerifyAuditLogResponse.Finding:
    return pb.VerifyAuditLogResponse.Finding(**asdict(found))
