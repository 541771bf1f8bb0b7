"""Telling Dingdang partners what they are owed, until retCode says SUCCESS; every attempt is recorded."""

from __future__ import annotations

import random
import secrets
from typing import Any, Final

from shoudan_kit import log
from shoudan_kit.egress import Egress
from shoudan_kit.money import FEN
from shoudan_kit.service import App
from shoudan_kit.task import Task
from shoudan_pay.channels import dingdang
from shoudan_pay.channels.dingdang import Said
from shoudan_pay.config import PaySettings
from shoudan_pay.platforms.kinds import Tell
from shoudan_pay.platforms.states import RefundState
from shoudan_pay.rpc.payserver.components import guard_of
from shoudan_pay.rpc.platforms.owing import PAID
from shoudan_pay.rpc.platforms.proofs import Proofs
from shoudan_pay.rpc.platforms.standing import refund_state
from shoudan_pay.store.payserver import pays as pay_store
from shoudan_pay.store.payserver import refunds as refund_store
from shoudan_pay.store.platforms import callers, notices
from shoudan_pay.store.platforms.callers import Domain
from shoudan_pay.store.platforms.notices import Attempt, Notice

DONE, WAITING, GIVEN_UP = "done", "waiting", "given_up"
NO_SECRET: Final = Said(None, sent=False, text="secret not found")

_log = log.get_logger("dingdang")


class Telling:
    """Sends notices. The calls of one host are bounded, so a slow one holds up few others."""

    def __init__(self, app: App[PaySettings], proofs: Proofs) -> None:
        self._app, self._proofs = app, proofs
        settings = app.settings
        self._egress = Egress(
            "dingdang-notice",
            guard=guard_of(settings),
            per_host_max=settings.platform_calls_max,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._egress.aclose()

    async def tell(self, task: Task[Tell]) -> None:
        """One attempt of one notice."""
        async with self._app.db.connect() as db:
            notice = await notices.by_id(db, task.payload.notice_id)
            domain, body = None, dict[str, Any]()
            if notice is not None and notice.status == WAITING:
                domain = await callers.domain_by_id(db, "platform", notice.domain_id)
                body = await self._body(db, notice)
        if notice is None or notice.status != WAITING:
            async with self._app.work("dingdang_tell") as work:
                work.tasks.finish(task)
            return
        if domain is None:  # switched off for now; the notice stays owed
            task.again(self._app.settings.notice_waits_s[-1], "domain not enabled")
            return
        began = self._app.clock.monotonic()
        said = await self._send(domain, notice, body)
        took_ms = int((self._app.clock.monotonic() - began) * 1000)
        await self._record(task, notice, said, took_ms)

    async def _send(self, domain: Domain, notice: Notice, body: dict[str, Any]) -> Said:
        url = domain.paid_url if notice.kind == PAID else domain.refunded_url
        if not self._proofs.authorization(domain, b""):
            return NO_SECRET
        return await dingdang.send(
            self._egress, url, body, lambda raw: self._proofs.authorization(domain, raw)
        )

    async def _body(self, db: Any, notice: Notice) -> dict[str, Any]:
        """The notice as its documents say; a re-sent one has a nonce of its own."""
        nonce = secrets.token_hex(16)
        number = notice.traction_no
        if notice.kind == PAID:
            pay = (await pay_store.by_number(db, [number]))[number]
            total = pay.amount_micros // FEN
            return dingdang.paid_notice(notice.domain_id, number, pay.client_pay_no, total, nonce)
        refund = (await refund_store.by_number(db, [number]))[number]
        paid = refund.pay_traction_no
        pay = (await pay_store.by_number(db, [paid]))[paid]
        ids = {
            "domainId": notice.domain_id,
            "transactionId": paid,
            "tradeNo": pay.client_pay_no,
            "refundTransactionId": number,
            "refundTradeNo": refund.client_refund_no,
        }
        state: RefundState = refund_state(refund.status)
        return dingdang.refunded_notice(
            ids, pay.amount_micros // FEN, refund.amount_micros // FEN, state, nonce
        )

    async def _record(self, task: Task[Tell], notice: Notice, said: Said, took_ms: int) -> None:
        settings = self._app.settings
        count = notice.count + 1
        status = DONE if said.ok else GIVEN_UP if count >= settings.notice_count_max else WAITING
        async with self._app.work("dingdang_tell") as work:
            attempt = Attempt(
                self._app.ids.next(), notice.notice_id, status, said.http_status, said.text, took_ms
            )
            await notices.record(work.db, attempt)
            if status != WAITING:
                work.tasks.finish(task)
        if status == WAITING:
            waits = settings.notice_waits_s
            wait_s = waits[min(count, len(waits)) - 1] * random.uniform(0.9, 1.1)
            task.again(wait_s, "not acknowledged")
        elif status == GIVEN_UP:
            _log.warning("notice_given_up", notice_id=notice.notice_id, domain=notice.domain_id)
