"""Calls about accounting days, and the records of pieces of chains: what other services keep books by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Final

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit import clock
from shoudan_kit.rpc.messages import RpcContext, filled
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import exports
from shoudan_pay.ledger.days import cut_of
from shoudan_pay.ledger.store import days as store
from shoudan_pay.ledger.store.records import Piece
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.ledger_messages import exported_record, key, page_size

PIECES_MAX: Final = 1000
DAYS_MAX: Final = 366
BEFORE_ALL: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)
SEQ_MAX: Final = 2**62


class DayCalls:
    """The part of LedgerService that is about accounting days."""

    _app: App[PaySettings]

    async def ListLedgerDays(
        self, request: pb.ListLedgerDaysRequest, context: RpcContext
    ) -> pb.ListLedgerDaysResponse:
        """Days that are closed."""
        after, most = _after(request), page_size(request.page_size)
        found = await exports.closed_days(self._app.db, after, most + 1)
        token = found[most - 1].day.isoformat() if len(found) > most else ""
        days = [filled(pb.LedgerDay, one, day=one.day.isoformat()) for one in found[:most]]
        return pb.ListLedgerDaysResponse(days=days, next_page_token=token)

    async def ExportAccountDays(
        self, request: pb.ExportAccountDaysRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportAccountDaysResponse]:
        """What a day came to in each account that moved."""
        day, after = _day("day", request.day), request.after_account_id
        async for found in exports.account_days(self._app.db, day, after):
            yield pb.ExportAccountDaysResponse(accounts=[_account_day(one) for one in found])

    async def ListAccountDays(
        self, request: pb.ListAccountDaysRequest, context: RpcContext
    ) -> pb.ListAccountDaysResponse:
        """A period of one account."""
        first, last = _day("from_day", request.from_day), _day("to_day", request.to_day)
        if not 0 <= (last - first).days < DAYS_MAX:
            raise FieldInvalid("to_day", f"is not within {DAYS_MAX} days from from_day")
        account, cut = key(request.account), cut_of(self._app.settings.ledger_day_cut)
        found = await exports.period(self._app.db, account, first, last, cut)
        days = [
            filled(pb.AccountDay, one, day=one.day.isoformat(), account=None, account_name=None)
            for one in found.days
        ]
        return pb.ListAccountDaysResponse(opening_micros=found.opening_micros, days=days)

    async def ExportRecords(
        self, request: pb.ExportRecordsRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportRecordsResponse]:
        """The records of pieces of chains, one page at a time."""
        async for found in exports.records(self._app.db, _pieces(request.pieces)):
            yield pb.ExportRecordsResponse(records=[exported_record(one) for one in found])


def _after(request: pb.ListLedgerDaysRequest) -> date:
    if request.page_token:
        return _day("page_token", request.page_token)
    if request.from_day:
        first = _day("from_day", request.from_day)
        return max(first, BEFORE_ALL + timedelta(days=1)) - timedelta(days=1)
    return BEFORE_ALL


def _pieces(given: Sequence[pb.ExportRecordsRequest.Piece]) -> list[Piece]:
    if len(given) > PIECES_MAX:
        raise FieldInvalid("pieces", f"are more than {PIECES_MAX}")
    for one in given:
        if not 0 < one.seq_from <= one.seq_to <= SEQ_MAX:
            raise FieldInvalid("pieces.seq_from", f"is not within 1..{one.seq_to}")
    return [Piece(one.account_id, one.seq_from - 1, one.seq_to) for one in given]


def _day(field: str, value: str) -> date:
    day = clock.day_of(value)
    if day is None or not BEFORE_ALL < day <= LAST_DAY:
        raise FieldInvalid(field, "is no day of the form yyyy-mm-dd")
    return day


def _account_day(value: store.NamedDay) -> pb.AccountDay:
    ident, groups, eid = value.account
    return filled(
        pb.AccountDay,
        value.day,
        day=value.day.day.isoformat(),
        account=pb.AccountKey(ident=ident, groups=groups, eid=eid),
        account_name=value.account_name,
    )
