"""A call that changes something leaves exactly one row, with the transaction it commits first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio
from sqlalchemy import text

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import audit_service_pb2_grpc as pb_grpc
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan_kit.audit_log.calls import CallAudit
from shoudan_kit.audit_log.entries import Entry, Origin, describe, record
from shoudan_kit.audit_log.refusals import BURST, DROPPED_TOTAL, Refusals
from shoudan_kit.clock import SystemClock
from shoudan_kit.config import ProcessSettings
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import IdMaker
from shoudan_kit.rpc import callers
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import Callers
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.server import RpcServer
from shoudan_kit.secrets.tokens import TokenSigner, TokenVerifier, key_set, read_key_set
from shoudan_kit.tasks.unit_of_work import UnitOfWork

KEY = Ed25519PrivateKey.generate()
SIGNER = TokenSigner(KEY, "here")
ORIGIN = Origin("order", frozenset({"account"}))
DECIDE = "AuditService/DecideAudit"
Work = Callable[[], UnitOfWork]


def auth(role: str = "ops") -> Any:
    token = SIGNER.issue("77", "li", [role])
    return (("authorization", f"Bearer {token}"), ("x-request-id", "r-1"))


@dataclass
class Servicer(pb_grpc.AuditServiceServicer, catalogue_grpc.CatalogueServiceServicer):
    """Two methods whose code is that of the test."""

    work: Work
    code: Callable[[Work], Awaitable[None]]

    async def DecideAudit(self, request: Any, context: Any) -> pb.DecideAuditResponse:
        await self.code(self.work)
        return pb.DecideAuditResponse()

    async def PauseDelivery(self, request: Any, context: Any) -> pb.PauseDeliveryResponse:
        await self.code(self.work)
        return pb.PauseDeliveryResponse()

    async def ListAudits(self, request: Any, context: Any) -> pb.ListAuditsResponse:
        await self.code(self.work)
        return pb.ListAuditsResponse()

    async def ApplyCatalogue(
        self, request: Any, context: Any
    ) -> catalogue_pb.ApplyCatalogueResponse:
        await self.code(self.work)
        return catalogue_pb.ApplyCatalogueResponse()


async def nothing(work: Work) -> None:
    """Commits nothing of its own."""


async def twice(work: Work) -> None:
    """Two transactions."""
    for _ in range(2):
        async with work():
            pass


@dataclass
class House:
    """A server with an audit log."""

    database: Database
    servicer: Servicer
    refusals: Refusals
    channel: aio.Channel

    @property
    def stub(self) -> pb_grpc.AuditServiceStub:
        return pb_grpc.AuditServiceStub(self.channel)

    async def decide(self, code: Any, **given: Any) -> None:
        self.servicer.code = code
        given = {"audit_id": 5, "reason": "they said so", "by": "forged", **given}
        await self.stub.DecideAudit(pb.DecideAuditRequest(**given), metadata=auth())

    async def rows(self) -> list[Any]:
        async with self.database.connect() as db:
            return list((await db.execute(text("SELECT * FROM audit_log ORDER BY id"))).all())


@pytest.fixture(params=["enforce"])
def mode(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def house(
    database: Database, ids: IdMaker, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    verifier = TokenVerifier("here")
    verifier.trust("test", read_key_set(key_set([KEY.public_key()])))
    refusals = Refusals(database, ids, ORIGIN, SystemClock())
    servicer = Servicer(lambda: UnitOfWork(database, ids, None, None, origin=ORIGIN), nothing)
    monkeypatch.setattr(callers, "peer_of", certificate)
    server = RpcServer(
        ProcessSettings(drain_s=1),
        [
            partial(pb_grpc.add_AuditServiceServicer_to_server, servicer),
            partial(catalogue_grpc.add_CatalogueServiceServicer_to_server, servicer),
        ],
        [],
        callers=Callers(mode, verifier.caller_of),
        watch=CallAudit(database, ids, ORIGIN, refusals),
    )
    port = await server.start()
    async with connect(f"127.0.0.1:{port}", retry=False) as channel:
        yield House(database, servicer, refusals, channel)
    await server.stop()


def certificate(context: Any) -> Caller | None:
    """Stands for the certificate of a connection."""
    found = dict(context.invocation_metadata()).get("x-test-certificate")
    return Caller("service", found) if found else None


@pytest.mark.parametrize("code", [nothing, twice], ids=["nothing committed", "two transactions"])
async def test_a_call_leaves_one_row_with_who_what_and_why(house: House, code: Any) -> None:
    await house.decide(code)
    (row,) = await house.rows()
    assert (row.action, row.caller_kind, row.caller_ref) == (
        "AuditService/DecideAudit",
        "operator",
        "77",
    )
    assert (row.subject_kind, row.subject_key, row.reason) == ("audit_id", "5", "they said so")
    assert (row.request_id, row.outcome, row.address) == ("r-1", "done", "127.0.0.1")
    assert '"audit_id":"5"' in row.after


async def test_the_row_stands_and_falls_with_the_transaction(house: House) -> None:
    async def failing(work: Work) -> None:
        async with work():
            raise ValueError

    with pytest.raises(aio.AioRpcError):
        await house.decide(failing)
    assert await house.rows() == []

    async def again(work: Work) -> None:
        """The first is rolled back, the second has the row."""
        with pytest.raises(ValueError, match="first"):
            await rolled_back(work)
        async with work():
            pass

    async def rolled_back(work: Work) -> None:
        async with work() as one:
            await one.db.execute(text("SELECT 1"))
            raise ValueError("first")

    await house.decide(again)
    assert len(await house.rows()) == 1


async def test_the_code_of_a_method_knows_its_row_better(house: House) -> None:
    async def described(work: Work) -> None:
        async with work():
            describe("audit", 6, {"status": 10}, {"status": 0}, proposal_id=9)

    await house.decide(described)

    async def recorded(work: Work) -> None:
        async with work() as one:
            record(one, Entry("order", 7, after={"paid": True}))

    await house.decide(recorded)
    first, second = await house.rows()
    assert (first.subject_kind, first.subject_key, first.proposal_id) == ("audit", "6", 9)
    assert (first.before, first.after) == ('{"status":10}', '{"status":0}')
    assert (second.action, second.subject_kind, second.subject_key) == (DECIDE, "order", "7")


async def test_reads_dry_runs_and_calls_of_services_leave_no_row(house: House) -> None:
    house.servicer.code = twice
    await house.stub.ListAudits(pb.ListAuditsRequest(), metadata=auth())
    catalogue = catalogue_grpc.CatalogueServiceStub(house.channel)
    dry = catalogue_pb.ApplyCatalogueRequest(dry_run=True)
    await catalogue.ApplyCatalogue(dry, metadata=auth("admin"))
    as_pay: Any = (("x-test-certificate", "pay"),)
    request = pb.PauseDeliveryRequest(order_ids=[1], paused=True)
    await house.stub.PauseDelivery(request, metadata=as_pay)
    assert await house.rows() == []
    await house.stub.PauseDelivery(request, metadata=auth())
    assert [row.action for row in await house.rows()] == ["AuditService/PauseDelivery"]


@pytest.mark.parametrize("mode", ["loopback"], indirect=True)
async def test_where_callers_are_not_checked_methods_of_operators_alone_are_recorded(
    house: House,
) -> None:
    house.servicer.code = twice
    await house.stub.DecideAudit(pb.DecideAuditRequest(audit_id=5))
    await house.stub.PauseDelivery(pb.PauseDeliveryRequest(order_ids=[1]))  # or it was a service
    assert [(row.action, row.caller_kind) for row in await house.rows()] == [(DECIDE, "local")]


async def test_a_refused_change_is_recorded_and_many_are_counted(house: House) -> None:
    dropped = DROPPED_TOTAL()._value.get()
    for _ in range(BURST + 3):
        with pytest.raises(aio.AioRpcError) as refused:
            await house.stub.DecideAudit(pb.DecideAuditRequest(audit_id=5), metadata=auth("viewer"))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await house.refusals.write()
    rows = await house.rows()
    assert len(rows) == BURST
    assert {(row.action, row.outcome, row.caller_ref) for row in rows} == {
        (DECIDE, "refused", "77")
    }
    assert DROPPED_TOTAL()._value.get() - dropped == 3
    await house.refusals.write()
    assert len(await house.rows()) == BURST
