"""What finance pages show in tests: a day that is proved, one that differs, a statement, its differences."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan.finance.v1.statement_service_pb2_grpc import StatementServiceStub
from shoudan_kit.clock import BEIJING
from tests.console.harness import Desk
from tests.poll import eventually

TODAY = datetime.now(BEIJING).date()
DAY = TODAY - timedelta(days=3)
DIFFERS = TODAY - timedelta(days=2)
SOURCE: Final = "bookshop"
HEAD: Final = "商户单号,平台单号,结算单号,充值账号,面值,金额,时间,类型,状态"
FINANCE_DAY = """INSERT INTO finance_day (day, status, accounts, movements, debits_micros, credits_micros,
    close_time, create_time, prove_time, digest, what)
    VALUES ($1, $2, 1, 2, 198000000, 1000000, now(), now(), now(), $3, $4)"""
ACCOUNT_FACT = """INSERT INTO account_fact (day, account_id, ident, groups, eid, name, seq_from, seq_to,
    opening_micros, debits_micros, credits_micros, closing_micros, head_hash)
    VALUES ($1, 7, 'oms', 'down_channel', 'test', 'the bookshop', 1, 2, 500000000, 198000000, 1000000,
    303000000, '')"""
TRADE_DAY = """INSERT INTO trade_day (day, status, trades, page_token, apart, what, create_time, pays)
    VALUES ($1, 20, 0, '', 0, '', now(), 0) ON CONFLICT DO NOTHING"""

STATUS = "SELECT status FROM exception WHERE exception_id = $1"


@dataclass
class Books:
    """What the pages show: a day that is proved, one that differs, a statement, its differences."""

    desk: Desk
    statement_id: int
    exceptions: list[int]

    async def sql(self, query: str, *values: Any) -> Any:
        return await self.desk.partner.sql("finance", query, *values)


async def token_of(desk: Desk, name: str, *roles: str) -> str:
    """A token of an operator, as the login gives it."""
    from shoudan.identity.v1 import identity_service_pb2 as identity_pb

    person = await desk.person(name, *roles)
    given = await desk.credentials(person)
    request = identity_pb.LoginRequest(
        name=given["name"], password=given["password"], totp=given["code"]
    )
    return (await desk.call("Login", request)).tokens.access_token


async def made(desk: Desk) -> Books:
    """Put it there."""
    for day, status, digest, what in (
        (DAY, 20, b"\x01" * 32, ""),
        (DIFFERS, 80, b"", "account 7: 2 records, not 3"),
    ):
        await desk.partner.sql("finance", FINANCE_DAY, day, status, digest, what)
    await desk.partner.sql("finance", ACCOUNT_FACT, DAY)
    for past in range(6):
        await desk.partner.sql("finance", TRADE_DAY, TODAY - timedelta(days=past))
    token = await token_of(desk, "imports", "ops", "finance-maker")
    noon = f"{DAY} 12:00:00"
    rows = [f",B{one},,,,198.00,{noon},发货,成功" for one in range(8)]
    data = "\r\n".join([HEAD, *rows, "合计,8,1584.00", ""]).encode("utf-8-sig")
    sha256 = hashlib.sha256(data).digest()

    async def call(method: str, request: Any) -> Any:
        stub = StatementServiceStub
        return await desk.clients.call("finance", stub, method, request, token=token)

    await call("StorePart", pb.StorePartRequest(sha256=sha256, part_no=0, data=data))
    request = pb.ImportStatementRequest(
        sha256=sha256, parts=1, template="plain-csv", source=SOURCE, file_name="books.csv"
    )
    statement = (await call("ImportStatement", request)).statement
    query = "SELECT array_agg(exception_id ORDER BY exception_id) FROM exception WHERE source = $1"

    async def found() -> bool:
        return len(await desk.partner.sql("finance", query, SOURCE) or ()) == 8

    await eventually(found, 60, every_s=0.3)
    numbers = await desk.partner.sql("finance", query, SOURCE)
    return Books(desk, statement.statement_id, numbers)
