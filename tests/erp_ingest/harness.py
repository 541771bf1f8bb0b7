"""An ERP service inside the test's own loop, and bodies to push to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan.erp.v1 import erp_service_pb2_grpc as stubs
from shoudan_erp_ingest.config import ErpSettings
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import Process

CUSTOMER, APP_KEY = "BudweiserTmall", "24647807"
EXAMPLES = Path(__file__).parent / "examples"
TRADE, REFUND = pb.PUSH_KIND_TRADE, pb.PUSH_KIND_REFUND


def settings(urls: DatabaseUrls, **more: Any) -> ErpSettings:
    """Settings of a test's service on any free port."""
    return ErpSettings(
        profile="test",
        database_url=Secret(urls.service),
        listen_port=0,
        **more,
    )


def example(name: str) -> bytes:
    """A body of the document, verbatim."""
    return (EXAMPLES / name).read_bytes()


def trade(**fields: Any) -> dict[str, Any]:
    """The documented trade, some of its fields replaced, None taken out."""
    return _with(json.loads(example("push_data.json")), ("data",), fields)


def refund(**fields: Any) -> dict[str, Any]:
    """The documented refund, some of its fields replaced, None taken out."""
    return _with(json.loads(example("push_returngoods.json")), ("data", "refunds", 0), fields)


def _with(whole: dict[str, Any], path: Sequence[str | int], fields: dict[str, Any]) -> Any:
    place: Any = whole
    for step in path:
        place = place[step]
    for name, value in fields.items():
        if value is None:
            place.pop(name, None)
        else:
            place[name] = value
    return whole


def body(value: Any) -> bytes:
    """JSON as ERPs send it."""
    return json.dumps(value, ensure_ascii=False).encode()


@dataclass
class ErpHarness:
    """The service of one test module."""

    process: Process[ErpSettings]
    stub: stubs.ErpServiceStub
    urls: DatabaseUrls

    async def push(self, *bodies: bytes, kind: int = TRADE, sender: str = "") -> list[Any]:
        """The results of pushes made together."""
        name = sender or (CUSTOMER if kind == TRADE else APP_KEY)
        items = [
            pb.IngestPushesRequest.Push(kind=kind, sender=name, body=one, remote_ip="127.0.0.1")
            for one in bodies
        ]
        return list((await self.stub.IngestPushes(pb.IngestPushesRequest(pushes=items))).results)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """Everything in a table, but what differs from push to push of the same thing."""
        found: list[dict[str, Any]] = []
        for cell in self.process.cells:
            async with cell.app.db.connect() as db:
                rows = await db.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))
                found += [dict(row._mapping) for row in rows]
        return found

    async def counts(self) -> dict[str, int]:
        """How many rows each table has, over all shards."""
        names = ("push", "trade", "trade_line", "payment", "refund", "refund_line", "swap_line")
        more = ("history", "phone_index", "audit", "event", "outbox")
        return {name: len(await self.rows(name)) for name in (*names, *more)}

    async def trade(self, tid: str, customerid: str = CUSTOMER) -> dict[str, Any]:
        """A trade as it is shown."""
        request = pb.GetTradeRequest(customerid=customerid, tid=tid)
        return json.loads((await self.stub.GetTrade(request)).trade.json)

    async def refund(self, refund_no: str, app_key: str = APP_KEY) -> dict[str, Any]:
        """A refund as it is shown."""
        request = pb.GetRefundRequest(app_key=app_key, refund_no=refund_no)
        return json.loads((await self.stub.GetRefund(request)).refund.json)
