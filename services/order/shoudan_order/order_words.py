"""An order for people, in English or Chinese: statuses in words, amounts in 元, times as Beijing has them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.secrets.sealing import is_sealed
from shoudan_order.states import (
    BindStatus,
    DeliveryStatus,
    FailRefundStatus,
    MoneyBackStatus,
    NotifyStatus,
    PaymentStatus,
    UpPaymentStatus,
    UpReturnStatus,
)

MICROS: Final = "_micros"
NOT_SET: Final = "not known"  # 0 is success: what was never set is not
_INNER: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
TIMESTAMP: Final = "google.protobuf.Timestamp"
# The numbers of each member, by the message that has it.
STATUSES: Final[Mapping[tuple[str, str], type[IntEnum]]] = {
    ("Order", "payment_status"): PaymentStatus,
    ("Order", "delivery_bind_status"): BindStatus,
    ("Order", "refund_status"): FailRefundStatus,
    ("Order", "notify_status"): NotifyStatus,
    ("OrderDelivery", "delivery_status"): DeliveryStatus,
    ("OrderDelivery", "up_payment_status"): UpPaymentStatus,
    ("Refund", "up_return_status"): UpReturnStatus,
    ("Refund", "down_refund_status"): MoneyBackStatus,
    ("Refund", "refund_notify_status"): NotifyStatus,
    ("Notify", "notify_status"): NotifyStatus,
}


@cache
def chinese() -> Mapping[str, Mapping[str, str]]:
    """Fields, words and the names of statuses in Chinese, from the file beside."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def lines(message: Any, language: str = "en", inside: str = "") -> Iterator[str]:
    """One line for each fact that is set and for every status; those of a part stand under its name."""
    present = {field.name for field, _ in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        is_status = (message.DESCRIPTOR.name, field.name) in STATUSES or field.enum_type is not None
        if field.name not in present and not is_status:
            continue
        value = getattr(message, field.name)
        if field.message_type is None or field.message_type.full_name == TIMESTAMP:
            set_ = not (is_status and field.has_presence) or message.HasField(field.name)
            shown = _shown(message.DESCRIPTOR.name, field, value, language) if set_ else NOT_SET
            shown = _word("words", shown, language)
            yield f"{inside}{_field(field.name.removesuffix(MICROS), language)}{shown}"
            continue
        for one in [value] if isinstance(value, Message) else value:
            yield f"{inside}{_field(field.name, language)}".rstrip(": ：")
            yield from lines(one, language, f"{inside}  ")


def _field(name: str, language: str) -> str:
    return f"{name}: " if language == "en" else f"{_word('fields', name, language)}："


def _word(of: str, word: str, language: str) -> str:
    """What has no Chinese stays: it is a name, a number or a text of others."""
    return word if language == "en" else chinese().get(of, {}).get(word, word)


def _shown(message: str, field: Any, value: Any, language: str) -> str:
    if field.message_type is not None:
        return beijing(value.ToDatetime(UTC))
    if field.name.endswith(MICROS):
        amount = micros_to_yuan(value)
        return f"¥{amount}" if language == "en" else f"{amount} 元"
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        prefix = f"{_INNER.sub('_', field.enum_type.name)}_".lower()
        word = named.name.lower().removeprefix(prefix) if named is not None else ""
        return f"{_word(field.enum_type.name, word, language)} ({value})" if word else str(value)
    statuses = STATUSES.get((message, field.name))
    if statuses is not None and value in set(statuses):
        word = statuses(value).name.lower()
        return f"{_word(statuses.__name__, word, language)} ({value})"
    return "sealed" if isinstance(value, str) and is_sealed(value) else str(value)
