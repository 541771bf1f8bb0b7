"""What is sent and what comes back, as dataclasses; amounts are Decimals of 元."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar, Final, Protocol, TypeVar

BEIJING: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
MOMENT: Final = "%Y-%m-%d %H:%M:%S"
SUCCEEDED, RUNNING, FAILED, PARTIAL = 0, 30, 90, 91
# The words of channels of the later form, as the numbers they stand for.
WORDS: Final = {"SUCCESS": SUCCEEDED, "UNDERWAY": RUNNING, "FAILED": FAILED, "PARTSUCCESS": PARTIAL}


class Row(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


T = TypeVar("T", bound=Row)


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to be made. `request_no` is yours, and the key of repeats."""

    request_no: str
    line_id: int
    carrier_no: str
    face: Decimal
    amount: Decimal
    num: int = 1
    invoice_type: int = 1
    province_no: str = ""
    city_no: str = ""
    account: str = ""
    notify_url: str = ""
    max_amount: Decimal | None = None
    confirm_repeat: bool = False

    @property
    def params(self) -> dict[str, str]:
        """As the protocol names them; what is empty is left out."""
        given: dict[str, object] = {
            "request_no": self.request_no,
            "line_id": self.line_id,
            "carrier_no": self.carrier_no,
            "face": self.face,
            "amount": self.amount,
            "num": self.num,
            "invoice_type": self.invoice_type,
            "province_no": self.province_no,
            "city_no": self.city_no,
            "rechage_account": self.account,
            "notify_url": self.notify_url,
            "max_amount": "" if self.max_amount is None else self.max_amount,
            "confirm_repeat": 1 if self.confirm_repeat else "",
        }
        return {name: text_of(value) for name, value in given.items() if value != ""}


@dataclass(frozen=True, slots=True)
class NewRefund:
    """A refund to be made. `refund_no` is yours, and the key of repeats."""

    request_no: str
    refund_no: str
    refund_num: int
    notify_url: str
    mandatory: bool = False
    reason: str = ""

    @property
    def params(self) -> dict[str, str]:
        """As the protocol names them; without a reason there is none."""
        given = {
            "request_no": self.request_no,
            "refund_no": self.refund_no,
            "refund_num": str(self.refund_num),
            "notify_url": self.notify_url,
        }
        return given | {"refund_reason": self.reason} if self.reason else given


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How an order stands."""

    request_no: str
    order_id: str
    status: int
    replayed: bool = False  # it was there before

    @property
    def ended(self) -> bool:
        """Whether its status changes no more, but by refunds."""
        return self.status != RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOrder(Order):
    """An order of a list."""

    line_id: int
    carrier_no: str
    face: Decimal
    num: int
    amount: Decimal
    service_amount: Decimal
    commission: Decimal
    success_face: Decimal
    create_time: datetime
    end_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Order):
    """An order after it was to be cancelled, and who was first."""

    result: str  # CANCELLED, TOO_LATE, ENDED, IN_REVIEW
    money_back: str  # DONE, UNDERWAY, NONE, or empty

    @property
    def in_time(self) -> bool:
        """Whether it is cancelled."""
        return self.result == "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """How a refund stands."""

    request_no: str
    refund_no: str
    refund_id: str
    refund_num: int
    status: int
    replayed: bool = False

    @property
    def ended(self) -> bool:
        """Whether its status changes no more."""
        return self.status != RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRefund(Refund):
    """A refund of a list."""

    amount: Decimal
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What is on the channel's accounts."""

    balance: Decimal
    credit: Decimal
    available: Decimal
    locked: bool
    commission: Decimal
    service_amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product of the price list; `on_shelf` false: it is not sold any more, and nothing else is said."""

    product_id: str
    on_shelf: bool
    in_stock: bool = False
    line_id: int = 0
    carrier_no: str = ""
    province_no: str = ""
    city_no: str = ""
    invoice_type: int = 0
    face: Decimal = Decimal(0)
    price: Decimal = Decimal(0)
    service_amount: Decimal = Decimal(0)
    num_max: int = 0
    can_refund: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A code that was delivered; what it has not is empty."""

    card_id: str
    number: str = ""
    password: str = ""
    link: str = ""
    qr: str = ""
    expiry: str = ""
    face: Decimal = Decimal(0)
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """A notify and where it stands."""

    notify_id: str
    request_no: str
    refund_no: str
    notify_url: str
    notify_status: str  # UNDERWAY, ACKNOWLEDGED, QUERIED, GIVEN_UP
    notify_count: int
    max_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """A call of the channel as our log has it."""

    time: datetime
    request_id: str
    method: str
    path: str
    http_status: int
    error_code: str
    took_ms: int
    remote_ip: str
    admitted: bool
    params: Mapping[str, str]


def text_of(value: object) -> str:
    """A value as a parameter: an amount without an exponent or zeros behind."""
    if not isinstance(value, Decimal):
        return str(value)
    shown = f"{value:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def read(made: type[T], row: Mapping[str, Any], **more: Any) -> T:
    """A dataclass of what `row` has under the names of its fields."""
    found: dict[str, Any] = dict(more)
    for field in fields(made):
        name = field.name
        if name in found or name not in row:
            continue
        found[name] = _value(str(field.type), name, row[name])
    return made(**found)


def _value(kind: str, name: str, given: Any) -> Any:
    if name == "status" and isinstance(given, str) and given in WORDS:
        return WORDS[given]
    if kind == "Decimal":
        return Decimal(given)
    if kind.startswith("datetime"):
        return datetime.strptime(given, MOMENT).replace(tzinfo=BEIJING) if given else None
    return given
