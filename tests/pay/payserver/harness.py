"""A pay service, the real gateway before it, and a payment component, with short words for shop's calls."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from sqlalchemy import text

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_fakes.component import Component
from shoudan_gateway.app import SERVICE as GATEWAY
from shoudan_gateway.app import ports
from shoudan_gateway.config import GatewaySettings
from shoudan_kit.db.pool import Database
from shoudan_kit.service import Process
from shoudan_pay.payserver.numbers import new_uuid
from shoudan_pay.payserver.rules import SIGN_ACCOUNT
from shoudan_pay.payserver.store import modes
from shoudan_pay.payserver.store.modes import Mode, Terms

BASE = "https://pay.example.com"
PAYEE = "http://192.168.7.188:6004/api/v1.0.0/shops/eLzwsgnlWpZN8xtvz0qgvw"
FEN = 10_000
_numbers = itertools.count(1)

# I10 and what goes with it: each statement gives no row.
INVARIANTS = {
    "payed by the ledger means deducted, once, as much": """
        SELECT o.traction_no FROM pay_order o LEFT JOIN account_record r
            ON r.trade_no = o.traction_no AND r.change_type = 3 AND r.trade_type = 1
        WHERE o.method = 'account' AND (o.status IN ('payed', 'partRefunded', 'refunded'))
            <> (r.amount_micros IS NOT DISTINCT FROM -o.amount_micros)""",
    "refundAmount is the sum of what was refunded, never above payAmount": """
        SELECT o.traction_no FROM pay_order o LEFT JOIN (
            SELECT pay_id, sum(amount_micros) AS s FROM refund_order WHERE status = 'refunded' GROUP BY 1
        ) r ON r.pay_id = o.id
        WHERE o.refunded_micros <> coalesce(r.s, 0) OR o.refunded_micros > o.amount_micros""",
    "refunds that may still succeed fit, too": """
        SELECT pay_id FROM refund_order r JOIN pay_order o ON o.id = r.pay_id
        WHERE r.status <> 'refundFailed'
        GROUP BY pay_id, o.amount_micros HAVING sum(r.amount_micros) > o.amount_micros""",
    "refunded by the ledger means given back, once, as much": """
        SELECT f.traction_no FROM refund_order f LEFT JOIN account_record r
            ON r.trade_no = f.traction_no AND r.change_type = 4
        WHERE f.method = 'account' AND (f.status = 'refunded')
            <> (r.amount_micros IS NOT DISTINCT FROM f.amount_micros)""",
    "every status is in the history": """
        SELECT o.traction_no FROM pay_order o WHERE NOT EXISTS (
            SELECT 1 FROM trade_record t WHERE t.traction_no = o.traction_no AND t.status = o.status)""",
    "history is never changed": """
        SELECT relname FROM pg_stat_user_tables
        WHERE relname = 'trade_record' AND (n_tup_upd > 0 OR n_tup_del > 0)""",
}


def gateway(target: str, **given: Any) -> Process[GatewaySettings]:
    """A gateway in this process; demo, so that loopback needs no token."""
    settings: dict[str, Any] = {
        "profile": "demo",
        "listen_port": 0,
        "internal_port": 0,
        "pay_target": target,
        "public_base_url": BASE,
        "drain_s": 2,
        "access_log": "off",
        **given,
    }
    return Process(GATEWAY, GatewaySettings(**settings))


def number(prefix: str = "p") -> str:
    """A client's number that no other test has."""
    return f"{prefix}{next(_numbers):08d}"


@dataclass
class PayserverHarness:
    """The whole way from a shop's HTTP request to the ledger or a component."""

    pay: Process[Any]
    url: str
    http: aiohttp.ClientSession
    component: Component
    ledger: Any
    owner: Database

    async def get(self, path: str, **params: Any) -> tuple[int, Any]:
        """GET below /api/v1.0.0."""
        async with self.http.get(f"{self.url}/api/v1.0.0/{path}", params=params) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: Any, method: str = "POST") -> tuple[int, Any]:
        """POST below /api/v1.0.0."""
        url = f"{self.url}/api/v1.0.0/{path}"
        async with self.http.request(method, url, data=json.dumps(body)) as answer:
            return answer.status, await answer.json()

    async def mode(self, template: str | None = SIGN_ACCOUNT, **given: Any) -> Mode:
        """A mode of a merchant of its own, opened and online."""
        merchant = given.pop("merchant", None) or new_uuid()
        uuid, opened = given.pop("uuid", None) or new_uuid(), given.pop("opened", True)
        base = Terms(
            "挂账",
            None,
            None,
            None,
            None,
            None,
            24,
            True,
            False,
            False,
            False,
            None,
            None,
            None,
            False,
            "",
        )
        terms = Terms(**{**{n: getattr(base, n) for n in modes.TERMS}, **given})
        now = self.pay.app.clock.now()
        mode = Mode(0, uuid, template, merchant, "", True, opened, 3, now, now, terms)
        async with self.pay.app.work() as work:
            made = await modes.create(work.db, mode)
        assert made is not None
        return made

    async def component_mode(self, **given: Any) -> Mode:
        """A mode whose money the component moves."""
        urls = {
            "pay_url": f"{self.component.url}/pay",
            "refund_url": f"{self.component.url}/refund",
            "query_url": f"{self.component.url}/query",
        }
        return await self.mode(**{"template": None, "name": "微信扫码枪", **urls, **given})

    async def account(
        self, mode: Mode, eid: str = "", *, credit_fen: int = 0, fen: int = 0, groups: str = ""
    ) -> pb.AccountKey:
        """An account of the mode's merchant."""
        groups = groups or "sign_account"
        key = pb.AccountKey(ident=mode.merchant_uuid, groups=groups, eid=eid or new_uuid())
        item = pb.CreateAccountsRequest.Item(key=key, name="a", credit_micros=credit_fen * FEN)
        await self.ledger.CreateAccounts(pb.CreateAccountsRequest(items=[item]))
        if fen:
            posting = pb.Posting(
                account=key,
                trade_no=number("t"),
                amount_micros=fen * FEN,
                change_type=pb.CHANGE_TYPE_ADD,
                trade_type=pb.TRADE_TYPE_TRADE,
            )
            await self.ledger.Post(pb.PostRequest(posting=posting))
        return key

    async def balance_fen(self, key: pb.AccountKey) -> int:
        """What is in it now."""
        found = await self.ledger.GetAccount(pb.GetAccountRequest(key=key))
        return found.account.balance_micros // FEN

    async def sql(self, statement: str, **binds: Any) -> list[Any]:
        """Rows straight from the database, by its owner."""
        async with self.owner.begin() as db:
            return list((await db.execute(text(statement), binds)).all())

    async def broken(self) -> dict[str, list[str]]:
        """The invariants that do not hold."""
        found: dict[str, list[str]] = {}
        for name, statement in INVARIANTS.items():
            if rows := await self.sql(f"{statement} LIMIT 5"):
                found[name] = [str(row) for row in rows]
        return found


def body(mode: Mode, **given: Any) -> dict[str, Any]:
    """A pay as the seed shows it."""
    made: dict[str, Any] = {
        "payModeUUID": mode.uuid,
        "payer": "A",
        "payee": PAYEE,
        "payAmount": 50,
        "clientPayNo": number(),
        "payParams": {"payBarCode": "1348535661812064760000"},
        "clientExtraParams": {"orderNo": "P201807050001", "orderAmount": 210},
    }
    return made | given


def on_account(mode: Mode, key: pb.AccountKey, **given: Any) -> dict[str, Any]:
    """A 挂账 pay."""
    return body(mode, payParams={"signAccounterUUID": key.eid, "signPersonUUID": "p"}, **given)


def by_code(mode: Mode, tail: str, **given: Any) -> dict[str, Any]:
    """A pay by a bar code that ends so."""
    return body(mode, payParams={"payBarCode": f"13485356618120{tail}"}, **given)


__all__ = [
    "BASE",
    "PAYEE",
    "PayserverHarness",
    "body",
    "by_code",
    "gateway",
    "number",
    "on_account",
    "ports",
]
