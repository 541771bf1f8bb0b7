"""How pays and refunds are judged before anything moves: values in, a plan or a refusal out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from shoudan_kit.money import FEN
from shoudan_pay.ledger.entries import Key
from shoudan_pay.payserver.refusals import (
    CancelTooLate,
    ModeNotOpen,
    PayStatusInvalid,
    PayUrlEmpty,
    RefundExceedsPay,
    RefundNotWhole,
)
from shoudan_pay.payserver.states import PAID, PayStatus
from shoudan_pay.payserver.store.modes import Usable
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.refusals import FieldInvalid

CANCEL_WITHIN: Final = timedelta(hours=8)
DETAILS_MAX: Final = 100
COUNT_MAX: Final = 1_000_000
UUID_CHARS_MAX: Final = 32

# The built-in templates that the ledger serves, as long as they have no payUrl.
SIGN_ACCOUNT: Final = "382CF8DF-017F-4009-928F-D5B008095962"  # 挂账
MEMBER_BALANCE: Final = "A2E7AB90-BB11-11E8-8BAF-4BFA221DACF5"  # 会员储值
MEMBER_PACKAGE: Final = "B3A36C30-BB11-11E8-8353-CD8987EBDA9C"  # 会员储次

# The ledger's groups of the accounts they move; ident is the merchant.
SIGN_ACCOUNTS: Final = "sign_account"
MEMBERS: Final = "member"


class Method(StrEnum):
    """Who moves the money."""

    COMPONENT = "component"
    ACCOUNT = "account"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class PayAsked:
    """One requested pay, its shape checked."""

    mode_uuid: str
    payer: str
    payee: str
    amount_micros: int
    client_no: str
    params: str
    extra_params: str
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class RefundAsked:
    """One requested refund, its shape checked."""

    pay_traction_no: str
    client_no: str
    cancel: bool
    amount_micros: int | None
    extra_params: str
    content_hash: bytes


def content_hash(*parts: object) -> bytes:
    """The same for the same content, however its JSON was spaced or ordered."""
    flat = [json.loads(part) if isinstance(part, bytes) else part for part in parts]
    text = json.dumps(flat, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


def method_of(found: Usable | None, merchant_uuid: str, mode_uuid: str) -> Method | None:
    """Who moves the money of a mode, None when it is offline. Raises ModeNotOpen, PayUrlEmpty."""
    if found is None or not found.mode.opened:
        raise ModeNotOpen(mode_uuid)
    if merchant_uuid and found.mode.merchant_uuid != merchant_uuid:
        raise ModeNotOpen(mode_uuid)
    if not found.terms.online:
        return None
    if found.terms.pay_url:
        return Method.COMPONENT
    if found.mode.template_id in {SIGN_ACCOUNT, MEMBER_BALANCE}:
        return Method.ACCOUNT
    if found.mode.template_id == MEMBER_PACKAGE:
        return Method.PACKAGE
    raise PayUrlEmpty("payUrl")


def check_params(method: Method, found: Usable, params: str) -> None:
    """Refuse parameters that the ledger cannot use, before anything is stored. Raises FieldInvalid."""
    if method is Method.ACCOUNT:
        account_of(found.mode.template_id, found.mode.merchant_uuid, params)
    elif method is Method.PACKAGE:
        uses_of(found.mode.merchant_uuid, params)


def account_of(template_id: str | None, merchant_uuid: str, params: str) -> Key:
    """The account a pay is taken from. Raises FieldInvalid."""
    given = _object(params)
    if template_id == SIGN_ACCOUNT:
        return merchant_uuid, SIGN_ACCOUNTS, _uuid(given, "signAccounterUUID")
    return merchant_uuid, MEMBERS, _uuid(given, "memberUUID")


def uses_of(merchant_uuid: str, params: str) -> dict[tuple[Key, str], int]:
    """How many of which package a 会员储次 pay uses; packages are named by merchandiseUUID.

    Raises FieldInvalid. Two lines about one merchandise count together.
    """
    given = _object(params)
    member = merchant_uuid, MEMBERS, _uuid(given, "memberUUID")
    details: list[Any] = _as(list, given.get("merchandiseDetails")) or []
    if not 1 <= len(details) <= DETAILS_MAX:
        raise FieldInvalid("merchandiseDetails", f"is no list of 1 to {DETAILS_MAX}")
    uses: dict[tuple[Key, str], int] = {}
    for detail in details:
        line: dict[str, Any] | None = _as(dict, detail)
        if line is None:
            raise FieldInvalid("merchandiseDetails", "has what is no object")
        count = line.get("count")
        if type(count) is float and count.is_integer():
            count = int(count)
        if type(count) is not int or not 1 <= count <= COUNT_MAX:
            raise FieldInvalid("count", f"is no number of 1 to {COUNT_MAX}")
        key = member, _uuid(line, "merchandiseUUID")
        uses[key] = uses.get(key, 0) + count
    return uses


def judge_refund(asked: RefundAsked, pay: PayOrder, taken_micros: int, now: datetime) -> int:
    """How much is given back. `taken_micros`: what other refunds have, or may still have.

    Raises PayStatusInvalid, CancelTooLate, RefundExceedsPay, RefundNotWhole.
    """
    # Of a refunded pay nothing is left: a new number exceeds it, as while its last refund was running.
    if PayStatus(pay.status) not in PAID:
        raise PayStatusInvalid(pay.status)
    # A component's clock may be wrong; it cannot have finished before the call.
    finished = max(pay.finish_time or pay.pay_start_time, pay.pay_start_time)
    if asked.cancel and now > finished + CANCEL_WITHIN:
        raise CancelTooLate(pay.traction_no)
    left = pay.amount_micros - taken_micros
    amount = left if asked.amount_micros is None else asked.amount_micros
    if not 0 < amount <= left:
        raise RefundExceedsPay(left, amount)
    # Uses have no amount each, so a package pay comes back whole or not at all.
    if pay.method == Method.PACKAGE and amount != pay.amount_micros:
        raise RefundNotWhole(fen(pay.amount_micros))
    return amount


def fen(micros: int) -> int:
    """Whole fen; every amount here is."""
    return micros // FEN


def _object(text: str) -> Mapping[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])


def _as(kind: type[Any], value: Any) -> Any:
    """The value when it is of this kind, else None."""
    return value if isinstance(value, kind) else None


def _uuid(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value or len(value) > UUID_CHARS_MAX:
        raise FieldInvalid(name, f"is no text of 1 to {UUID_CHARS_MAX}")
    if not (value.isascii() and value.isprintable()):
        raise FieldInvalid(name, "has characters that are not allowed")
    return value
