"""The client: one method for each call, signed anew at each try, retried by the protocol's own rules.

What an answer advises is followed: `repeat` waits and calls again; `ask`, no answer, and whatever is not of
the protocol's form mean that something may have happened: what makes something is then looked for by its
number, and sent again with the same one.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

from shoudan_client.errors import Busy, Failed, Refused, Unknown
from shoudan_client.models import (
    BEIJING,
    MOMENT,
    Balance,
    Cancelled,
    Card,
    ListedOrder,
    ListedRefund,
    LoggedRequest,
    NewOrder,
    NewRefund,
    Notify,
    Order,
    Product,
    Refund,
    T,
    read,
)
from shoudan_client.signing import SIGN_TYPE, sign

BODY_BYTES_MAX: Final = 16 * 2**20
WAIT_S_MAX: Final = 30
PAGES_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one try came to; status 0 when nothing came."""

    status: int
    headers: Mapping[str, str]
    members: dict[str, Any] | None  # None: no JSON object

    @property
    def advice(self) -> str:
        """What to do: empty for success. What is not of the protocol's form is `ask`."""
        advice = self.headers.get("x-error-advice", "")
        if advice or (self.status == 200 and self.members is not None):
            return advice
        return "ask"

    def failed(self, made: type[Failed]) -> Failed:
        """An exception with what the answer says."""
        members = self.members or {}
        text = members.get("message") or members.get("data") or f"HTTP {self.status}"
        return made(
            str(text),
            code=self.headers.get("x-error-code", ""),
            advice=self.advice,
            status=self.status,
            request_id=self.headers.get("x-request-id", ""),
        )


class Client:
    """The calls of one channel. Safe to share between threads: each try has a connection of its own."""

    def __init__(
        self,
        base_url: str,
        channel_no: str,
        secret: str,
        *,
        timeout_s: int = 15,
        tries: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`tries` of one call at most; between them 1, 2, 4 … seconds, or as long as the answer says."""
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("base_url: an http or https address")
        self._https, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._channel_no, self._key = channel_no, secret.encode()
        self._timeout_s, self._tries, self._sleep = timeout_s, tries, sleep

    # ------------------------------------------------------------ orders
    def order(self, new: NewOrder) -> Order:
        """Make an order, or find it: as often as needed, with its one number."""
        members, headers = self._make("/order/request", new.params)
        return read(Order, members, replayed="idempotent-replayed" in headers)

    def query_order(self, request_no: str) -> Order:
        """How an order stands. Refused with code ORDER_NOT_FOUND where there is none."""
        return read(Order, self._ask("/order/query", {"request_no": request_no})[0])

    def cancel(self, request_no: str) -> Cancelled:
        """撤单: end an order that no supplier has. `result` says who was first."""
        members, headers = self._make("/order/cancel", {"request_no": request_no})
        return read(Cancelled, members, replayed="idempotent-replayed" in headers)

    def cards(self, request_no: str) -> Iterator[Card]:
        """The codes that were delivered of an order."""
        return self._pages("/order/cards", {"request_no": request_no}, "cards", Card)

    def orders(self, start: datetime, end: datetime) -> Iterator[ListedOrder]:
        """Orders taken from `start` on and before `end`, at most 31 days, oldest first."""
        return self._pages("/order/list", _period(start, end), "orders", ListedOrder)

    # ------------------------------------------------------------ refunds
    def refund(self, new: NewRefund) -> Refund:
        """Make a refund, or find it."""
        path = "/refund/mandatory" if new.mandatory else "/refund/general"
        members, headers = self._make(path, new.params)
        return read(Refund, members, replayed="idempotent-replayed" in headers)

    def query_refund(self, request_no: str, refund_no: str) -> Refund:
        """How a refund stands."""
        params = {"request_no": request_no, "refund_no": refund_no}
        return read(Refund, self._ask("/refund/query", params)[0])

    def refunds(self, start: datetime, end: datetime) -> Iterator[ListedRefund]:
        """Refunds asked for from `start` on and before `end`, oldest first."""
        return self._pages("/refund/list", _period(start, end), "refunds", ListedRefund)

    # ------------------------------------------------------------ the channel's own
    def balance(self) -> Balance:
        """What is on the accounts."""
        return read(Balance, self._ask("/balance/query", {})[0])

    def products(self) -> Iterator[Product]:
        """What may be bought, at its prices."""
        for row in self._rows("/product/list", {}, "products"):
            yield read(Product, row, on_shelf=row["status"] == 1)

    def notifies(self, request_no: str = "") -> Iterator[Notify]:
        """The notifies of an order, or without its number those that were given up."""
        params = {"request_no": request_no} if request_no else {}
        return self._pages("/notify/list", params, "notifies", Notify)

    def resend_notify(self, request_no: str, refund_no: str = "") -> str:
        """RESENT, NOT_GIVEN_UP or NO_NOTIFY."""
        params = {"request_no": request_no} | ({"refund_no": refund_no} if refund_no else {})
        return str(self._make("/notify/resend", params)[0]["result"])

    def requests(
        self, start: datetime, end: datetime, *, request_id: str = "", failed: bool = False
    ) -> Iterator[LoggedRequest]:
        """What this channel called, refused calls too."""
        params = _period(start, end) | ({"request_id": request_id} if request_id else {})
        params |= {"failed": "1"} if failed else {}
        return self._pages("/request/list", params, "requests", LoggedRequest)

    # ------------------------------------------------------------ how
    def _pages(self, path: str, params: Mapping[str, str], rows: str, made: type[T]) -> Iterator[T]:
        return (read(made, row) for row in self._rows(path, params, rows))

    def _rows(self, path: str, params: Mapping[str, str], rows: str) -> Iterator[dict[str, Any]]:
        page = ""
        for _ in range(PAGES_MAX):
            members, _headers = self._ask(path, {**params, **({"page": page} if page else {})})
            yield from members[rows]
            page = members["next_page"]
            if not page:
                return

    def _ask(
        self, path: str, params: Mapping[str, str]
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The answer to what changes nothing: asked again until there is one."""
        return self._call("GET", path, params, Busy)

    def _make(
        self, path: str, params: Mapping[str, str]
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The answer to what changes something: the same numbers at every try, so that it happens once."""
        return self._call("POST", path, params, Unknown)

    def _call(
        self, method: str, path: str, params: Mapping[str, str], unknown: type[Failed]
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        may_have_happened = False
        answer = _Answer(0, {}, None)
        for turn in range(self._tries):
            if turn:
                self._sleep(_wait_s(answer, turn))
            answer = self._try(method, path, params)
            if not answer.advice:
                assert answer.members is not None, "a success is an object"
                return answer.members, answer.headers
            if answer.advice not in {"ask", "repeat"}:
                raise answer.failed(Refused)
            may_have_happened |= answer.advice == "ask"
        raise answer.failed(unknown if may_have_happened else Busy)

    def _try(self, method: str, path: str, params: Mapping[str, str]) -> _Answer:
        """One signed call; whatever keeps its answer from us is no answer."""
        whole = {
            "channel_no": self._channel_no,
            "sign_type": SIGN_TYPE,
            "timestamp": str(int(time.time())),
            "nonce": secrets.token_hex(16),
            **params,
        }
        body = urlencode(whole).encode() if method == "POST" else b""
        whole["sign"] = sign(method, path, whole, self._key, body)
        query = {"sign": whole["sign"]} if body else whole
        target = f"{self._prefix}{path}?{urlencode(query)}"
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_s)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        try:
            connection.request(method, target, body=body or None, headers=headers)
            answer = connection.getresponse()
            text = answer.read(BODY_BYTES_MAX)
        except (OSError, http.client.HTTPException):
            return _Answer(0, {}, None)
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return _Answer(answer.status, found, _object(text))


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        members = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", members) if isinstance(members, dict) else None


def _wait_s(answer: _Answer, turn: int) -> int:
    """As long as the answer says, else twice as long each time."""
    said = answer.headers.get("retry-after", "")
    wanted = int(said) if said.isascii() and said.isdecimal() and len(said) < 6 else 1 << (turn - 1)
    return min(wanted, WAIT_S_MAX)


def _period(start: datetime, end: datetime) -> dict[str, str]:
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end: aware datetimes")
    shown = (one.astimezone(BEIJING).strftime(MOMENT) for one in (start, end))
    return dict(zip(("start_time", "end_time"), shown, strict=True))
