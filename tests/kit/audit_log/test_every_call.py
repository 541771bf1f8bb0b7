"""Every method that an operator may call and that changes something leaves one row; no other does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from sqlalchemy import text

from shoudan_kit.audit_log.calls import CallAudit
from shoudan_kit.audit_log.entries import Origin
from shoudan_kit.audit_log.refusals import Refusals
from shoudan_kit.clock import SystemClock
from shoudan_kit.config import ProcessSettings
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import IdMaker
from shoudan_kit.rpc.callers import Callers
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.rights import ROLES, changes, right_of
from shoudan_kit.rpc.server import RpcServer
from shoudan_kit.secrets.tokens import TokenSigner, TokenVerifier, key_set, read_key_set
from tests.kit.rpc.test_callers import METHODS

KEY: Final = Ed25519PrivateKey.generate()
ORIGIN: Final = Origin("any")
# What an operator may read. A method that is not here and not named as a read is one that changes something.
READS: Final = {
    "CheckPushes", "CheckRoute", "ExportAccountDays", "ExportBill", "ExportDebts",
    "ExportInvoices", "ExportTrialBalance", "ExportIncome", "ExportLosses", "ListPeriods",
    "ExportAuditLog", "ExportMovements", "ExportRecords",
    "ExportRefunds", "ExportTrades", "GetAccount", "GetBalance",
    "GetCatalogue", "GetDay", "GetDictionary", "GetHistory", "GetImportKey", "GetLifecycle",
    "GetOperatorNames", "ListEndedPays",
    "GetOrder", "GetRoute", "ListAccountDays", "ListLedgerDays",
    "GetPackage", "GetProposal", "GetRefund", "GetSegment", "GetSegments", "GetStatementKeys", "GetSurvey",
    "GetTrade",
    "GetBill", "GetClock", "GetSandbox", "GetTradeDay", "ListBills",
    "ListAccounts",
    "ListAllModes", "ListApiTokens", "ListAreas", "ListAuditLog", "ListAudits", "ListCards",
    "ListCredentials", "ListDays", "ListDeadNotifies", "ListDeliveries", "ListEndpointNotifies",
    "ListEndpoints", "ListEntries", "ListEvents", "ListHolds",
    "ListIncidents", "ListMissingCards",
    "ListNotices", "ListOpenWork", "ListOperators", "ListOrders", "ListPackageRecords", "ListProposals",
    "ListPausedQueues", "ListQuarantined", "ListRecords", "ListRefunds", "ListRequests",
    "ListResources", "ListResting", "ListRules", "ListSandboxLetters", "ListSealed",
    "ListSessions", "ListShelfNotifies", "ListStock", "ListSuppliers", "ListTasks", "ListTradeDays",
    "ListUnmappedCodes",
    "ListTrades", "ListUsage", "QueryDeliveries", "QueryOrders",
    "QueryRefunds",
    "GetSpending", "ListAlerts", "ListSent", "ListTargets", "ListReopenings",
    "CheckDecisions", "CheckExceptionSheet", "GetDispute", "GetExceptionSheet",
    "GetEvidence", "GetException", "GetRun", "GetStatement", "ListDisputes", "ListExceptions", "ListRuns",
    "ListStatements", "ListTemplates",
    "Report", "SearchRefunds", "SearchTrades",
    "Verify", "VerifyAgainst", "VerifyBill", "VerifyAuditLog", "WhoAmI",
}  # fmt: skip


def operators_methods() -> list[tuple[str, Any]]:
    """The methods that a role may call: path, descriptor."""
    return [
        (f"/{service.full_name}/{method.name}", method)
        for service, method in METHODS
        if right_of(service.full_name, method.name).roles
    ]


def as_it_is(answer: bytes) -> bytes:
    return answer


def register_everything(server: aio.Server) -> None:
    """Every method of the contract; each answers with nothing."""

    async def unary(_: Any, context: Any) -> bytes:
        return b""

    async def stream(_: Any, context: Any) -> AsyncIterator[bytes]:
        yield b""

    for service in dict.fromkeys(service for service, _ in METHODS):
        handlers: dict[str, Any] = {}
        for one in service.methods:
            request = GetMessageClass(one.input_type)
            if one.server_streaming:
                made: Any = grpc.unary_stream_rpc_method_handler(
                    stream, request.FromString, as_it_is
                )
            else:
                made = grpc.unary_unary_rpc_method_handler(unary, request.FromString, as_it_is)
            handlers[one.name] = made
        server.add_registered_method_handlers(service.full_name, handlers)


@pytest.fixture
async def channel(database: Database, ids: IdMaker) -> AsyncIterator[aio.Channel]:
    verifier = TokenVerifier("here")
    verifier.trust("test", read_key_set(key_set([KEY.public_key()])))
    refusals = Refusals(database, ids, ORIGIN, SystemClock())
    watch = CallAudit(database, ids, ORIGIN, refusals)
    server = RpcServer(
        ProcessSettings.load("", environ={"SHOUDAN_DRAIN_S": "1"}),
        [register_everything],
        [],
        callers=Callers("enforce", verifier.caller_of),
        watch=watch,
    )
    port = await server.start()
    async with connect(f"127.0.0.1:{port}", retry=False) as made:
        yield made
    await server.stop()


async def drained(answers: Any) -> None:
    async for _ in answers:
        pass


async def called(channel: aio.Channel, path: str, method: Any) -> None:
    token = TokenSigner(KEY, "here").issue("77", "li", list(ROLES))
    metadata = (("authorization", f"Bearer {token}"),)
    if method.server_streaming:
        await drained(channel.unary_stream(path)(b"", metadata=metadata, timeout=20))
    else:
        await channel.unary_unary(path)(b"", metadata=metadata, timeout=20)


def test_what_an_operator_reads_is_named_as_a_read_and_listed() -> None:
    read = {method.name for _, method in operators_methods() if not changes(method.name)}
    assert read == READS, (
        "a method of operators that changes something must not be named as a read; one that reads is listed"
    )


async def test_every_change_an_operator_may_make_leaves_exactly_one_row(
    database: Database, channel: aio.Channel
) -> None:
    for path, method in operators_methods():
        await called(channel, path, method)
    async with database.connect() as db:
        found = await db.execute(text("SELECT action FROM audit_log ORDER BY id"))
        recorded = list(found.scalars())
    wanted = [
        path.rpartition(".")[2] for path, method in operators_methods() if changes(method.name)
    ]
    assert recorded == wanted
    assert len(wanted) > 25
