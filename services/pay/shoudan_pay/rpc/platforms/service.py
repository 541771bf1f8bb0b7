"""Everything of ChinaUMS and Dingdang in one process, tied to PayServer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from shoudan.pay.v1 import platform_service_pb2_grpc as grpc_stubs
from shoudan_kit.service import App, Register
from shoudan_kit.task import Handler, Task
from shoudan_pay.config import PaySettings
from shoudan_pay.platforms.kinds import (
    ASK_UMS,
    ASK_UMS_NOW,
    RELEASE,
    TELL,
    AskUms,
    Release,
    Tell,
)
from shoudan_pay.rpc.payserver import PayServer
from shoudan_pay.rpc.platforms import admin, chinaums
from shoudan_pay.rpc.platforms.admin import PlatformServicer
from shoudan_pay.rpc.platforms.chinaums import ChinaumsServicer
from shoudan_pay.rpc.platforms.partner_side import DingdangLink, PartnerCalls, Trades
from shoudan_pay.rpc.platforms.platform_side import PlatformCalls
from shoudan_pay.rpc.platforms.proofs import Proofs
from shoudan_pay.rpc.platforms.releasing import Orders
from shoudan_pay.rpc.platforms.telling import Telling
from shoudan_pay.rpc.platforms.ums_refunds import UmsRefunds
from shoudan_pay.store.platforms import callers

DINGDANG_NAME: Final = "shoudan.pay.v1.DingdangService"
NAMES: Final = (chinaums.NAME, DINGDANG_NAME, admin.NAME)
FORGET_S: Final = 600


class DingdangServicer(PlatformCalls, PartnerCalls, grpc_stubs.DingdangServiceServicer):
    """shoudan.pay.v1.DingdangService."""

    def __init__(self, server: PayServer, proofs: Proofs, trades: Trades) -> None:
        self._app, self._proofs, self._trades = server.app, proofs, trades
        self._refunding = server.refunding


class Platforms:
    """Made once, closed once, before PayServer."""

    def __init__(self, server: PayServer) -> None:
        app: App[PaySettings] = server.app
        self._app, self._server = app, server
        self._proofs = Proofs(app)
        self._trades = Trades(app, server.settling)
        self.refunds = UmsRefunds(app, self._proofs, server.settling)
        self.telling = Telling(app, self._proofs)
        self.orders = Orders(app)
        self._link = DingdangLink(app, self._proofs, self._trades)
        server.components.links["chinaums"] = self.refunds
        server.components.links["dingdang"] = self._link

    @property
    def registers(self) -> Sequence[Register]:
        """Register the three servicers with a server."""
        stubs = cast("Any", grpc_stubs)
        app, settling = self._app, self._server.settling
        ums = ChinaumsServicer(app, self._proofs, settling)
        dingdang = DingdangServicer(self._server, self._proofs, self._trades)
        return (
            partial(stubs.add_ChinaumsServiceServicer_to_server, ums),
            partial(stubs.add_DingdangServiceServicer_to_server, dingdang),
            partial(
                stubs.add_PlatformServiceServicer_to_server, PlatformServicer(app, self.orders)
            ),
        )

    @property
    def handlers(self) -> Sequence[Handler[Any]]:
        """What runs the tasks; the service's own context is not needed."""

        async def ask(_: object, tasks: Sequence[Task[AskUms]]) -> None:
            await self.refunds.ask(tasks[0])

        async def tell(_: object, tasks: Sequence[Task[Tell]]) -> None:
            await self.telling.tell(tasks[0])

        async def release(_: object, tasks: Sequence[Task[Release]]) -> None:
            await self.orders.release(tasks[0])

        return (
            Handler(ASK_UMS, ask),
            Handler(ASK_UMS_NOW, ask),
            Handler(TELL, tell),
            Handler(RELEASE, release),
        )

    async def forget(self) -> None:
        """Delete nonces and tokens whose time is over, again and again."""
        while True:
            async with self._app.work("platforms_forget") as work:
                await callers.forget(work.db)
            await asyncio.sleep(FORGET_S)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.refunds.aclose()
        await self.telling.aclose()
        await self._link.aclose()
