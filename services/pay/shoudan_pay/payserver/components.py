"""Payment components: which address, which secret, what to send; one place for every call outside."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from shoudan_kit import log, metrics
from shoudan_kit.clock import beijing
from shoudan_kit.credentials.live import LiveSecrets
from shoudan_kit.http.client import HttpClient
from shoudan_kit.http.resolver import Resolver
from shoudan_kit.http.ssrf import ANY_PORT, PORTS, Guard, UrlForbidden, opened
from shoudan_kit.limits.bulkhead import Admission, Bulkhead, Change, Limits, Party, Resting
from shoudan_kit.limits.places import Places
from shoudan_kit.limits.shares import Counts, Shares
from shoudan_kit.secrets import named_secret
from shoudan_pay.config import PaySettings
from shoudan_pay.credential_kinds import COMPONENT
from shoudan_pay.payserver import protocol
from shoudan_pay.payserver.history import PAY, REFUND
from shoudan_pay.payserver.protocol import Checked, ComponentAnswer
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.store.modes import Usable
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.refusals import FieldInvalid

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
NOTIFY_PATHS: Final = {PAY: "/api/v1.0.0/payNotify", REFUND: "/api/v1.0.0/refundNotify"}
# Only these may be named by a template: no other secret of the process can be made to sign for a caller.
SECRET_NAME: Final = re.compile(r"SHOUDAN_COMPONENT_[A-Z0-9_]{1,40}")
WAITING_MAX: Final = 256  # calls to one component that wait; more are left to their tasks
ROOMS_MAX: Final = 1_000  # components with room of their own; further ones share one


_log = log.get_logger("payserver")


class Link(Protocol):
    """A protocol of this service itself that stands where a component's URL stands: `chinaums:`.

    What follows the colon names one of the merchant's accounts there; nothing: its first.
    """

    fields: ClassVar[frozenset[str]]  # the URLs it may stand for: pay_url, refund_url, query_url

    async def pay(self, pay: PayOrder, account: str) -> ComponentAnswer:
        """Call for the money."""
        ...

    async def refund(self, refund: RefundOrder, pay: PayOrder, account: str) -> ComponentAnswer:
        """Call to give money back."""
        ...

    async def query(self, traction_no: str, merchant_uuid: str, account: str) -> ComponentAnswer:
        """Query the result of a number."""
        ...


class Components:
    """Every call to payment components, at most `component_calls_max` to each at once, over all processes.

    Each has places of its own: a slow one must not hold up the others.
    """

    def __init__(self, settings: PaySettings, stored: LiveSecrets, shares: Shares) -> None:
        """`stored` are the components' credentials; they go before the named and the derived secrets.
        `shares`: what part of a component's calls is this process's."""
        self._settings, self._stored, self.shares = settings, stored, shares
        self._guard = guard_of(settings)
        self.links: dict[str, Link] = {}
        self._http = HttpClient(
            "component",
            guard=self._guard,
            total_s=settings.component_timeout_s,
            per_host_max=settings.component_calls_max,
        )
        self._resolver = Resolver()  # threads of its own: the loop's are for files
        self._rooms: dict[str, Places] = {}
        # Its bounds are the rooms'; here it remembers who does not answer.
        self.answering = Bulkhead(
            Limits(
                total_max=settings.component_calls_max * (ROOMS_MAX + 2),
                group_max=settings.component_calls_max * (ROOMS_MAX + 1),
                party_max=settings.component_calls_max,
                reserve=1,
                rest_s=settings.component_rest_s,
            )
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()
        await self._resolver.close()

    def _places(self, origin: str) -> int:
        """Calls to a component from this process; one at least."""
        share = self.shares.of(origin, asyncio.get_running_loop().time())
        return max(1, int(self._settings.component_calls_max * share + 1e-9))

    def asked(self, _seconds: float) -> dict[str, float]:
        """What part of each component's calls is asked of this process."""
        most = self._settings.component_calls_max
        return {origin: min(1.0, one.wanted / most) for origin, one in self._rooms.items()}

    def used(self) -> dict[str, float]:
        """What part of them is in flight from here."""
        most = self._settings.component_calls_max
        return {origin: one.taken / most for origin, one in self._rooms.items()}

    def received(self, _: Mapping[str, Counts]) -> None:
        """Shares may have changed."""
        for one in self._rooms.values():
            one.wake()

    def resting(self) -> list[Resting]:
        """Components that do not answer and are called ever more rarely."""
        return self.answering.resting_parties("component", asyncio.get_running_loop().time())

    def has_room(self, url: str | None, more: int) -> bool:
        """Whether `more` further calls to this component may wait here for their turn."""
        return self._room(url or "").waiting + more <= WAITING_MAX

    async def check_url(self, name: str, field: str, url: str | None) -> None:
        """Refuse an address that may not be called, before it is stored: FieldInvalid.

        `name` is the term it is given for, `field` what partners call that.
        """
        if not url:
            return
        link, _ = self._link(url)
        if link is not None:
            if name not in link.fields:
                raise FieldInvalid(field, "cannot go there")
            return
        try:
            await self._guard.check(url, self._resolver)
        except UrlForbidden:
            # Not why: the caller must not learn how our network looks from here.
            raise FieldInvalid(field, "is no URL that may be called") from None

    async def check_environment(self, url: str, merchant_href: str) -> Checked:
        """Call a template's checkEnvUrl with a merchant."""
        async with self._room(url):
            return await protocol.check_environment(self._http, url, merchant_href)

    async def pay(self, pay: PayOrder, usable: Usable) -> ComponentAnswer:
        """Call a component to take the money."""
        link, account = self._link(usable.terms.pay_url)
        if link is not None:
            return await link.pay(pay, account)
        body: dict[str, Any] = {
            "payer": pay.payer,
            "payee": pay.payee,
            "payAmount": fen(pay.amount_micros),
            "tractionNo": pay.traction_no,
            "clientPayNo": pay.client_pay_no,
            "orderStartAt": beijing(pay.start_time),
            "orderExpiredAt": beijing(pay.expire_time),
            "payParams": msgspec.Raw(pay.params.encode()),
            "clientExtraParams": msgspec.Raw(pay.extra_params.encode()),
            "payStartAt": beijing(pay.pay_start_time),
            # A component of a synchronous mode may answer late, too.
            "notifyUrl": self._notify_url(PAY, pay.traction_no, usable),
        }
        return await self._send(usable.terms.pay_url, body, pay.traction_no)

    async def refund(self, refund: RefundOrder, pay: PayOrder, usable: Usable) -> ComponentAnswer:
        """Call a component to give money back."""
        link, account = self._link(usable.terms.refund_url)
        if link is not None:
            return await link.refund(refund, pay, account)
        body: dict[str, Any] = {
            "clientRefundNo": refund.client_refund_no,
            "tractionNo": refund.traction_no,
            "payTractionNo": pay.traction_no,
            "thirdPayNo": pay.third_pay_no,
            "payee": pay.payee,
            "payAmount": fen(pay.amount_micros),
            "refundAmount": fen(refund.amount_micros),
            "notifyUrl": self._notify_url(REFUND, refund.traction_no, usable),
            "clientExtraParams": msgspec.Raw(refund.extra_params.encode()),
        }
        return await self._send(usable.terms.refund_url, body, refund.traction_no)

    async def query(self, traction_no: str, usable: Usable) -> ComponentAnswer:
        """Query a component for the result of a number."""
        link, account = self._link(usable.terms.query_url)
        if link is not None:
            return await link.query(traction_no, usable.mode.merchant_uuid, account)
        body = {"tractionNo": traction_no}
        return await self._send(usable.terms.query_url, body, traction_no, query=True)

    def is_signed(self, usable: Usable, sign: str, kind: str, traction_no: str) -> bool:
        """Whether a notify brought the sign of its notifyUrl, made with any secret of its component."""
        stored = self._stored.of(COMPONENT.name, _owner(usable))
        secrets = [*(one.secret.encode() for one in stored), self._unstored(usable)]
        # No short cut: the time must not reveal which secret fitted.
        fits = [protocol.signed(sign, secret, kind, traction_no) for secret in secrets]
        for one, fit in zip(stored, fits, strict=False):
            if fit:
                self._stored.use(one.credential_id)
        return any(fits)

    def secret(self, usable: Usable) -> bytes:
        """What a notifyUrl is signed with."""
        stored = self._stored.texts(COMPONENT.name, _owner(usable))
        return stored[0].encode() if stored else self._unstored(usable)

    def _unstored(self, usable: Usable) -> bytes:
        """The named secret, else one derived from that of this service."""
        name = usable.terms.secret_name
        if name and SECRET_NAME.fullmatch(name) and (given := self._named(name)):
            return given
        owner = _owner(usable)
        key = self._settings.component_secret.reveal().encode()
        return hmac.new(key, owner.encode(), hashlib.sha256).digest()

    def is_demo(self, name: str) -> bool:
        """Whether the prod profile refuses the secret, because it is a public demo secret."""
        return self._refused(self._found(name))

    def _refused(self, secret: bytes) -> bool:
        text = secret.decode("utf-8", "replace")
        return self._settings.profile == "prod" and named_secret.is_demo(text)

    def _link(self, url: str | None) -> tuple[Link | None, str]:
        scheme, _, account = (url or "").partition(":")
        return self.links.get(scheme), account

    def _named(self, name: str) -> bytes:
        """The named secret; empty when it is nowhere, or one that the prod profile refuses."""
        secret = self._found(name)
        return b"" if self._refused(secret) else secret

    def _found(self, name: str) -> bytes:
        """From the environment or its file; empty when it is nowhere."""
        if text := os.environ.get(name, ""):
            return text.strip().encode()
        folder = self._settings.secrets_dir
        try:
            return (folder / name).read_bytes().strip() if folder is not None else b""
        except OSError:
            return b""

    def _notify_url(self, kind: str, traction_no: str, usable: Usable) -> str:
        sign = protocol.sign(self.secret(usable), kind, traction_no)
        base = self._settings.public_base_url.rstrip("/")
        return f"{base}{NOTIFY_PATHS[kind]}?sign={sign}"

    async def _send(
        self, url: str | None, body: Mapping[str, Any], traction_no: str, *, query: bool = False
    ) -> ComponentAnswer:
        if not url:
            return ComponentAnswer(protocol.AnswerKind.NOT_SENT, why="no address")
        async with self._room(url):
            party, now = ("", urlsplit(url).netloc), asyncio.get_running_loop().time()
            admission = self.answering.enter(party, now)
            if admission is not Admission.GO:
                why = f"component {admission.value}"
                return ComponentAnswer(protocol.AnswerKind.NOT_SENT, why=why, answered=False)
            answered = False
            try:
                outcome = await protocol.send(self._http, url, body, traction_no, query=query)
                answered = outcome.answered
            finally:
                self._ended(party, answered=answered)
            return outcome

    def _ended(self, party: Party, *, answered: bool) -> None:
        """Operators see which components rest and which are back."""
        now = asyncio.get_running_loop().time()
        change = self.answering.leave(party, now, answered=answered)
        if change is Change.DOWN:
            _log.warning("component_down", host=party[1])
        elif change is Change.UP:
            _log.info("component_up", host=party[1])
        if change is not Change.NONE:
            metrics.HOSTS_RESTING("component").set(self.answering.resting)

    def _room(self, url: str) -> Places:
        origin = urlsplit(url).netloc
        if origin not in self._rooms and len(self._rooms) >= ROOMS_MAX:
            origin = ""
        if origin not in self._rooms:
            self._rooms[origin] = Places(partial(self._places, origin))
        return self._rooms[origin]


def guard_of(settings: PaySettings) -> Guard:
    """Which addresses this service may call."""
    open_here = settings.profile != "prod"
    networks = [*settings.component_networks, *(LOOPBACK if open_here else ())]
    ports = settings.component_ports or (ANY_PORT if open_here else PORTS)
    return Guard([opened(one, ports) for one in networks], ports)


def _owner(usable: Usable) -> str:
    """Whose the secret is: the template's, or a mode's that has none."""
    return usable.mode.template_id or usable.mode.uuid
