"""The configuration file: its schema, how it is read, and the one sentence that says what is wrong where."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from shoudan_configuration.exact_yaml import Loader
from shoudan_kit import money

BYTES_MAX: Final = 64 * 2**20
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class DocumentError(ValueError):
    """Everything that is wrong with a file, one readable line each."""

    def __init__(self, name: str, mistakes: list[str]) -> None:
        lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
        super().__init__(f"{len(mistakes)} mistake(s) in {name}:{lines}")
        self.mistakes = mistakes


def _yuan(value: object) -> object:
    return money.yuan_to_micros(str(value)) if isinstance(value, str | int) else value


def _rate(value: object) -> object:
    return money.rate_to_ppm(str(value)) if isinstance(value, str | int) else value


def _text(value: object) -> object:
    """Numbers that are names in fact, such as 000123 or 9527, need no quotes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _seconds(value: object) -> object:
    """Seconds to the millisecond: a decimal is read as its text."""
    given = isinstance(value, int | str) and not isinstance(value, bool)
    return float(str(value)) if given else value


def _unsigned(value: object) -> object:
    """`none` as the contract writes it."""
    return "" if value == "none" else value


Yuan = Annotated[int, BeforeValidator(_yuan), Field(ge=0)]  # written in 元, held in micros
Rate = Annotated[int, BeforeValidator(_rate)]  # written like 0.99, held in ppm
Name = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=64)]
Short = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=32)]
Code = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=8)]
Note = Annotated[str, BeforeValidator(_text), Field(max_length=1024)]
Key = Annotated[int, Field(ge=1, lt=2**63)]
OvertimeS = Annotated[int, Field(ge=1, le=30 * 86_400)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0.05, le=300)]  # of one call
Calls = Annotated[int, Field(ge=0, le=1_000_000)]  # 0: as the gateways' settings say
AuthMode = Annotated[Literal["", "md5", "hmac", "hmac2"], BeforeValidator(_unsigned)]
ServiceClass = Literal[10, 20, 21, 30]
LossRule = Literal["allow", "park", "refuse"]
PriceRule = Literal["ignore", "accept", "ask"]
Event = Literal[
    "order.ended", "refund.ended", "cards.issued", "balance.alert", "bill.ready", "shelf.changed"
]
RoutePolicy = Literal["cheapest", "weighted", "outcome"]
RiskClass = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^\S+$")]


# Documented columns (000 §二.2.1) that this file names with their unit.
_SECONDS: Final = {
    f"{name}": f"{name}_s"
    for name in (
        "order_overtime",
        "refund_overtime",
        "delivery_overtime",
        "return_overtime",
        "request_replenish_time",
        "first_query_time",
        "query_replenish_time",
    )
}
_TOGGLES: Final = frozenset({"can_package_delivery", "can_refund", "can_split_order", "can_query"})
QUEUE_COLUMN: Final = "_queue"


def _toggle(value: object) -> object:
    """The documents write 0 for yes and 1 for no; true and false are themselves."""
    known = {0: True, 1: False, "0": True, "1": False}
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    return known.get(value, value)


def _fen(value: object) -> object:
    """An amount in 分, as the documents write balances, in 元."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text.isascii() or not text.isdigit():
        raise ValueError("is not a whole amount of 分")
    return money.micros_to_yuan(money.fen_to_micros(int(text)))


class Row(BaseModel):
    """Strict: no unknown key, nothing converted but what the field says.

    The columns of the customer's documents are understood as they are written there: `status: 0` is
    `enabled: true`, `order_overtime` is `order_overtime_s`, toggles are 0 for yes and 1 for no.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    documented: ClassVar[Mapping[str, tuple[str, Callable[[object], object]]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_documented(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        row = cast("dict[Any, Any]", given)
        made: dict[Any, Any] = {}
        for name, value in row.items():
            ours, read = cls._ours(name)
            if ours in made:
                raise ValueError(f"{name} and {ours} are the same: give one of them")
            made[ours] = read(value)
        return made

    @classmethod
    def _ours(cls, name: Any) -> tuple[Any, Callable[[object], object]]:
        if name in cls.model_fields:
            return name, _toggle if name in _TOGGLES else _as_given
        if name in cls.documented:
            return cls.documented[name]
        if name == "status" and "enabled" in cls.model_fields:
            return "enabled", _toggle
        if _SECONDS.get(name) in cls.model_fields:
            return _SECONDS[name], _as_given
        return name, _as_given


def _as_given(value: object) -> object:
    return value


def _not(value: object) -> object:
    return not value if isinstance(value, bool) else value


class Line(Row):
    """oms_product_line."""

    line_id: Key
    line_name: Name
    can_package_delivery: bool = False
    queues: dict[str, str] = {}
    service_class: ServiceClass = 10
    return_service_class: ServiceClass = 21
    loss_rule: LossRule = "allow"
    route_policy: RoutePolicy = "cheapest"
    route_weights: dict[str, Annotated[int, Field(ge=0, le=10_000)]] = {}
    route_terms: dict[str, Annotated[int, Field(ge=0, le=1_000_000)]] = {}
    forbid_supplier_classes: Annotated[list[RiskClass], Field(max_length=16)] = []
    require_carrier_serial: bool = False

    @model_validator(mode="before")
    @classmethod
    def _queue_columns(cls, given: Any) -> Any:
        """`payment_queue: x` beside the others, as the document has it, is `queues: {payment_queue: x}`."""
        if not isinstance(given, dict):
            return given
        row = dict(cast("dict[Any, Any]", given))
        columns = [name for name in row if isinstance(name, str) and name.endswith(QUEUE_COLUMN)]
        if columns:
            queues = dict(row.get("queues") or {})
            row["queues"] = queues | {name: row.pop(name) for name in columns}
        return row


class Product(Row):
    """What down and up products share."""

    product_id: Key
    line_id: Key
    carrier_no: Code
    province_no: Code = "*"
    city_no: Code = "*"
    invoice_type: Literal[0, 1, 2] = 1
    ext_product_no: Annotated[str, BeforeValidator(_text)] = ""
    can_refund: bool = True
    face: Yuan
    commission_discount: Rate = 0
    service_discount: Rate = 0
    limit_count: Annotated[int, Field(ge=1, le=1000)] = 1
    enabled: bool = True
    extend_info: Note = ""


class DownProduct(Product):
    """oms_down_product."""

    sell_discount: Rate
    payment_fee_discount: Rate = 0
    can_split_order: bool = False
    split_order_face: Yuan = 0


class UpProduct(Product):
    """oms_up_product."""

    cost_discount: Rate
    price_rule: PriceRule | Literal[""] = ""
    price_move_max: Rate = 0


class DownShelf(Row):
    """oms_down_shelf with its products."""

    shelf_id: Key
    shelf_name: Name
    order_overtime_s: OvertimeS = 600
    refund_overtime_s: OvertimeS = 600
    enabled: bool = True
    pay_fail_fast: bool = False
    extend_info: Note = ""
    products: list[DownProduct] = []


class UpShelf(Row):
    """oms_up_shelf with its products."""

    shelf_id: Key
    shelf_name: Name
    delivery_overtime_s: OvertimeS = 300
    return_overtime_s: OvertimeS = 300
    enabled: bool = True
    extend_info: Note = ""
    products: list[UpProduct] = []


class DownChannel(Row):
    """oms_down_channel with its shelves."""

    channel_no: Short
    channel_name: Name
    enabled: bool = True
    auth_mode: AuthMode = "hmac2"
    secret_name: str = ""
    allowed_networks: list[str] = []
    word_status: bool = False
    notify_networks: list[str] = []
    ext_channel_no: Note = ""
    rate_per_s: Calls = 0
    calls_max: Calls = 0
    card_key: str = ""
    shelf_url: str = ""
    shelf_events: list[Literal["price", "stock", "shelf"]] = []
    notice_url: str = ""
    api_version: Annotated[
        str, BeforeValidator(_text), Field(pattern=r"^(0|\d{4}-\d\d-\d\d)?$")
    ] = ""
    shelves: list[DownShelf] = []


class UpChannel(Row):
    """oms_up_channel with its shelves."""

    channel_no: Short
    channel_name: Name
    enabled: bool = True
    ext_channel_no: Note = ""
    risk_class: RiskClass | Literal[""] = ""
    price_rule: PriceRule = "ignore"
    price_move_max: Rate = 0
    shelves: list[UpShelf] = []


class ErrorCode(Row):
    """vds_channel_error_code: 0 success, 10 failure, 90 unknown."""

    error_code: Short
    deal_code: Literal[0, 10, 90]
    error_code_desc: str = ""


class Supplier(Row):
    """vds_channel_info with its error codes."""

    channel_no: Short
    service_class: ServiceClass
    protocol: str = "default"
    request_url: str
    notify_url: str = ""
    query_url: str = ""
    request_replenish_time_s: OvertimeS = 100
    first_query_time_s: Annotated[int, Field(ge=0, le=86_400)] = 600  # 0: at once
    query_replenish_time_s: OvertimeS = 180
    can_query: bool = False
    idempotent: bool = False
    concurrency_max: Annotated[int, Field(ge=1, le=10_000)] = 32
    timeout_s: Seconds = 10
    enabled: bool = True
    secret_name: str = ""
    queue_name: str = ""
    ext_params: dict[Short, Annotated[str, BeforeValidator(_text)]] = {}
    notify_networks: list[str] = []
    notify_without_token: bool = False
    delivers_cards: bool = False
    template: dict[
        str, Any
    ] = {}  # of protocol template; the delivery service knows what it may hold
    error_codes: list[ErrorCode] = []


class Account(Row):
    """A ledger account; channels get theirs by themselves, listed here they get credit and an opening.

    `balance` and `credit`, in 分 as documented, are opening_yuan and credit_yuan. An account that is there
    keeps the credit, lock and name that are not named here.
    """

    documented = {
        "account_name": ("name", _as_given),
        "balance": ("opening_yuan", _fen),
        "credit": ("credit_yuan", _fen),
        "status": ("locked", lambda value: _not(_toggle(value))),
    }

    ident: Short = "oms"
    groups: Short
    eid: Name
    name: Short = "-"
    locked: bool | None = None
    opening_yuan: Yuan = 0
    credit_yuan: Yuan | None = None


class PayModeTemplate(Row):
    """payModeTemplate of PayServer, whole: what is left out becomes empty, but not the secret's name."""

    template_id: Name  # payTemplateId
    name: Name
    description: str | None = None
    check_env_url: str | None = None
    pay_url: str | None = None
    refund_url: str | None = None
    query_url: str | None = None
    icon_href: str | None = None
    valid_h: Annotated[int, Field(ge=1, le=8760)] = 24
    online: bool = False
    sign_account: bool = False
    async_notify: bool = False
    third_party: bool = False
    channel: str | None = None
    way: str | None = None
    repeatable: bool = False
    secret_name: str | None = None


class Package(Row):
    """A service package of an account, made when it is not there; later moves are the ledger's."""

    ident: Short
    groups: Short = "member"
    eid: Name
    spkg_id: Short
    name: Short = "-"
    total_capacity: Annotated[int, Field(ge=0, lt=2**31)]
    capacity_daily: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Canton(Row):
    """oms_canton_info."""

    canton_code: Short
    chinese_name: Name
    spell: str = ""
    simple_spell: str = ""
    grade: Literal[1, 2, 3]
    parent: Annotated[str, BeforeValidator(_text)] = ""
    area_code: Annotated[str, BeforeValidator(_text)] = ""
    standard_code: Annotated[str, BeforeValidator(_text)] = ""


class NotifyEndpoint(Row):
    """oms_notify_endpoint."""

    endpoint_no: Short
    channel_no: Short
    url: str
    events: list[Event] = []
    body_version: Literal[0, 1] = 0
    enabled: bool = True


class Document(Row):
    """One whole file. What is not in it stays as it is in the system."""

    lines: list[Line] = []
    down_channels: list[DownChannel] = []
    up_channels: list[UpChannel] = []
    suppliers: list[Supplier] = []
    accounts: list[Account] = []
    cantons: list[Canton] = []
    notify_endpoints: list[NotifyEndpoint] = []
    pay_mode_templates: list[PayModeTemplate] = []
    packages: list[Package] = []


def load(path: Path, environ: Mapping[str, str] | None = None) -> Document:
    """The file as values, ${NAME} replaced from the environment. Raises DocumentError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), [f"cannot be read ({type(error).__name__})"]) from None
    return parse(text, path.name, os.environ if environ is None else environ)


def parse(text: str, name: str, environ: Mapping[str, str]) -> Document:
    """The text as values. Raises DocumentError naming the path of every mistake."""
    if len(text) > BYTES_MAX:
        raise DocumentError(name, [f"is longer than {BYTES_MAX} characters"])
    try:
        raw = Loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # the last two of YAML's reader
        raise DocumentError(name, [f"is not YAML: {' '.join(str(error).split())}"]) from None
    mistakes: list[str] = []
    filled = _filled(raw if raw is not None else {}, "", environ, mistakes)
    try:
        document = Document.model_validate(filled)
    except ValidationError as error:
        mistakes += [_sentence(one["loc"], one["msg"], one["input"]) for one in error.errors()]
        raise DocumentError(name, mistakes) from None
    mistakes += _repeated(document)
    if mistakes:
        raise DocumentError(name, mistakes)
    return document


def _filled(value: Any, at: str, environ: Mapping[str, str], mistakes: list[str]) -> Any:
    if isinstance(value, str):
        return _substituted(value, at, environ, mistakes)
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_filled(one, f"{at}[{i}]", environ, mistakes) for i, one in enumerate(items)]
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        return {
            name: _filled(one, f"{at}.{name}".lstrip("."), environ, mistakes)
            for name, one in members.items()
        }
    return value


def _substituted(text: str, at: str, environ: Mapping[str, str], mistakes: list[str]) -> str:
    def found(match: re.Match[str]) -> str:
        if match[1] not in environ:
            mistakes.append(f"{at}: the variable {match[1]} is not set")
        return environ.get(match[1], "")

    return _VARIABLE.sub(found, text)


def _sentence(loc: tuple[int | str, ...], message: str, given: object) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    shown = "" if isinstance(given, dict | list) else f", given {str(given)[:80]!r}"
    return f"{path.lstrip('.') or 'the file'}: {message.removeprefix('Value error, ')}{shown}"


def _repeated(document: Document) -> list[str]:
    """Keys that stand twice: each would silently win over the other."""
    down = [(c, s) for c in document.down_channels for s in c.shelves]
    up = [(c, s) for c in document.up_channels for s in c.shelves]
    keys: dict[str, list[Any]] = {
        "lines.line_id": [one.line_id for one in document.lines],
        "down_channels.channel_no": [one.channel_no for one in document.down_channels],
        "down_channels.shelves.shelf_id": [shelf.shelf_id for _, shelf in down],
        "down_channels.shelves.products.product_id": [
            p.product_id for _, shelf in down for p in shelf.products
        ],
        "up_channels.channel_no": [one.channel_no for one in document.up_channels],
        "up_channels.shelves.shelf_id": [shelf.shelf_id for _, shelf in up],
        "up_channels.shelves.products.product_id": [
            p.product_id for _, shelf in up for p in shelf.products
        ],
        "suppliers": [(one.channel_no, one.service_class) for one in document.suppliers],
        "accounts": [(one.ident, one.groups, one.eid) for one in document.accounts],
        "pay_mode_templates.template_id": [one.template_id for one in document.pay_mode_templates],
        "packages": [(one.ident, one.groups, one.eid, one.spkg_id) for one in document.packages],
        "cantons.canton_code": [one.canton_code for one in document.cantons],
        "notify_endpoints.endpoint_no": [one.endpoint_no for one in document.notify_endpoints],
    }
    return [
        f"{where}: {value} stands twice"
        for where, values in keys.items()
        for value in sorted({str(v) for v in values if values.count(v) > 1})
    ]
