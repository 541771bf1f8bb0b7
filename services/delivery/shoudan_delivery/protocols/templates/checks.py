"""Why a template could not work, said when it is applied: by the place it stands at, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec

from shoudan_delivery.protocols.cards import CHARS_MAX
from shoudan_delivery.protocols.templates import parsed, reading, texts
from shoudan_delivery.protocols.templates.shape import (
    Balance,
    Notify,
    Price,
    PriceNotify,
    Read,
    Send,
    Talk,
    Template,
)
from shoudan_delivery.store.rows import Supplier
from shoudan_kit.money import yuan_to_micros
from shoudan_signing.recipe import BODY, Recipe, check_public_key

BYTES_MAX: Final = 16_000
CARD_FIELDS: Final = frozenset({*CHARS_MAX, "expire_time", "face", "product", "order_no"})
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}(\.[A-Za-z_][A-Za-z0-9_-]{0,63}){0,7}")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_FACT: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CONTROL: Final = re.compile(r"[\x00-\x1f]")

Problem = tuple[str, str]  # the place within the template, and why


def problems(supplier: Supplier) -> Iterator[Problem]:
    """What is wrong with a channel's template."""
    if len(supplier.template.encode()) > BYTES_MAX:
        yield "", f"at most {BYTES_MAX} bytes as JSON"
        return
    try:
        template = parsed(supplier.template)
    except msgspec.DecodeError as error:  # with the place it stands at
        yield "", str(error)
        return
    yield from _capabilities(supplier, template)
    yield from _talk(supplier, template, "order", template.order)
    if template.query is not None:
        yield from _talk(supplier, template, "query", template.query)
    if template.notify is not None:
        yield from _notify(template, template.notify)
    if template.balance is not None:
        yield from _balance(supplier, template.balance)
    if template.price is not None:
        yield from _price(supplier, template.price)
    if template.price_notify is not None:
        yield from _price_notify(template.price_notify)
    if template.sign is not None:
        yield from _recipe("sign", template.sign)
        yield from _signed(template, template.sign)


def urls(template: Template) -> dict[str, str]:
    """Further URLs that are called."""
    asked = {"balance": template.balance, "price": template.price}
    return {f"template.{name}.url": one.url for name, one in asked.items() if one is not None}


def _capabilities(supplier: Supplier, template: Template) -> Iterator[Problem]:
    """What is declared is there, and what is there is declared."""
    reads = [template.order.read, *([template.query.read] if template.query else [])]
    there = {
        "query": template.query is not None,
        "notify": template.notify is not None,
        "balance": template.balance is not None,
        "price": template.price is not None,
        "price_notify": template.price_notify is not None,
        "cards": any(one.cards for one in reads),
        "amount": all(one.amount for one in reads),
        "order_no": all(one.order_no for one in reads),
    }
    for name, is_there in there.items():
        if is_there != (name in template.capabilities):
            said = "is there and not declared" if is_there else "is declared and not there"
            yield "capabilities", f"{name} {said}"
    if any(one.amount for one in reads) and not there["amount"]:
        yield "capabilities", "amount stands in one of order and query only"
    if any(one.order_no for one in reads) and not there["order_no"]:
        yield "capabilities", "order_no stands in one of order and query only"
    if supplier.can_query != there["query"]:
        yield "query", "can_query of the channel says otherwise"
    if not there["query"] and not there["notify"] and not supplier.idempotent:
        yield "capabilities", "neither query nor notify: what is unknown would stay so"
    if supplier.delivers_cards and not there["cards"]:
        yield "capabilities", "delivers_cards of the channel needs cards"


def _talk(supplier: Supplier, template: Template, at: str, talk: Talk) -> Iterator[Problem]:
    yield from _send(supplier, f"{at}.send", talk.send, texts.OF_DELIVERY)
    yield from _read(supplier, f"{at}.read", talk.read, talk.answer)
    if at == "order" and talk.read.absent:
        yield f"{at}.read.absent", "only of a query"
    named = any("$order_no" in text for text in talk.send.fields.values())
    if not named:
        yield f"{at}.send.fields", "no field has $order_no, by which the supplier knows a repeat"
    if template.charset == "gbk" and talk.send.body == "json" and talk.answer == "xml":
        yield f"{at}.answer", "JSON in GBK is not answered in XML"


def _notify(template: Template, notify: Notify) -> Iterator[Problem]:
    yield from _read(None, "notify.read", notify.read, notify.body)
    if not notify.read.order_no:
        yield "notify.read.order_no", "is needed: a notify belongs to no call"
    if notify.read.absent:
        yield "notify.read.absent", "only of a query"
    if "amount" in template.capabilities and not notify.read.amount:
        yield "notify.read.amount", "is needed as in the answers"
    if (notify.method == "GET") != (notify.body == "query"):
        yield "notify.body", "GET has a query, POST has none"
    if recipe := notify.sign:
        yield from _recipe("notify.sign", recipe)


def _balance(supplier: Supplier, balance: Balance) -> Iterator[Problem]:
    yield from _send(supplier, "balance.send", balance.send, texts.ALWAYS)
    yield from _paths("balance.read", {"balance": balance.read.balance}, balance.answer)
    if balance.read.code:
        yield from _paths("balance.read", {"code": balance.read.code}, balance.answer)
    if bool(balance.read.code) != bool(balance.read.good):
        yield "balance.read.good", "code and good codes go together"
    if not _is_url(balance.url):
        yield "balance.url", "an http or https URL without a password"
    try:
        low, enough = yuan_to_micros(balance.hold_below), yuan_to_micros(balance.release_from)
    except ValueError:
        yield "balance", "hold_below and release_from are amounts in yuan, written as text"
        return
    if enough < low:
        yield "balance.release_from", "at least hold_below"


def _price(supplier: Supplier, price: Price) -> Iterator[Problem]:
    yield from _send(supplier, "price.send", price.send, texts.ALWAYS)
    yield from _paths("price.read", {"products": price.read.products}, price.answer)
    inner = {"product": price.read.product, "price": price.read.price}
    yield from _paths("price.read", inner | _given({"stock": price.read.stock}), "json")
    if not _is_url(price.url):
        yield "price.url", "an http or https URL without a password"


def _price_notify(notify: PriceNotify) -> Iterator[Problem]:
    read, at = notify.read, "price_notify.read"
    if read.products:
        yield from _paths(at, {"products": read.products}, notify.body)
    named = ("price", "stock", "status", "effective_time")
    inner = _given({name: cast("str", getattr(read, name)) for name in named})
    within = "json" if read.products else notify.body
    yield from _paths(at, {"product": read.product, "version": read.version} | inner, within)
    if not inner.keys() & {"price", "stock", "status"}:
        yield at, "price, stock or status: one of them at least"
    if bool(read.status) != bool(read.on and read.off) or set(read.on) & set(read.off):
        yield f"{at}.status", "status, on and off go together, each text once"
    if (notify.method == "GET") != (notify.body == "query"):
        yield "price_notify.body", "GET has a query, POST has none"
    if recipe := notify.sign:
        yield from _recipe("price_notify.sign", recipe)


def _given(wheres: Mapping[str, str]) -> dict[str, str]:
    return {name: where for name, where in wheres.items() if where}


def _is_url(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc


def _send(supplier: Supplier, at: str, send: Send, known: frozenset[str]) -> Iterator[Problem]:
    yield from _fields(at, send)
    for name, text in send.headers.items():
        if not _HEADER.fullmatch(name) or _CONTROL.search(text):
            yield f"{at}.headers", "names of letters, digits and dashes; texts of one line"
    for name, text in {**send.fields, **send.headers}.items():
        if why := texts.problem(text, known, supplier.ext_params):
            yield f"{at}.{name}", why
    if send.method == "GET" and send.body != "query":
        yield f"{at}.body", "GET has no body: query"
    if not _FIELD.fullmatch(send.root) or "." in send.root:
        yield f"{at}.root", "a name"


def _fields(at: str, send: Send) -> Iterator[Problem]:
    names = set(send.fields)
    for name in names:
        if not _FIELD.fullmatch(name) or ("." in name and send.body in {"form", "query"}):
            yield f"{at}.fields", f"{name} is no name of a field of {send.body}"
        if any(other.startswith(f"{name}.") for other in names):
            yield f"{at}.fields", f"{name} cannot be a text and hold others"
    if send.numbers and (send.body != "json" or set(send.numbers) - names):
        yield f"{at}.numbers", "fields of JSON that are there"


def _read(supplier: Supplier | None, at: str, read: Read, kind: str) -> Iterator[Problem]:
    paths = {
        f"code{place}": where for place, where in enumerate(read.codes)
    } or {"code": ""}  # fmt: skip
    named = ("order_no", "message", "up_order_no", "amount", "cost", "cards")
    paths |= _given({name: cast("str", getattr(read, name)) for name in named})
    yield from _paths(at, paths, kind)
    yield from _paths(f"{at}.facts", read.facts, kind)
    yield from _paths(f"{at}.card", read.card, "json")
    if bad := [name for name in read.facts if not _FACT.fullmatch(name) or name == "cost_amount"]:
        yield f"{at}.facts", f"{bad[0]} is no name of a further fact"
    if bad := sorted(set(read.card) - CARD_FIELDS):
        yield f"{at}.card", f"{bad[0]} is none of {', '.join(sorted(CARD_FIELDS))}"
    if read.card and not read.cards:
        yield f"{at}.card", "needs cards"
    if supplier is not None:
        listed = set(supplier.deal_codes)
        if read.prefix and not any(code.startswith(read.prefix) for code in listed):
            yield f"{at}.prefix", f"no error code begins with {read.prefix}"
        if overlap := sorted(listed & set(read.absent)):
            yield f"{at}.absent", f"{overlap[0]} is one of the error codes, too"


def _paths(at: str, paths: Mapping[str, str], kind: str) -> Iterator[Problem]:
    for name, where in paths.items():
        try:
            single = reading.is_one_name(where)
        except ValueError as error:
            yield f"{at}.{name}", str(error)
            continue
        if kind in {"form", "query"} and not single:
            yield f"{at}.{name}", f"can match nothing: a {kind} has no names within names"


def _recipe(at: str, recipe: Recipe) -> Iterator[Problem]:
    if bool(recipe.field) == bool(recipe.header):
        yield at, "the signature stands in a field or in a header: give one of them"
    if (recipe.over == "listed") != bool(recipe.listed):
        yield f"{at}.listed", "over listed needs the names, over sorted has none"
    if BODY in recipe.listed and recipe.field:
        yield f"{at}.listed", "a body cannot hold the signature of itself"
    if recipe.hash.startswith("hmac-") and recipe.key_joint:
        yield f"{at}.key_joint", "HMAC has its key apart"
    if recipe.public_key:
        if not recipe.is_rsa:
            yield f"{at}.public_key", "only of RSA"
            return
        try:
            check_public_key(recipe.public_key)
        except ValueError:
            yield f"{at}.public_key", "no PEM of an RSA public key of 2048 bits or more"


def _signed(template: Template, recipe: Recipe) -> Iterator[Problem]:
    """Something of the recipe is sent with each call; a nested field has no place in a sorted text."""
    for at, talk in (("order", template.order), ("query", template.query)):
        if talk is None:
            continue
        yield from _signed_of(f"{at}.send", talk.send, recipe)
    asked: Sequence[tuple[str, Balance | Price | None]]
    asked = (("balance", template.balance), ("price", template.price))
    for at, one in asked:
        if one is not None:
            yield from _signed_of(f"{at}.send", one.send, recipe)


def _signed_of(at: str, send: Send, recipe: Recipe) -> Iterator[Problem]:
    there = {*send.fields, *send.headers, BODY}
    if recipe.over == "sorted" and any("." in name for name in send.fields):
        yield f"{at}.fields", "fields within fields are not signed sorted; sign @body in a header"
    if recipe.field in send.fields:
        yield f"{at}.fields", f"{recipe.field} is the signature's"
    # A query may be signed over fewer fields than an order: what it lacks is empty.
    if recipe.over == "listed" and not there & set(recipe.listed):
        yield f"{at}.fields", "none of the names that are signed"
