"""Sends notices to Dingdang partners until retCode is SUCCESS; every attempt is recorded."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from shoudan_kit import log, metrics
from shoudan_kit.http.client import HttpClient
from shoudan_kit.limits.bulkhead import Admission, Change, Limits, Resting
from shoudan_kit.limits.shared_bulkhead import SharedBulkhead
from shoudan_kit.limits.shares import Shares
from shoudan_kit.money import FEN
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Task
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang import protocol
from shoudan_pay.dingdang.kinds import SEND_NOTICE, NoticeStep
from shoudan_pay.dingdang.notice_subscriptions import PAID
from shoudan_pay.dingdang.protocol import DingdangAnswer
from shoudan_pay.dingdang.states import NOTICE, NoticeEvent, NoticeStatus
from shoudan_pay.dingdang.store import notices
from shoudan_pay.dingdang.store.notices import Attempt, Notice
from shoudan_pay.payserver.components import guard_of
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.platforms.signatures import Signatures
from shoudan_pay.platforms.states import RefundState
from shoudan_pay.platforms.status_map import refund_state
from shoudan_pay.platforms.store import callers
from shoudan_pay.platforms.store.callers import Domain

KEPT_FREE: Final = 8  # of SEND_NOTICE.parallel, for domains without a call in flight
NO_SECRET: Final = DingdangAnswer(None, sent=False, text="secret not found")

_log = log.get_logger("dingdang")


def bounds(calls_max: int) -> Limits:
    """Of notices in flight: some of the worker's places stay for domains that have none."""
    total = SEND_NOTICE.parallel - KEPT_FREE
    each = min(calls_max, total - 1)
    return Limits(total_max=total, group_max=each, party_max=each, reserve=1)


class Notices:
    """Sends notices. The calls to each domain are bounded below all calls, so a slow one delays itself."""

    def __init__(self, app: App[PaySettings], signatures: Signatures, shares: Shares) -> None:
        """`shares`: what part of the calls to each domain is this process's."""
        self._app, self._signatures = app, signatures
        settings = app.settings
        self._http = HttpClient(
            "dingdang-notice",
            guard=guard_of(settings),
            per_host_max=SEND_NOTICE.parallel,  # a host is bounded for each domain, below
        )
        self.calls = SharedBulkhead(bounds(settings.platform_calls_max), shares, "notice ")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def resting(self) -> list[Resting]:
        """Hosts of domains that do not answer."""
        return self.calls.resting_parties("notice", self._app.clock.monotonic())

    async def send_notice(self, task: Task[NoticeStep]) -> None:
        """One attempt of one notice."""
        async with self._app.db.connect() as db:
            notice = await notices.by_id(db, task.payload.notice_id)
            domain, body = None, dict[str, Any]()
            if notice is not None and notice.status == NoticeStatus.WAITING:
                domain = await callers.domain_by_id(db, "platform", notice.domain_id)
                body = await self._body(db, notice)
        if notice is None or notice.status != NoticeStatus.WAITING:
            async with self._app.work("dingdang_tell") as work:
                work.tasks.finish(task)
            return
        if domain is None:  # switched off for now; the notice stays waiting
            task.retry_after(self._app.settings.notice_waits_s[-1], "domain not enabled")
            return
        url = domain.paid_url if notice.kind == PAID else domain.refunded_url
        party = (domain.domain_id, urlsplit(url).netloc)
        began = self._app.clock.monotonic()
        admission = self.calls.enter(party, began)
        if admission is not Admission.GO:
            wait_s = self.calls.rest_left_s(party, began) + random.uniform(1, 3)
            task.retry_after(wait_s, f"host {admission.value}")
            return
        answered = True
        try:
            said = await self._send(domain, url, body)
            answered = said is NO_SECRET or said.http_status > 0
        finally:
            now = self._app.clock.monotonic()
            self._log_change(party, self.calls.leave(party, now, answered=answered))
        await self._record(task, notice, said, int((now - began) * 1000))

    def _log_change(self, party: tuple[str, str], change: Change) -> None:
        """Operators see which hosts rest and which are back."""
        if change is Change.DOWN:
            _log.warning("notice_host_down", domain=party[0], host=party[1])
        elif change is Change.UP:
            _log.info("notice_host_up", domain=party[0], host=party[1])
        if change is not Change.NONE:
            metrics.HOSTS_RESTING("dingdang-notice").set(self.calls.resting)

    async def _send(self, domain: Domain, url: str, body: dict[str, Any]) -> DingdangAnswer:
        if not self._signatures.authorization(domain, b""):
            return NO_SECRET
        return await protocol.send(
            self._http, url, body, lambda raw: self._signatures.authorization(domain, raw)
        )

    async def _body(self, db: Any, notice: Notice) -> dict[str, Any]:
        """The notice as its documents say; a re-sent one has a nonce of its own."""
        nonce = secrets.token_hex(16)
        number = notice.traction_no
        if notice.kind == PAID:
            pay = (await pay_store.by_number(db, [number]))[number]
            total = pay.amount_micros // FEN
            return protocol.paid_notice(notice.domain_id, number, pay.client_pay_no, total, nonce)
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
        return protocol.refunded_notice(
            ids, pay.amount_micros // FEN, refund.amount_micros // FEN, state, nonce
        )

    async def _record(
        self, task: Task[NoticeStep], notice: Notice, said: DingdangAnswer, took_ms: int
    ) -> None:
        settings = self._app.settings
        count = notice.count + 1
        event = NoticeEvent.ACKNOWLEDGED if said.ok else NoticeEvent.NOT_ACKNOWLEDGED
        if not said.ok and count >= settings.notice_count_max:
            event = NoticeEvent.EXHAUSTED
        status = NOTICE.next(NoticeStatus(notice.status), event)
        async with self._app.work("dingdang_tell") as work:
            attempt = Attempt(
                self._app.ids.next(), notice.notice_id, status, said.http_status, said.text, took_ms
            )
            await notices.record(work.db, attempt)
            if status != NoticeStatus.WAITING:
                work.tasks.finish(task)
        if status == NoticeStatus.WAITING:
            waits = settings.notice_waits_s
            wait_s = waits[min(count, len(waits)) - 1] * random.uniform(0.9, 1.1)
            task.retry_after(wait_s, "not acknowledged")
        elif status == NoticeStatus.GIVEN_UP:
            _log.warning("notice_given_up", notice_id=notice.notice_id, domain=notice.domain_id)


async def newest(app: App[PaySettings], domain_id: str, most: int) -> Sequence[Notice]:
    """The newest notices, of one domain or of all."""
    async with app.db.connect() as db:
        return await notices.newest(db, domain_id, most)
