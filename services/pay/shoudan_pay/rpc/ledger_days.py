"""Calls about accounting days, and the records of pieces of chains: what other services keep books by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date
from typing import Final

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.rpc.messages import RpcContext, filled
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.refusals import LedgerDayOpen
from shoudan_pay.ledger.store import days as store
from shoudan_pay.ledger.store import records as record_store
from shoudan_pay.ledger.store.records import Piece
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.ledger_messages import exported_record, page_size

PIECES_MAX: Final = 1000
PAGE_ROWS: Final = 1000  # of one message, far below what one may hold
FIRST_DAY: Final = date(1970, 1, 1)
SEQ_MAX: Final = 2**62


class DayCalls:
    """The part of LedgerService that is about accounting days."""

    _app: App[PaySettings]

    async def ListLedgerDays(
        self, request: pb.ListLedgerDaysRequest, context: RpcContext
    ) -> pb.ListLedgerDaysResponse:
        """Days that are closed."""
        first = _day("from_day", request.from_day) if request.from_day else FIRST_DAY
        most = page_size(request.page_size)
        async with self._app.db.connect() as db:
            found = await store.closed(db, first, most)
        return pb.ListLedgerDaysResponse(days=[_ledger_day(one) for one in found])

    async def ExportAccountDays(
        self, request: pb.ExportAccountDaysRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportAccountDaysResponse]:
        """What a day came to in each account that moved."""
        day, after = _day("day", request.day), request.after_account_id
        async with self._app.db.connect() as db:
            known = await store.closed(db, day, 1)
        if not known or known[0].day != day:
            raise LedgerDayOpen(request.day)
        while True:
            async with self._app.db.connect() as db:
                found = await store.of_day(db, day, after=after, most=PAGE_ROWS)
            if found:
                yield pb.ExportAccountDaysResponse(accounts=[_account_day(one) for one in found])
                after = found[-1].day.account_id
            if len(found) < PAGE_ROWS:
                return

    async def ExportRecords(
        self, request: pb.ExportRecordsRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportRecordsResponse]:
        """The records of pieces of chains, one page at a time."""
        for pieces in _pages(_pieces(request.pieces)):
            async with self._app.db.connect() as db:
                found = await record_store.pieces(db, pieces)
            if found:
                yield pb.ExportRecordsResponse(records=[exported_record(one) for one in found])


def _pieces(given: Sequence[pb.ExportRecordsRequest.Piece]) -> list[Piece]:
    if len(given) > PIECES_MAX:
        raise FieldInvalid("pieces", f"are more than {PIECES_MAX}")
    for one in given:
        if not 0 < one.seq_from <= one.seq_to <= SEQ_MAX:
            raise FieldInvalid("pieces.seq_from", f"is not within 1..{one.seq_to}")
    return [Piece(one.account_id, one.seq_from - 1, one.seq_to) for one in given]


def _pages(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces of together at most PAGE_ROWS records."""
    page, room = list[Piece](), PAGE_ROWS
    for one in pieces:
        low = one.low
        while low < one.high:
            high = min(one.high, low + room)
            page.append(Piece(one.account_id, low, high))
            room, low = room - (high - low), high
            if not room:
                yield page
                page, room = [], PAGE_ROWS
    if page:
        yield page


def _day(field: str, value: str) -> date:
    try:
        if len(value) == 10 and value.isascii():
            return date.fromisoformat(value)
    except ValueError:
        pass  # refused below, like every other text that is no day
    raise FieldInvalid(field, "is no day of the form yyyy-mm-dd")


def _ledger_day(value: store.LedgerDay) -> pb.LedgerDay:
    return filled(pb.LedgerDay, value, day=value.day.isoformat())


def _account_day(value: store.NamedDay) -> pb.AccountDay:
    ident, groups, eid = value.account
    return filled(
        pb.AccountDay,
        value.day,
        day=value.day.day.isoformat(),
        account=pb.AccountKey(ident=ident, groups=groups, eid=eid),
        account_name=value.account_name,
    )
