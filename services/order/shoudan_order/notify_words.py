"""What a notify says and how: its body, its signature, and which answers acknowledge it. Pure.

Source: 000 §四.6, protocols §5.0 #10, #13, #15.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import orjson

from shoudan_kit import log
from shoudan_kit.http.client import Answered, HttpResult
from shoudan_order.states import OrderStatus, RefundStatus
from shoudan_order.store.rows import NotifyRow
from shoudan_signing import webhooks

_log = log.get_logger("notifies")

SUCCESS_WORDS: Final = frozenset({"", "success", "ok", "成功"})
# The later documented form, where a channel asks for words.
ORDER_WORDS: Final = {
    OrderStatus.SUCCEEDED: ("SUCCESS", "000", "订单成功"),
    OrderStatus.FAILED: ("FAILED", "900", "订单失败"),
    OrderStatus.PARTIAL: ("PARTSUCCESS", "800", "订单部分成功"),
}
REFUND_WORDS: Final = {
    RefundStatus.SUCCEEDED: ("SUCCESS", "000", "退款成功"),
    RefundStatus.REFUNDING: ("SUCCESS", "000", "退款成功"),
    RefundStatus.FAILED: ("FAILED", "900", "退款失败"),
    RefundStatus.PARTIAL: ("PARTSUCCESS", "800", "退款部分成功"),
}


class OrderNamed(Protocol):
    """What carries the numbers of an order."""

    @property
    def order_id(self) -> int: ...
    @property
    def down_channel_no(self) -> str: ...
    @property
    def request_no(self) -> str: ...


class RefundNamed(Protocol):
    """What carries the numbers of a refund."""

    @property
    def down_channel_no(self) -> str: ...
    @property
    def request_no(self) -> str: ...
    @property
    def down_refund_no(self) -> str: ...
    @property
    def refund_num(self) -> int: ...


def body_of(row: NotifyRow, *, words: bool, cards: str = "") -> bytes:
    """The documented JSON body; statuses as numbers unless word_status is set for the channel."""
    if row.refund_id:
        facts = refund_facts(row, RefundStatus(row.refund_status), words=words)
    else:
        status = OrderStatus(row.order_status)
        facts = order_facts(row, status, row.fail_code, row.fail_msg, words=words)
    if cards:
        facts["encrypted_cards"] = cards
    return orjson.dumps(facts)


def order_facts(
    order: OrderNamed, status: OrderStatus, code: str, message: str, *, words: bool
) -> dict[str, Any]:
    """What is said of an order that has ended; `code` and `message`: why it failed."""
    facts: dict[str, Any] = {
        "channel_no": order.down_channel_no,
        "request_no": order.request_no,
        "order_id": str(order.order_id),
        "status": int(status),
    }
    return facts | (_words(ORDER_WORDS[status], code, message) if words else {})


def refund_facts(refund: RefundNamed, status: RefundStatus, *, words: bool) -> dict[str, Any]:
    """What is said of a refund that has ended."""
    public = RefundStatus.SUCCEEDED if status == RefundStatus.REFUNDING else status
    facts: dict[str, Any] = {
        "channel_no": refund.down_channel_no,
        "request_no": refund.request_no,
        "refund_no": refund.down_refund_no,
        "refund_num": refund.refund_num,
        "status": int(public),
    }
    # The code and message of its order are not about the refund.
    return facts | (_words(REFUND_WORDS[status], "", "") if words else {})


def _words(said: tuple[str, str, str], code: str, message: str) -> dict[str, Any]:
    return {"status": said[0], "failed_code": code or said[1], "failed_msg": message or said[2]}


def acknowledged(outcome: HttpResult) -> bool:
    """HTTP 200 and success: as text, as JSON text, as {"data":"success"} or {"status":0|200}.

    A byte order mark before it means nothing. A notify_msg beside the status (000: 返回参数) is the
    partner's own words: one that does not say success is an objection.
    """
    if not isinstance(outcome, Answered) or outcome.status != 200:
        return False
    text = outcome.body.removeprefix(codecs.BOM_UTF8).strip()
    if text.lower() == b"success":
        return True
    try:
        read: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    if isinstance(read, str):
        return read.strip().lower() == "success"
    if not isinstance(read, dict):
        return False
    facts = cast("dict[str, object]", read)
    data, status = facts.get("data"), facts.get("status")
    if isinstance(data, str) and data.strip().lower() == "success":
        return True
    said = facts.get("notify_msg")
    agreed = said is None or (isinstance(said, str) and said.strip().lower() in SUCCESS_WORDS)
    return type(status) is int and status in {0, 200} and agreed


def signed(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The Standard Webhooks headers, one signature per key, so that keys can be exchanged."""
    if any(map(webhooks.is_malformed, secrets)):
        _log.warning("notify_secret_malformed")
    return webhooks.signed(secrets, message_id, timestamp, body)
