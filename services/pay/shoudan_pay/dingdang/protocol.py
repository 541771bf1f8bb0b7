"""Dingdang's pay protocol: what is sent either way, what answers mean, one send.

Source: 004; protocols §2, §5.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from shoudan_kit.http.client import Answered, HttpClient, NotSent
from shoudan_kit.http.json_keys import json_object

ORDER_QUERY: Final = "/orderquery"
REFUND: Final = "/refund"
REFUND_QUERY: Final = "/refundquery"
DOMAIN_CHARS_MAX: Final = 20
ID_CHARS_MAX: Final = 32
TEXT_CHARS_MAX: Final = 64
ANSWER_CHARS_MAX: Final = 256
CONTENT_TYPE: Final = "application/json; charset=utf-8"
# "0" is what the document's text calls it once.
SUCCESSES: Final = frozenset({"SUCCESS", "0"})

# Their words and ours.
TRADE_WORDS: Final = {
    "NOTPAY": "notpay",
    "PROCESSING": "processing",
    "SUCCESS": "success",
    "FAIL": "fail",
}
REFUND_WORDS: Final = {"PROCESSING": "processing", "SUCCESS": "success", "FAIL": "fail"}
REFUND_SHOWN: Final = {
    "unknown": ("PROCESSING", "退款中"),
    "processing": ("PROCESSING", "退款中"),
    "success": ("SUCCESS", "退款成功"),
    "fail": ("FAIL", "退款失败"),
}

_encode: Final = msgspec.json.Encoder().encode
Sign = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class DingdangAnswer:
    """One answer. `ok` None: nothing is known; `sent` False: not a byte of the call left us."""

    ok: bool | None
    sent: bool = True
    http_status: int = 0
    text: str = ""
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def same(self, expected: Mapping[str, Any]) -> bool:
        """Whether every expected member is there with its value; a domain under either of its names."""
        members = dict(self.members)
        if "domainId" in expected and members.get("domainId") is None:
            members["domainId"] = members.get("skillId")
        return all(members.get(name) == value for name, value in expected.items())

    @property
    def trade_word(self) -> str | None:
        """tradeStatus in our word; None for an unlisted one."""
        return TRADE_WORDS.get(str(self.members.get("tradeStatus")))

    @property
    def refund_word(self) -> str | None:
        """refundStatus in our word; None for an unlisted one."""
        return REFUND_WORDS.get(str(self.members.get("refundStatus")))


def paid_notice(
    domain_id: str, transaction_id: str, trade_no: str, total_fen: int, nonce: str
) -> dict[str, Any]:
    """通知发货."""
    return {
        "domainId": domain_id,
        "transactionId": transaction_id,
        "tradeNo": trade_no,
        "totalAmt": total_fen,
        "nonceStr": nonce,
    }


def refunded_notice(
    ids: Mapping[str, str], total_fen: int, refund_fen: int, state: str, nonce: str
) -> dict[str, Any]:
    """退款结果通知; `ids` are its five numbers by their documented names."""
    word, shown = REFUND_SHOWN[state]
    return {
        **ids,
        "totalAmt": total_fen,
        "refundAmt": refund_fen,
        "refundStatus": word,
        "refundStatusDesc": shown,
        "nonceStr": nonce,
    }


async def send(
    http: HttpClient, url: str, members: Mapping[str, Any], sign: Sign
) -> DingdangAnswer:
    """POST once, signed over the bytes sent; an unreadable answer has no meaning."""
    body = _encode(members)
    headers = {"Content-Type": CONTENT_TYPE, "Authorization": sign(body)}
    outcome = await http.send("POST", url, headers=headers, body=body)
    if isinstance(outcome, NotSent):
        return DingdangAnswer(None, sent=False, text=outcome.reason)
    if not isinstance(outcome, Answered):
        return DingdangAnswer(None, text=outcome.reason)
    shown = outcome.body.decode("utf-8", "replace").replace("\0", "")[:ANSWER_CHARS_MAX]
    if outcome.status != 200:
        return DingdangAnswer(None, http_status=outcome.status, text=shown)
    read = json_object(outcome.body)
    if read is None:
        return DingdangAnswer(None, http_status=200, text=shown)
    code = read.get("retCode")
    ok = True if code in SUCCESSES else False if code == "FAIL" else None
    found = read if ok is not None else {}
    return DingdangAnswer(ok, http_status=200, text=shown, members=found)
