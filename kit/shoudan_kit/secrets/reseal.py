"""SealingService: what a service has sealed, seen by its keys and sealed anew under the first of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan.core.v1 import sealing_service_pb2 as pb
from shoudan.core.v1 import sealing_service_pb2_grpc
from shoudan_kit.db.text_statements import statement
from shoudan_kit.rpc.messages import ONE_SHARD, RpcContext
from shoudan_kit.secrets.sealed_columns import SealedValues
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.tasks.unit_of_work import UnitOfWork

NAME: Final = "shoudan.core.v1.SealingService"
ROWS_DEFAULT: Final = 1_000
ROWS_MAX: Final = 5_000
AFTER_CHARS_MAX: Final = 8_192

# An estimate of the last vacuum or analyze: good enough for a progress bar, and free. Parts are added up.
_ROWS = statement("""
SELECT CAST(CAST(sum(greatest(reltuples, 0)) AS numeric) AS bigint) AS rows FROM pg_class
WHERE relnamespace = CAST(CAST(current_schema() AS text) AS regnamespace) AND relname = :table
""")


@dataclass(frozen=True, slots=True)
class SealedData:
    """Everything that a service has sealed, and the keys it is sealed under."""

    ring: KeyRing
    columns: Sequence[SealedValues]


class SealingServicer(sealing_service_pb2_grpc.SealingServiceServicer):
    """The calls of SealingService."""

    def __init__(self, sealed: SealedData, work: Callable[[str], UnitOfWork]) -> None:
        self._ring, self._work = sealed.ring, work
        self._columns = {one.name: one for one in sealed.columns}

    async def ListSealed(
        self, request: pb.ListSealedRequest, context: RpcContext
    ) -> pb.ListSealedResponse:
        """The columns, and the keys."""
        if request.shard:
            await _refuse(context, ONE_SHARD)
        answer = pb.ListSealedResponse(key_ids=self._ring.keys)
        async with self._work("seal.list") as work:
            for one in self._columns.values():
                rows = await _rows(work.db, one.table)
                answer.columns.add(name=one.name, rows=rows)
        return answer

    async def ResealRows(
        self, request: pb.ResealRowsRequest, context: RpcContext
    ) -> pb.ResealRowsResponse:
        """One page, one transaction."""
        column, most = self._columns.get(request.column), request.rows or ROWS_DEFAULT
        if request.shard:
            await _refuse(context, ONE_SHARD)
        if column is None:
            await _refuse(context, f"column is of {', '.join(self._columns)}")
            raise AssertionError
        if not 1 <= most <= ROWS_MAX:
            await _refuse(context, f"rows is 1 to {ROWS_MAX}")
        if len(request.after) > AFTER_CHARS_MAX or not column.fits(request.after):
            await _refuse(context, "after is next of an answer, or empty")
        async with self._work("seal.reseal") as work:
            page = await column.page(
                work.db, self._ring, request.after, most, dry_run=request.dry_run
            )
        return pb.ResealRowsResponse(
            next=page.after,
            done=page.done,
            looked=page.looked,
            resealed=page.resealed,
            counts=[
                pb.ResealRowsResponse.Count(key_id=key_id, count=count)
                for key_id, count in sorted(page.counts.items())
            ],
            unreadable=page.unreadable,
        )


async def _rows(db: AsyncConnection, table: str) -> int:
    return (await db.execute(_ROWS, {"table": table})).scalar() or 0


async def _refuse(context: RpcContext, text: str) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
