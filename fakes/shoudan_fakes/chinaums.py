"""ChinaUMS for trying its client out: verifies what it is sent, and a script chooses what happens."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from shoudan_kit.clock import SystemClock, beijing
from shoudan_signing import open_body_sig

WINDOW_S: Final = 300
CALLS_MAX: Final = 2_000
STOP_S: Final = 1.0
SUCCESS: Final = "SUCCESS"


@dataclass(slots=True)
class Script:
    """What happens to the next refunds. `questions`: PROCESSING so often before `ends`."""

    ends: str = SUCCESS
    questions: int = 0
    code: str = SUCCESS  # errCode of /refund; others note nothing
    times: int = 1_000_000  # how many calls of /refund it holds for
    broken: str = ""  # hang, html, reset, forged: after the refund was noted
    lost: bool = False  # broken before anything was noted


@dataclass(slots=True)
class Refund:
    """One refund that arrived."""

    mer_order_id: str
    fen: int
    ends: str
    questions: int
    calls: int = 1


@dataclass
class Ums:
    """`async with Ums(app_id, app_key) as ums:` serves `/v1/netpay/...`."""

    app_id: str
    app_key: str
    script: Script = field(default_factory=Script)
    refunds: dict[str, Refund] = field(default_factory=dict[str, Refund])
    pays: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    calls: deque[tuple[str, dict[str, Any]]] = field(
        default_factory=lambda: deque(maxlen=CALLS_MAX)
    )
    hang_s: float = 2.0
    signs: bool = False  # whether answers carry a signature
    other_fen: str = ""  # answer or query: that names a fen less than was given back

    def __post_init__(self) -> None:
        self._nonces: set[str] = set()
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        body = await http.read()
        if not self._proved(http.headers.get("Authorization", ""), body):
            return _json({"errCode": "1000", "errInfo": "认证失败"}, 412)
        members = msgspec.json.decode(body, type=dict[str, Any])
        name = http.path.rpartition("/")[2]
        self.calls.append((name, members))
        echoed = {k: members[k] for k in ("msgId", "mid", "tid", "instMid") if k in members}
        common = {"responseTimestamp": beijing(SystemClock().now()), **echoed}
        if name == "refund":
            return await self._refund(http, members, common)
        if name == "refund-query":
            return self._reply({**common, **self._refund_state(members)})
        return self._reply({**common, **self._pay_state(members)})

    def _proved(self, header: str, body: bytes) -> bool:
        given = open_body_sig.read(header)
        if given is None or given.app_id != self.app_id or given.nonce in self._nonces:
            return False
        moment = open_body_sig.moment_of(given.timestamp)
        if moment is None or abs((SystemClock().now() - moment).total_seconds()) > WINDOW_S:
            return False
        right = open_body_sig.right(given, self.app_key, body)
        if right:
            self._nonces.add(given.nonce)
        return right

    async def _refund(
        self, http: web.BaseRequest, members: dict[str, Any], common: dict[str, Any]
    ) -> web.StreamResponse:
        script = self.script if self.script.times > 0 else Script()
        script.times -= 1
        number = members["refundOrderId"]
        if script.code != SUCCESS and number not in self.refunds:
            return self._reply({**common, "errCode": script.code, "errMsg": script.code})
        if not script.lost:
            self._note(number, members, script)
        if script.broken:
            return await self._broken(http, script.broken, common)
        noted = self.refunds[number]
        state = "PROCESSING" if noted.questions else noted.ends
        shown: dict[str, Any] = {
            "errCode": SUCCESS,
            "merOrderId": noted.mer_order_id,
            "refundOrderId": number,
            "refundAmount": noted.fen,
            "refundStatus": state,
            "status": "TRADE_REFUND",
        }
        if self.other_fen == "answer":
            shown["refundAmount"] -= 1
        return self._reply({**common, **shown})

    def _note(self, number: str, members: dict[str, Any], script: Script) -> None:
        known = self.refunds.get(number)
        if known is not None:
            known.calls += 1
            return
        order, fen = members["merOrderId"], members["refundAmount"]
        self.refunds[number] = Refund(order, fen, script.ends, script.questions)

    async def _broken(
        self, http: web.BaseRequest, how: str, common: dict[str, Any]
    ) -> web.StreamResponse:
        if how == "hang":
            await asyncio.sleep(self.hang_s)
        if how == "html":
            return web.Response(text="<html>busy</html>", content_type="text/html")
        if how == "forged":
            forged = {**common, "errCode": SUCCESS, "refundStatus": SUCCESS}
            header = open_body_sig.header(self.app_id, "x" * 32, "20220415104759", "n", b"{}")
            return _json(forged, 200, {"Authorization": header})
        if http.transport is not None:
            http.transport.abort()
        return web.Response(status=500)

    def _refund_state(self, members: dict[str, Any]) -> dict[str, Any]:
        number = members["merOrderId"]
        noted = self.refunds.get(number)
        if noted is None:
            return {"errCode": "NO_ORDER", "errMsg": "找不到交易"}
        state = noted.ends
        if noted.questions:
            noted.questions -= 1
            state = "PROCESSING"
        other = {"refundAmount": noted.fen - 1} if self.other_fen == "query" else {}
        return {
            **other,
            "errCode": SUCCESS,
            "errMsg": "查询成功",
            "refundStatus": state,
            "refundOrderId": number,
            "merOrderId": noted.mer_order_id,
            "totalAmount": str(noted.fen),
            "refundTargetOrderId": f"5010{number}",
            "seqId": "35316064757N",
            "settleRefId": "35316064757N",
            "targetSys": "WXPay",
            "targetStatus": "SUCCESS|SUCCESS",
            "bankCardNo": "6222021234567890123",
            "refundFunds": f"现金:{noted.fen}",
            "refundInvoiceAmount": noted.fen,
            "settleDate": "2022-04-15",
            "yxlmAmount": "5",
        }

    def _pay_state(self, members: dict[str, Any]) -> dict[str, Any]:
        number = members["merOrderId"]
        if number not in self.pays:
            return {"errCode": "NO_ORDER", "errMsg": "找不到交易"}
        status, fen = self.pays[number]
        return {"errCode": SUCCESS, "merOrderId": number, "status": status, "totalAmount": fen}

    def _reply(self, members: dict[str, Any]) -> web.Response:
        body = msgspec.json.encode(members)
        headers: dict[str, str] = {}
        if self.signs:
            stamp, nonce = open_body_sig.stamp(SystemClock().now()), "n" * 32
            made = open_body_sig.header(self.app_id, self.app_key, stamp, nonce, body)
            headers["Authorization"] = made
        return _json(members, 200, headers)


def _json(
    members: dict[str, Any], status: int, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(members),
        headers={"Content-Type": "application/json;charset=UTF-8", **(headers or {})},
    )
