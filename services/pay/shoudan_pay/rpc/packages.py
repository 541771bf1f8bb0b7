"""Calls about service packages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.clock import BEIJING
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import Refusal
from shoudan_pay.ledger import packages
from shoudan_pay.ledger.entries import PackageKey
from shoudan_pay.ledger.package_moves import NewPackage, Packages, check_new
from shoudan_pay.ledger.packages import Move, Moved
from shoudan_pay.ledger.refusals import PackageNotFound
from shoudan_pay.ledger.store import packages as store
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import ledger_messages
from shoudan_pay.rpc.ledger_messages import NAME_MAX, SPKG_MAX, optional_moment, text, whole

MOVES_MAX = 1000
BEFORE_ALL = 2**63 - 1

_Result = pb.MoveCapacityResponse.Result


class PackageCalls:
    """The part of LedgerService that is about service packages."""

    _packages: Packages

    async def CreatePackage(
        self, request: pb.CreatePackageRequest, context: RpcContext
    ) -> pb.CreatePackageResponse:
        """A package of an account that exists."""
        new = read_new_package(request)
        found, existed = await self._packages.create(new)
        return pb.CreatePackageResponse(package=_shown(found, new.key), existed=existed)

    async def GetPackage(
        self, request: pb.GetPackageRequest, context: RpcContext
    ) -> pb.GetPackageResponse:
        """One package, with what was used of it today."""
        key = _key(request)
        found = await self._packages.find(key)
        return pb.GetPackageResponse(package=_shown(found, key))

    async def MoveCapacity(
        self, request: pb.MoveCapacityRequest, context: RpcContext
    ) -> pb.MoveCapacityResponse:
        """Moves are independent and applied in order."""
        if len(request.moves) > MOVES_MAX:
            raise FieldInvalid("moves", f"has more than {MOVES_MAX}")
        read = [_read(message) for message in request.moves]
        moves = [one for one in read if isinstance(one, Move)]
        answers = iter(await self._packages.move(moves))
        results = [_result(one if isinstance(one, Refusal) else next(answers)) for one in read]
        return pb.MoveCapacityResponse(results=results)

    async def ListPackageRecords(
        self, request: pb.ListPackageRecordsRequest, context: RpcContext
    ) -> pb.ListPackageRecordsResponse:
        """A page, newest first."""
        key = _key(request)
        asked = ledger_messages.page(request, BEFORE_ALL)
        start = optional_moment(request, "start_time")
        stop = optional_moment(request, "end_time")
        page = await self._packages.records(key, start, stop, asked)
        whole(page.cut)
        shown = [ledger_messages.package_record(one) for one in page.shown]
        return pb.ListPackageRecordsResponse(
            records=shown, next_page_token=page.token, count=page.count
        )


def read_new_package(request: pb.CreatePackageRequest) -> NewPackage:
    """A requested package. Raises FieldInvalid, NumberInvalid."""
    key, days = _key(request), packages.EXPIRES_NEVER
    if request.expires:
        days = ledger_messages.day("expires", request.expires)
    name = text("name", request.name or request.spkg_id, NAME_MAX)
    new = NewPackage(key, name, request.total_capacity, request.capacity_daily, days)
    check_new(new)
    return new


def _key(request: Any) -> PackageKey:
    owner = ledger_messages.key(request.account)
    return owner, text("spkg_id", request.spkg_id, SPKG_MAX)


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
