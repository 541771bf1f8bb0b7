"""ChinaUMS netpay as its client: what is sent, what answers and notifies mean, one send.

Source: 003; protocols §1.4 to §1.8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from shoudan_kit.clock import BEIJING, beijing
from shoudan_kit.http.client import Answered, HttpClient, HttpResult, NotSent
from shoudan_kit.http.json_keys import json_object
from shoudan_signing import open_body_sig

REFUND: Final = "/netpay/refund"
REFUND_QUERY: Final = "/netpay/refund-query"
QUERY: Final = "/netpay/query"
INST_MID: Final = "APPDEFAULT"
NUMBER_CHARS_MIN, NUMBER_CHARS_MAX = 6, 32
FEN_MAX: Final = 2**53
TEXT_CHARS_MAX: Final = 255
CODE_CHARS_MAX: Final = 64

_encode: Final = msgspec.json.Encoder().encode
_CARD: Final = re.compile(r"\d{11,}")


class Meaning(StrEnum):
    """What to do after an errCode."""

    LOOK = "look"  # success: the statuses say what happened
    ASK_LATER = "ask_later"  # unknown: query
    NOTHING_DONE = "nothing_done"  # it was not taken: may be sent again
    NOT_THERE = "not_there"  # the number is not known
    REFUSED = "refused"  # an explicit no
    WAIT = "wait"  # locked: not before a minute is over
    QUERY_FIRST = "query_first"  # query the pay, then try once more
    OUR_FAULT = "our_fault"  # configuration: nothing was done, a person must look


_M = Meaning
CODES: Final = {
    "SUCCESS": _M.LOOK,
    "INTERNAL_ERROR": _M.ASK_LATER,
    "BAD_REQUEST": _M.OUR_FAULT,
    "NO_SERVICE": _M.OUR_FAULT,
    "TIMEOUT": _M.ASK_LATER,
    "NO_ORDER": _M.NOT_THERE,
    "OPERATION_NOT_ALLOWED": _M.REFUSED,
    "TARGET_FAIL": _M.REFUSED,
    "DUP_ORDER": _M.ASK_LATER,
    "NET_ERROR": _M.ASK_LATER,
    "NO_MERCHANT": _M.OUR_FAULT,
    "INACTIVE_MERCHANT": _M.OUR_FAULT,
    "ORDER_PROCESSING": _M.WAIT,
    "ABNORMAL_REQUEST_TIME": _M.OUR_FAULT,
    "TXN_DISCARDED": _M.NOTHING_DONE,
    "BAD_SIGN": _M.OUR_FAULT,
    "INVALID_MSGSRC": _M.OUR_FAULT,
    "DENIED_IP": _M.OUR_FAULT,
    "INVLID_MERCHANT_CONFIG": _M.OUR_FAULT,  # their spelling
    "INVALID_ORDER": _M.QUERY_FIRST,
    "NO_CROSS_DAY_TRADING": _M.REFUSED,
    "INVALID_RESPONSE": _M.ASK_LATER,
    "SYSTEM_BUSY": _M.ASK_LATER,
    # The layer before netpay: it forwards a call only with 0000.
    "1000": _M.OUR_FAULT,
    "1001": _M.OUR_FAULT,
    "9001": _M.OUR_FAULT,
}


class State(StrEnum):
    """refundStatus, and what a pay's status comes to."""

    SUCCESS = "SUCCESS"
    FAIL = "FAIL"
    PROCESSING = "PROCESSING"
    UNKNOWN = "UNKNOWN"


PAY_STATES: Final = {
    "TRADE_SUCCESS": State.SUCCESS,
    "TRADE_REFUND": State.SUCCESS,
    "TRADE_CLOSED": State.FAIL,
    "WAIT_BUYER_PAY": State.PROCESSING,
    "NEW_ORDER": State.PROCESSING,
}


class Detail(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The details of an answer beside its result; names as in the contract's UmsDetail."""

    merchant_contribute_fen: int = 0
    other_contribute_fen: int = 0
    refund_target_order_id: str = ""
    seq_id: str = ""
    settle_ref_id: str = ""
    target_order_id: str = ""
    target_sys: str = ""
    target_status: str = ""
    target_mid: str = ""
    bank_card_no: str = ""
    bank_info: str = ""
    refund_funds: str = ""
    refund_funds_desc: str = ""
    pay_time: str = ""
    settle_date: str = ""
    refund_invoice_fen: int = 0
    yxlm_fen: int = 0
    send_back_fen: int = 0


TEXTS: Final = {
    "refundTargetOrderId": "refund_target_order_id",
    "seqId": "seq_id",
    "settleRefId": "settle_ref_id",
    "targetOrderId": "target_order_id",
    "targetSys": "target_sys",
    "targetStatus": "target_status",
    "targetMid": "target_mid",
    "bankInfo": "bank_info",
    "refundFunds": "refund_funds",
    "refundFundsDesc": "refund_funds_desc",
    "payTime": "pay_time",
    "settleDate": "settle_date",
}
AMOUNTS: Final = {
    "refundMerchantContribute": "merchant_contribute_fen",
    "refundOtherContribute": "other_contribute_fen",
    "refundInvoiceAmount": "refund_invoice_fen",
    "yxlmAmount": "yxlm_fen",
    "sendBackAmount": "send_back_fen",
}


@dataclass(frozen=True, slots=True)
class UmsAnswer:
    """One answer: what it means, its code, its statuses as they stand."""

    meaning: Meaning
    code: str = ""
    text: str = ""
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def refund_state(self) -> State:
        """refundStatus; anything unlisted is UNKNOWN."""
        word = self.members.get("refundStatus")
        return State(word) if word in State.__members__ else State.UNKNOWN

    @property
    def pay_state(self) -> State:
        """status of a pay; anything unlisted is UNKNOWN."""
        return PAY_STATES.get(str(self.members.get("status", "")), State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Access:
    """What one AppId calls with."""

    app_id: str
    app_key: str
    base_url: str
    mid: str
    tid: str


def refund_order_id(source_id: str, create_time: datetime, traction_no: str) -> str:
    """Our refundOrderId: source, Beijing time to the millisecond, 7 digits; always the same for a refund."""
    moment = create_time.astimezone(BEIJING)
    stamp = moment.strftime("%Y%m%d%H%M%S") + f"{moment.microsecond // 1000:03d}"
    return f"{source_id}{stamp}{traction_no[-7:].zfill(7)}"


def refund(access: Access, mer_order_id: str, refund_order: str, fen: int) -> dict[str, Any]:
    """What /refund is sent, but for the time."""
    return {
        **_who(access),
        "merOrderId": mer_order_id,
        "refundOrderId": refund_order,
        "refundAmount": fen,
    }


def asked_about(access: Access, mer_order_id: str) -> dict[str, Any]:
    """What /refund-query and /query are sent: of a refund its own number, not that of its pay."""
    return {**_who(access), "merOrderId": mer_order_id}


def _who(access: Access) -> dict[str, Any]:
    return {"instMid": INST_MID, "mid": access.mid, "tid": access.tid}


async def send(
    http: HttpClient,
    access: Access,
    path: str,
    members: Mapping[str, Any],
    now: datetime,
    nonce: str,
) -> UmsAnswer:
    """POST once, signed over the bytes sent; an unreadable answer has no meaning."""
    body = _encode({"requestTimestamp": beijing(now), "msgId": nonce, **members})
    stamp = open_body_sig.stamp(now)
    headers = {
        "Content-Type": "application/json; charset=UTF-8",
        "Authorization": open_body_sig.header(access.app_id, access.app_key, stamp, nonce, body),
    }
    outcome = await http.send("POST", access.base_url + path, headers=headers, body=body)
    return read(outcome, access, nonce)


def read(outcome: HttpResult, access: Access, msg_id: str) -> UmsAnswer:
    """The meaning of an answer. A signature of the answer must be right if there is one."""
    if isinstance(outcome, NotSent):
        return UmsAnswer(_M.NOTHING_DONE, "not_sent", outcome.reason)
    if not isinstance(outcome, Answered):
        return UmsAnswer(_M.ASK_LATER, "no_answer", outcome.reason)
    signed = outcome.headers.get("Authorization", "")
    if signed and not _answer_right(signed, access, outcome.body):
        return UmsAnswer(_M.ASK_LATER, "answer_unverified")
    members = json_object(outcome.body)
    if members is None:
        return UmsAnswer(_M.ASK_LATER, "unreadable", f"HTTP {outcome.status}")
    code = str(members.get("errCode", ""))[:CODE_CHARS_MAX]
    text = str(members.get("errMsg") or members.get("errInfo") or "")[:TEXT_CHARS_MAX]
    meaning = CODES.get(code, _M.ASK_LATER)
    if meaning is _M.LOOK and (outcome.status != 200 or _foreign(members, access, msg_id)):
        return UmsAnswer(_M.ASK_LATER, "mismatch", text)
    return UmsAnswer(meaning, code or f"HTTP {outcome.status}", text, members)


def _answer_right(header: str, access: Access, body: bytes) -> bool:
    given = open_body_sig.read(header)
    return given is not None and open_body_sig.right(given, access.app_key, body)


def _foreign(members: Mapping[str, Any], access: Access, msg_id: str) -> bool:
    """Whether an answer is about another merchant or another call."""
    echoed = (("mid", access.mid), ("tid", access.tid), ("msgId", msg_id))
    return any(name in members and members[name] not in {mine, "", None} for name, mine in echoed)


def fen(value: Any) -> int | None:
    """Fen from a number or its text, None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and 0 <= value <= FEN_MAX else None


def detail(members: Mapping[str, Any]) -> Detail:
    """The details of an answer or notify beside its result; card numbers masked, texts cut."""
    found: dict[str, Any] = {}
    for name, ours in TEXTS.items():
        value = members.get(name)
        if isinstance(value, str):
            found[ours] = (
                mask(value)[:TEXT_CHARS_MAX] if name == "bankInfo" else value[:TEXT_CHARS_MAX]
            )
    for name, ours in AMOUNTS.items():
        found[ours] = fen(members.get(name)) or 0
    return Detail(**found, bank_card_no=mask(str(members.get("bankCardNo") or "")))


def mask(text: str) -> str:
    """Card numbers keep their first six and last four digits."""
    return _CARD.sub(lambda m: m[0][:6] + "*" * (len(m[0]) - 10) + m[0][-4:], text)
