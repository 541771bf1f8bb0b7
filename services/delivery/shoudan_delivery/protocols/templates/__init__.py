"""Suppliers by configuration: a protocol whose calls and answers stand in a template, not in a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec

from shoudan_delivery.kinds import StatedPrice
from shoudan_delivery.protocols.messages import (
    NOTIFY_PARAMETER,
    Call,
    InboundNotify,
    Unverified,
    Unwritable,
)
from shoudan_delivery.protocols.templates import calls, reading, texts
from shoudan_delivery.protocols.templates.shape import Notify, PriceNotify, Send, Talk, Template
from shoudan_delivery.store.rows import Outgoing, Reply, Supplier, Unreadable
from shoudan_kit.money import yuan_to_micros
from shoudan_signing.recipe import BODY, right

NAME: Final = "template"

_decode = msgspec.json.Decoder(Template).decode


@lru_cache(maxsize=1_024)
def parsed(text: str) -> Template:
    """A template as it is stored. ValueError (msgspec's, with the place) for what is none."""
    return _decode(text)


def has_balance(text: str) -> bool:
    """Whether a channel's template says how to ask for what is left of our money."""
    return bool(text) and parsed(text).balance is not None


@dataclass(frozen=True, slots=True)
class Templated:
    """One template as a protocol."""

    template: Template

    @property
    def codec(self) -> str:
        """The charset by its name in Python."""
        return calls.CODECS[self.template.charset]

    def request(
        self, supplier: Supplier, delivery: Outgoing, now: datetime, notify_url: str
    ) -> Call | Unwritable:
        """The call that requests a delivery or a return."""
        known = texts.of_delivery(supplier, delivery, now, notify_url)
        return self._call(supplier, self.template.order.send, supplier.request_url, known)

    def query(self, supplier: Supplier, delivery: Outgoing, now: datetime) -> Call | Unwritable:
        """The call that asks how it ended."""
        if self.template.query is None:
            return Unwritable("the template has no query")
        known = texts.of_delivery(supplier, delivery, now, "")
        return self._call(supplier, self.template.query.send, supplier.query_url, known)

    def balance(self, supplier: Supplier, now: datetime) -> Call | Unwritable:
        """The call that asks what is left of our money."""
        if (asked := self.template.balance) is None:
            return Unwritable("the template has no balance")
        return self._call(supplier, asked.send, asked.url, texts.always(supplier, now))

    def price(self, supplier: Supplier, now: datetime) -> Call | Unwritable:
        """The call that asks for prices."""
        if (asked := self.template.price) is None:
            return Unwritable("the template has no price")
        return self._call(supplier, asked.send, asked.url, texts.always(supplier, now))

    def _call(
        self, supplier: Supplier, send: Send, url: str, known: Mapping[str, str]
    ) -> Call | Unwritable:
        try:
            return calls.call(self.template, send, url, known, supplier.secret)
        except (
            KeyError
        ) as error:  # an amount that has no whole fen: the rest was checked when applied
            return Unwritable(f"no value of {error.args[0]}")
        except ValueError as error:  # ours, without a word of the secret
            return Unwritable(f"cannot be written ({type(error).__name__})")

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply | Unreadable:
        """The answer to a request."""
        return self._read(self.template.order, status, headers, body)

    def read_query(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply | Unreadable:
        """The answer to a query."""
        return self._read(self.template.query or self.template.order, status, headers, body)

    def _read(
        self, talk: Talk, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply | Unreadable:
        message = self._message(talk.answer, status, headers, body)
        if isinstance(message, Unreadable):
            return message
        try:
            return reading.reply(self.template, talk.read, message)
        except ValueError as error:
            return Unreadable(f"not as the template says ({type(error).__name__})")

    def _message(
        self, kind: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> dict[str, object] | Unreadable:
        if status != 200:
            return Unreadable(f"HTTP {status}")
        codec = self.codec
        try:
            return reading.fields(kind, codec, headers, body)
        except ValueError as error:
            return Unreadable(f"no {kind} as the template says ({type(error).__name__})")

    def read_balance(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> int | Unreadable:
        """What is left, in micro-yuan."""
        asked = self.template.balance
        if asked is None:
            return Unreadable("the template has no balance")
        message = self._message(asked.answer, status, headers, body)
        if isinstance(message, Unreadable):
            return message
        try:
            code = reading.text_at(asked.read.code, message)
            if asked.read.code and code not in asked.read.good:
                return Unreadable("the code is none with which a balance is believed")
            return self._balance(reading.text_at(asked.read.balance, message))
        except ValueError as error:
            return Unreadable(f"no balance ({type(error).__name__})")

    def _balance(self, text: str) -> int:
        """An amount that may be below zero: some suppliers give credit."""
        if self.template.money == "yuan":
            return yuan_to_micros(text, signed=True)
        sign = -1 if text.startswith("-") else 1
        return sign * reading.micros("fen", text.removeprefix("-"))

    def read_price_list(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> list[tuple[str, ...]] | Unreadable:
        """Products with price and stock."""
        asked = self.template.price
        if asked is None:
            return Unreadable("the template has no price")
        message = self._message(asked.answer, status, headers, body)
        if isinstance(message, Unreadable):
            return message
        try:
            return reading.prices(self.template, asked, message)
        except ValueError as error:
            return Unreadable(f"no prices ({type(error).__name__})")

    def read_prices(
        self, supplier: Supplier, notify: InboundNotify, as_of: datetime
    ) -> list[StatedPrice] | Unverified:
        """A notify of prices, verified as any other. All of it is read, or nothing."""
        shape = self.template.price_notify
        if shape is None or notify.method != shape.method:
            return Unverified("no notify of prices")
        try:
            message = self._notified(shape, notify)
            if problem := self._unsigned(shape, supplier, notify, message):
                return Unverified(problem)
            return reading.stated(self.template, shape.read, supplier.channel_no, message, as_of)
        except ValueError as error:
            return Unverified(f"not as the template says ({type(error).__name__})")

    def prices_ack(self) -> bytes:
        """What ends the supplier's notifying of prices."""
        shape = self.template.price_notify
        return shape.ack.encode(self.codec) if shape else b"success"

    def read_notify(self, supplier: Supplier, notify: InboundNotify) -> Reply | Unverified:
        """A notify. With a secret, or a public key of the supplier, its signature must be right."""
        shape = self.template.notify
        reply = self.said(notify)
        if shape is None or isinstance(reply, Unverified):
            return reply
        try:
            problem = self._unsigned(shape, supplier, notify, self._notified(shape, notify))
        except ValueError as error:
            return Unverified(f"not as the template says ({type(error).__name__})")
        return Unverified(problem) if problem else reply

    def said(self, notify: InboundNotify) -> Reply | Unverified:
        """What a notify says, its signature is not looked at."""
        shape = self.template.notify
        if shape is None or notify.method != shape.method:
            return Unverified("no notify of this template")
        try:
            return reading.reply(self.template, shape.read, self._notified(shape, notify))
        except ValueError as error:
            return Unverified(f"not as the template says ({type(error).__name__})")

    def _notified(self, shape: Notify | PriceNotify, notify: InboundNotify) -> dict[str, object]:
        if shape.body != "query":
            return reading.fields(shape.body, self.codec, notify.headers, notify.body)
        made = reading.form_fields(notify.query, self.codec)
        made.pop(NOTIFY_PARAMETER, None)  # ours, and no part of what the supplier has signed
        return made

    def _unsigned(
        self,
        shape: Notify | PriceNotify,
        supplier: Supplier,
        notify: InboundNotify,
        message: Mapping[str, object],
    ) -> str:
        """Why the signature is not believed; empty when it is, or none is agreed."""
        recipe = shape.sign or self.template.sign
        if recipe is None:
            return "a secret without a recipe" if supplier.secret else ""
        if not supplier.secret and not recipe.public_key:
            return ""
        headers = {name.lower(): text for name, text in notify.headers.items()}
        values = {name: reading.as_signed(value) for name, value in message.items()}
        given = headers.get(recipe.header.lower(), "") if recipe.header else ""
        given = given or values.get(recipe.field, "")
        for name in recipe.listed if recipe.over == "listed" else ():
            if name == BODY:
                values[name] = notify.body.decode(self.codec)
            elif name not in values:
                values[name] = headers.get(name.lower()) or reading.text_at(name, message)
        return (
            "" if right(recipe, values, given, supplier.secret, self.codec) else "wrong signature"
        )

    def ack_body(self) -> bytes:
        """What ends the supplier's notifying."""
        shape = self.template.notify
        return shape.ack.encode(self.codec) if shape else b"success"


@lru_cache(maxsize=1_024)
def of(text: str) -> Templated:
    """The protocol of a template that was checked when it was applied."""
    return Templated(parsed(text))
