"""Calls about service packages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.clock import BEIJING
from shoudan_kit.db.pool import retry
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import accounts, packages
from shoudan_pay.ledger.entries import PLATFORM, PackageKey
from shoudan_pay.ledger.packages import Move, Moved
from shoudan_pay.ledger.refusals import NumberInvalid, PackageNotFound
from shoudan_pay.ledger.store import packages as store
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import ledger_messages

MOVES_MAX = 1000
BEFORE_ALL = 2**63 - 1

_Result = pb.MoveCapacityResponse.Result


class PackageCalls:
    """The part of LedgerService that is about service packages."""

    _app: App[PaySettings]

    async def CreatePackage(
        self, request: pb.CreatePackageRequest, context: RpcContext
    ) -> pb.CreatePackageResponse:
        """A package of an account that exists."""
        key = (
            ledger_messages.key(request.account),
            ledger_messages.text("spkg_id", request.spkg_id, ledger_messages.SPKG_MAX),
        )
        if key[0][1] == PLATFORM:
            raise FieldInvalid("groups", "a platform account owns no packages")
        for number in (request.total_capacity, request.capacity_daily):
            if not 0 <= number <= packages.NUMBER_MAX:
                raise NumberInvalid(number)
        expires = (
            ledger_messages.day("expires", request.expires)
            if request.expires
            else packages.EXPIRES_NEVER
        )
        name = ledger_messages.text(
            "name", request.name or request.spkg_id, ledger_messages.NAME_MAX
        )
        async with self._app.work("packages") as work:
            account = await accounts.get(work.db, key[0])
            new = store.NewPackage(
                account.account_id,
                key[1],
                name,
                request.total_capacity,
                request.capacity_daily,
                expires,
            )
            made = await store.create(work.db, [new])
            found = await store.by_key(work.db, [key])
        return pb.CreatePackageResponse(package=_shown(found, key), existed=not made)

    async def GetPackage(
        self, request: pb.GetPackageRequest, context: RpcContext
    ) -> pb.GetPackageResponse:
        """One package, with what was used of it today."""
        key = (
            ledger_messages.key(request.account),
            ledger_messages.text("spkg_id", request.spkg_id, ledger_messages.SPKG_MAX),
        )
        async with self._app.db.connect() as db:
            found = await store.by_key(db, [key])
        return pb.GetPackageResponse(package=_shown(found, key))

    async def MoveCapacity(
        self, request: pb.MoveCapacityRequest, context: RpcContext
    ) -> pb.MoveCapacityResponse:
        """Moves are independent and applied in order."""
        if len(request.moves) > MOVES_MAX:
            raise FieldInvalid("moves", f"has more than {MOVES_MAX}")
        read = [_read(message) for message in request.moves]
        moves = [one for one in read if isinstance(one, Move)]
        answers = iter(await retry(lambda: self._move(moves)) if moves else [])
        results = [_result(one if isinstance(one, Refusal) else next(answers)) for one in read]
        return pb.MoveCapacityResponse(results=results)

    async def _move(self, moves: Sequence[Move]) -> list[Moved | Refusal]:
        async with self._app.work("packages") as work:
            found = await store.by_key(work.db, {move.package for move in moves}, lock=True)
            if found.now is None:
                return [PackageNotFound(move.package[1]) for move in moves]
            keys = [
                key
                for move in moves
                if (package := found.packages.get(move.package)) is not None
                for key in packages.quoted(move, package.pkg_id)
            ]
            records = await store.records_by_key(work.db, list(dict.fromkeys(keys)))
            ids = iter(work.ids.take(len(moves)))
            decided = packages.decide(found.packages, records, moves, ids, found.now)
            if decided.new:
                await store.write(work.db, decided.new, decided.packages)
        return decided.answers

    async def ListPackageRecords(
        self, request: pb.ListPackageRecordsRequest, context: RpcContext
    ) -> pb.ListPackageRecordsResponse:
        """A page, newest first."""
        key = (
            ledger_messages.key(request.account),
            ledger_messages.text("spkg_id", request.spkg_id, ledger_messages.SPKG_MAX),
        )
        asked = ledger_messages.page(request, BEFORE_ALL)
        start = ledger_messages.optional_moment(request, "start_time")
        stop = ledger_messages.optional_moment(request, "end_time")
        async with self._app.db.connect() as db:
            found = (await store.by_key(db, [key])).packages.get(key)
            if found is None:
                raise PackageNotFound(key[1])
            period = store.Period(found.pkg_id, start, stop)
            page = await store.page(db, period, asked)
        ledger_messages.whole(page.cut)
        shown = [ledger_messages.package_record(one) for one in page.shown]
        return pb.ListPackageRecordsResponse(
            records=shown, next_page_token=page.token, count=page.count
        )


def _read(message: pb.MoveCapacityRequest.Move) -> Move | Refusal:
    try:
        return ledger_messages.move(message)
    except Refusal as refusal:
        return refusal


def _result(answer: Moved | Refusal) -> pb.MoveCapacityResponse.Result:
    if isinstance(answer, Refusal):
        return _Result(refusal=answer.to_proto())
    return _Result(record=ledger_messages.package_record(answer.record), existed=answer.existed)


def _shown(found: store.Found, key: PackageKey) -> pb.Package:
    package = found.packages.get(key)
    if package is None or found.now is None:
        raise PackageNotFound(key[1])
    now: datetime = found.now
    return ledger_messages.package(package, now.astimezone(BEIJING).date())
