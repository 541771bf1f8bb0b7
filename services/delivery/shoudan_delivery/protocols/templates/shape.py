"""What a template of a supplier's protocol holds, as it stands under `template` of the configuration file."""

from __future__ import annotations

from typing import Literal

import msgspec

from shoudan_signing.recipe import Recipe

Charset = Literal["utf-8", "gbk"]
Money = Literal["yuan", "fen"]
Answer = Literal["json", "form", "xml"]
Capability = Literal[
    "query", "notify", "balance", "price", "price_notify", "cards", "amount", "order_no"
]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a template: a name that is not known is a mistake."""


class Read(Shape, frozen=True):
    """Where an answer says what: a path each, empty for what it does not say."""

    # Several are joined by `/`: suppliers say whether a call was understood apart from how an order stands.
    code: str | tuple[str, ...]
    prefix: str = ""  # before the code, for codes that mean one thing here and another elsewhere
    absent: tuple[str, ...] = ()  # of a query: codes that say the number never arrived
    order_no: str = ""
    message: str = ""
    up_order_no: str = ""
    amount: str = ""
    cost: str = ""
    cards: str = ""
    card: dict[str, str] = {}  # our field of a card: its path within one of them
    facts: dict[str, str] = {}  # further facts that are kept, by their name

    @property
    def codes(self) -> tuple[str, ...]:
        """The paths of the code."""
        return (self.code,) if isinstance(self.code, str) else self.code


class Send(Shape, frozen=True):
    """How a call is written. In values `$name` stands for what is known of the delivery and the channel."""

    fields: dict[str, str]
    method: Literal["GET", "POST"] = "POST"
    body: Literal["json", "form", "xml", "query"] = "form"
    headers: dict[str, str] = {}
    numbers: tuple[str, ...] = ()  # fields that JSON writes as numbers
    root: str = "request"  # of XML


class Talk(Shape, frozen=True):
    """An order or a query: what is sent, and how the answer is read."""

    send: Send
    read: Read
    answer: Answer = "json"


class Notify(Shape, frozen=True):
    """What the supplier sends by itself."""

    read: Read
    method: Literal["GET", "POST"] = "POST"
    body: Literal["json", "form", "xml", "query"] = "form"
    sign: Recipe | None = None  # the template's, when it is none of its own
    ack: str = "success"


class BalanceRead(Shape, frozen=True):
    """Where an answer says what is left."""

    balance: str
    code: str = ""
    good: tuple[str, ...] = ()  # codes with which the balance is believed


class Balance(Shape, frozen=True):
    """How much of our money the supplier still has, and when the channel is held for it; in yuan."""

    url: str
    send: Send
    read: BalanceRead
    hold_below: str
    release_from: str
    answer: Answer = "json"


class PriceRead(Shape, frozen=True):
    """Where an answer lists products, and where in one of them what stands."""

    products: str
    product: str
    price: str
    stock: str = ""


class Price(Shape, frozen=True):
    """What the supplier asks for its products."""

    url: str
    send: Send
    read: PriceRead
    answer: Answer = "json"


class PriceNotifyRead(Shape, frozen=True):
    """Where a notify of prices lists products, and where in one of them what stands."""

    product: str
    version: str  # a whole number that rises, such as a time in milliseconds
    products: str = ""  # empty: the message is one product
    price: str = ""
    stock: str = ""
    status: str = ""
    on: tuple[str, ...] = ()  # texts of the status that say it can be bought
    off: tuple[str, ...] = ()  # and that it cannot; any other is not believed
    effective_time: str = ""


class PriceNotify(Shape, frozen=True):
    """What the supplier sends by itself of its prices and stock."""

    read: PriceNotifyRead
    method: Literal["GET", "POST"] = "POST"
    body: Literal["json", "form", "xml", "query"] = "form"
    sign: Recipe | None = None  # the template's, when it is none of its own
    ack: str = "success"


class Template(Shape, frozen=True):
    """A supplier's protocol."""

    capabilities: tuple[Capability, ...]
    order: Talk
    query: Talk | None = None
    notify: Notify | None = None
    balance: Balance | None = None
    price: Price | None = None
    price_notify: PriceNotify | None = None
    sign: Recipe | None = None
    charset: Charset = "utf-8"
    money: Money = "yuan"  # of all amounts that are read
