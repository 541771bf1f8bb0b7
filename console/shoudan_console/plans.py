"""What a piece of the configuration file would change, shown before it is made, and then made exactly so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_configuration.document import Document, DocumentError, parse
from shoudan_configuration.messages import catalogue_of, suppliers_of
from shoudan_console import calls, values
from shoudan_console.proposing import call_or_propose, propose
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

TEXT_BYTES_MAX: Final = 4 * 2**20
THINGS_MAX: Final = 500  # shown; all of them are counted, and made
MISTAKES_MAX: Final = 100
MOVED: Final = "ERROR_REASON_BASE_MOVED"
# What the file may have beside the catalogue and its suppliers: other rights, other proofs.
ELSEWHERE: Final = ("accounts", "packages", "pay_mode_templates")
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "lines": ("line_id", _("Line")),
    "down_channels": ("channel_no", _("Channel")),
    "down_shelves": ("shelf_id", _("Shelf of a channel")),
    "down_products": ("product_id", _("Product sold")),
    "up_channels": ("channel_no", _("Supplier of the catalogue")),
    "up_shelves": ("shelf_id", _("Shelf of a supplier")),
    "up_products": ("product_id", _("Product offered")),
    "cantons": ("canton_code", _("Place")),
    "notify_endpoints": ("endpoint_no", _("Notify endpoint")),
}
SUPPLIER: Final = _("How a supplier is called")
# Where the service names a field by its documented column.
_COLUMNS: Final = {
    "enabled": "status",
    "order_overtime_s": "order_overtime",
    "refund_overtime_s": "refund_overtime",
    "delivery_overtime_s": "delivery_overtime",
    "return_overtime_s": "return_overtime",
    "error_codes": "deal_codes|code_descs",
    "queues": r"\w+_queue",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a thing, before and after."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Thing:
    """One row that is new or different; `words` are the service's, where its fields cannot be parted."""

    kind: str
    key: str
    new: bool
    changes: Sequence[Change]
    words: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change, and the words of both services for exactly that."""

    text: str
    things: Sequence[Thing]
    count: int
    warnings: Sequence[str]
    catalogue_base: str
    suppliers_base: str


def read(text: str) -> Document:
    """The text as the file's parts; no value comes from this process. Raises DocumentError."""
    document = parse(text, "YAML", {})
    if given := [name for name in ELSEWHERE if getattr(document, name)]:
        why = "is not of the catalogue: apply it with shoudan config apply"
        raise DocumentError("YAML", [f"{name}: {why}" for name in given])
    return document


async def plan(visit: Visit, text: str) -> Plan:
    """What it would change now; nothing is changed. Raises DocumentError, Refused, Away."""
    document = await asyncio.to_thread(read, text)
    goods, suppliers = catalogue_of(document), suppliers_of(document)
    by = visit.known.operator
    asked = catalogue.ApplyCatalogueRequest(catalogue=goods, by=by, dry_run=True)
    said = await visit.ask(calls.APPLY_CATALOGUE, asked)
    there = (await visit.ask(calls.GET_CATALOGUE, catalogue.GetCatalogueRequest())).catalogue
    things = list(_rows(said.changes, there, goods))
    base = ""
    if suppliers:
        wanted = delivery.ApplySuppliersRequest(suppliers=suppliers, by=by, dry_run=True)
        found = await visit.ask(calls.APPLY_SUPPLIERS, wanted)
        known = await visit.ask(calls.LIST_SUPPLIERS, delivery.ListSuppliersRequest())
        things += _suppliers(found.changes, known.suppliers, suppliers)
        base = found.base if found.changes else ""
    made = said.base if said.changes else ""
    return Plan(text, things[:THINGS_MAX], len(things), list(said.warnings), made, base)


async def make(visit: Visit, given: Plan, reason: str, once: str, *, asking: bool) -> Any:
    """Change what the plan said, or nothing of the part that has moved: suppliers first, as by the command.

    Gives the proposal when a second person is needed, or asked, else None. How suppliers are called is one
    person's to change. Raises Refused, Away.
    """
    document = await asyncio.to_thread(read, given.text)
    by = visit.known.operator
    if given.suppliers_base:
        await visit.ask(
            calls.APPLY_SUPPLIERS,
            delivery.ApplySuppliersRequest(
                suppliers=suppliers_of(document), by=by, base=given.suppliers_base
            ),
        )
    if not given.catalogue_base:
        return None
    request = catalogue.ApplyCatalogueRequest(
        catalogue=catalogue_of(document), by=by, base=given.catalogue_base
    )
    ask = propose if asking else call_or_propose
    answer = await ask(visit, calls.APPLY_CATALOGUE, request, reason, once)
    return answer if answer.DESCRIPTOR.name == "Proposal" else None


def _rows(lines: Sequence[str], there: Any, given: Any) -> Iterator[Thing]:
    for line in lines:
        name, _colon, words = line.partition(": ")
        kind, _space, key = name.partition(" ")
        field, label = KINDS[kind]

        def of(found: Any, kind: str = kind, field: str = field, key: str = key) -> Any:
            rows = getattr(found, kind)
            return next((one for one in rows if str(getattr(one, field)) == key), None)

        yield _thing(label, key, words, of(there), of(given))


def _suppliers(lines: Sequence[str], there: Any, given: Any) -> Iterator[Thing]:
    for line in lines:
        name, _colon, words = line.partition(": ")
        key = name.removeprefix("supplier ")

        def of(found: Any, key: str = key) -> Any:
            return next((o for o in found if f"{o.channel_no}/{o.service_class}" == key), None)

        yield _thing(SUPPLIER, key, words, of(there), of(given))


def _thing(kind: str, key: str, words: str, before: Any, after: Any) -> Thing:
    changes = [] if after is None else list(_changes(words, before, after))
    return Thing(kind, key, before is None, changes, words)


def _changes(words: str, before: Any, after: Any) -> Iterator[Change]:
    """The fields that the service says differ; of what is new those that say something."""
    for field in after.DESCRIPTOR.fields:
        new = getattr(after, field.name)
        if before is None:
            if shown := _shown(field.name, new):
                yield Change(_label(field.name), "", shown)
            continue
        column = _COLUMNS.get(field.name, re.escape(field.name))
        if re.search(rf"\b(?:{column})\b", words) is None:
            continue
        old = getattr(before, field.name)
        yield from _parts(field.name, old, new)


def _parts(name: str, old: Any, new: Any) -> Iterator[Change]:
    """A field, or of a map and of codes each of their keys that differs."""
    was, now = _keyed(name, old), _keyed(name, new)
    if was is None or now is None:
        before, after = _shown(name, old), _shown(name, new)
        if before != after:
            yield Change(_label(name), before, after)
        return
    for key in sorted({*was, *now}):
        if was.get(key, "") != now.get(key, ""):
            yield Change(f"{name} {key}", was.get(key, ""), now.get(key, ""))


def _keyed(name: str, value: Any) -> dict[str, str] | None:
    """A map or codes by their keys; None for any other value."""
    if name == "error_codes":
        return {one.error_code: f"{one.deal_code} {one.error_code_desc}".strip() for one in value}
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        return {key: str(one) for key, one in found.items()}
    return None


def _label(name: str) -> str:
    return name.removesuffix("_micros").removesuffix("_ppm")


def _shown(name: str, value: Any) -> str:
    """A value as a person reads it; nothing for what is not set."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if name.endswith("_micros"):
        return values.money(value) if value else ""
    if name.endswith("_ppm"):
        return values.ppm_percent(value) if value else ""
    if isinstance(value, str | int | float):
        return str(value) if value else ""
    keyed = _keyed(name, value)
    if keyed is not None:
        return ", ".join(f"{key}={one}" for key, one in sorted(keyed.items()))
    return ", ".join(map(str, value))


def with_code(one: delivery.Supplier, code: str, deal: int, desc: str) -> delivery.Supplier:
    """A supplier as it is, with one more code."""
    made = delivery.Supplier()
    made.CopyFrom(one)
    made.error_codes.add(error_code=code, deal_code=deal, error_code_desc=desc)
    return made
