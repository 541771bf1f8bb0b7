"""Changing and loading the catalogue: checked whole, written in one transaction, refreshed by version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_network
from typing import Any, Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import log
from shoudan_kit.audit_log.bases import base_of, check_base
from shoudan_kit.audit_log.changes import Change, describe_changes, lines_of
from shoudan_kit.db.errors import taken
from shoudan_kit.http.ssrf import opened
from shoudan_kit.secrets import named_secret
from shoudan_kit.secrets.public_keys import key_of
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events
from shoudan_order.catalogue import endpoints, losses, price_rules, routing, shelves
from shoudan_order.catalogue.channel_versions import pinned
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import (
    Canton,
    DownChannel,
    DownProduct,
    DownShelf,
    Line,
    NotifyEndpoint,
    RoutePolicy,
    UpChannel,
    UpProduct,
    UpShelf,
)
from shoudan_order.config import OrderSettings
from shoudan_order.context import Context
from shoudan_order.delivery_client import VOUCHER
from shoudan_order.endpoint_events import owe_shelves
from shoudan_order.refusals import CatalogueInvalid
from shoudan_order.states import LossRule, YesNo, yes_no
from shoudan_order.store import catalogue as store
from shoudan_order.tables import QUEUES
from shoudan_signing import goofish

_log = log.get_logger("catalogue")

# In the order in which rows refer to each other.
TYPES: Final[dict[str, tuple[type[Any], str]]] = {
    "lines": (Line, "line_id"),
    "down_channels": (DownChannel, "channel_no"),
    "down_shelves": (DownShelf, "shelf_id"),
    "down_products": (DownProduct, "product_id"),
    "up_channels": (UpChannel, "channel_no"),
    "up_shelves": (UpShelf, "shelf_id"),
    "up_products": (UpProduct, "product_id"),
    "cantons": (Canton, "canton_code"),
    "notify_endpoints": (NotifyEndpoint, "endpoint_no"),
}
# Where our names differ from the documented columns.
_COLUMN: Final = {
    "enabled": "status",
    "order_overtime_s": "order_overtime",
    "refund_overtime_s": "refund_overtime",
    "delivery_overtime_s": "delivery_overtime",
    "return_overtime_s": "return_overtime",
}
_YES_NO: Final = {"enabled", "can_refund", "can_split_order", "can_package_delivery"}
_NETWORKS: Final = ("allowed_networks", "notify_networks")
_LISTS: Final = {*_NETWORKS, "forbid_supplier_classes", "shelf_events", "events"}
# How a channel's calls are signed. FORGEABLE: by anyone, or by who breaks MD5.
FORGEABLE: Final = frozenset({"", "none", "md5", goofish.SCHEME})
AUTH_MODES: Final = FORGEABLE | {"hmac2", "hmac-sha256-v2", "hmac", "hmac-sha256"}
CALLS_MAX: Final = 1_000_000  # a second, or in flight: more is a mistake
ROWS_MAX: Final = 100_000
QUEUE_CHARS_MAX: Final = 64
CLASSES_MAX: Final = 16  # risk classes of suppliers that one line forbids


@dataclass(frozen=True, slots=True)
class Applied:
    """What a change changed, one line each, the version after it, and what its owner should look at."""

    changes: list[str]
    version: int
    warnings: list[str] = field(default_factory=list[str])
    base: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to upsert, by kind."""

    of: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])


def to_columns(row: Any) -> dict[str, Any]:
    """A row as its table has it: documented names and numbers."""
    made: dict[str, Any] = {}
    for one in fields(row):
        value = getattr(row, one.name)
        if one.name == "queues":
            made |= {name: value.get(name) or default for name, (default, _) in QUEUES.items()}
        elif one.name in _YES_NO:
            made[_COLUMN.get(one.name, one.name)] = yes_no(value)
        elif one.name in _LISTS:
            made[one.name] = list(value)
        else:
            made[_COLUMN.get(one.name, one.name)] = value
    return made


def of_columns(kind: str, row: Mapping[str, Any]) -> Any:
    """The row of a table as ours."""
    made: dict[str, Any] = {}
    for one in fields(TYPES[kind][0]):
        if one.name == "queues":
            made["queues"] = {name: row[name] for name in QUEUES}
            continue
        value = row[_COLUMN.get(one.name, one.name)]
        if one.name in _YES_NO:
            value = value == YesNo.YES
        elif one.name in _LISTS:
            value = tuple(value)
        made[one.name] = value
    return TYPES[kind][0](**made)


async def load(db: AsyncConnection) -> Catalogue:
    """The catalogue as it is stored."""
    version = await store.catalogue_version(db)
    made = {
        kind: {row[key]: of_columns(kind, row) for row in await store.read_kind(db, kind)}
        for kind, (_, key) in TYPES.items()
    }
    return Catalogue(version=version, **made)


async def _newer(db: AsyncConnection, base: Catalogue) -> Catalogue:
    """The newest catalogue: `base` with the rows changed since, or read whole when these are not known."""
    await store.one_state(db)
    keys = await store.changed_since(db, base.version) if base.version else None
    if keys is None:
        return await load(db)
    version = await store.catalogue_version(db)
    rows = {kind: await store.read_kind(db, kind, ones) for kind, ones in keys.items()}
    given = {kind: [of_columns(kind, row) for row in ones] for kind, ones in rows.items()}
    newer = replace(merged(base, Rows(given)), version=version)
    newer.index_from(
        base, {kind: [getattr(row, TYPES[kind][1]) for row in ones] for kind, ones in given.items()}
    )
    return newer


async def changed_since(context: Context, known: int) -> Catalogue | None:
    """Of the newest catalogue the rows changed since a version; None when these are not known."""
    await refresh(context)
    now = context.catalogue
    if known == now.version:
        return Catalogue(version=known)
    if not 0 < known < now.version:
        return None
    async with context.app.db.connect() as db:
        keys = await store.changed_since(db, known)
    if keys is None:
        return None
    changed = {
        kind: {one: getattr(now, kind)[one] for one in ones if one in getattr(now, kind)}
        for kind, ones in keys.items()
    }
    return Catalogue(version=now.version, **changed)


async def refresh(context: Context) -> None:
    """Load the newest version, if it is not loaded: what changed since the one that is."""
    async with context.app.db.connect() as db:
        if await store.catalogue_version(db) == context.catalogue.version and context.known.loaded:
            return
    async with context.app.db.connect() as db:
        loaded = await _newer(db, context.catalogue)
    _ = loaded.index  # built before it is used
    context.known.catalogue, context.known.loaded = loaded, True
    _log_unsigned(context)
    _log.info("catalogue_loaded", version=loaded.version, products=len(loaded.down_products))


def _log_unsigned(context: Context) -> None:
    """Log channels whose named secret is missing: their notifies go out unsigned."""
    for channel in context.catalogue.down_channels.values():
        if channel.secret_name and not context.notify_secrets(channel):
            _log.error(
                "secret_missing",
                channel_no=channel.channel_no,
                secret_name=channel.secret_name,
            )


async def poll(context: Context) -> None:
    """Refresh every catalogue_poll_s, for versions that other processes made."""
    while True:
        await asyncio.sleep(context.settings.catalogue_poll_s)
        await refresh(context)


async def apply(
    context: Context, given: Rows, by: str, *, dry_run: bool, base: str = ""
) -> Applied:
    """Upsert the given rows; other rows are left unchanged. Repeats change nothing.

    New channels get their three ledger accounts before the change is committed: a channel is never
    there without them. Refuses: CatalogueInvalid, naming the first contradiction; BaseMoved, with the base
    of a dry run that said something else.
    """
    _refuse_demo_secrets(context.settings, given)
    async with context.app.db.connect() as db:
        now = await load(db)
    given = Rows(pinned(now, given.of))
    after = merged(now, given)
    check(after, given)
    check_signing(now, given)
    warnings = await asyncio.to_thread(losses.warnings, after)
    found = list(differences(now, given))
    changes, made = lines_of(found), base_of(found)
    if dry_run or not changes:
        check_base("catalogue", base, found)
        return Applied(changes, now.version, warnings, made)
    await open_accounts(context, given)
    try:
        changes, version = await _write(context, given, by, base)
    except IntegrityError as error:
        if not taken(error):
            raise
        why = "two products exchange what tells them apart: change one of them first"
        raise CatalogueInvalid("products", why) from None
    await refresh(context)
    return Applied(changes, version, warnings, made)


async def _write(context: Context, given: Rows, by: str, base: str) -> tuple[list[str], int]:
    async with context.app.work("catalogue.apply") as work:
        changes, version = await write(context, work, given, by, base)
        describe_changes("catalogue", version, changes)
    return lines_of(changes), version


async def write(
    context: Context, work: UnitOfWork, given: Rows, by: str, base: str = ""
) -> tuple[list[Change], int]:
    """Upsert the given rows inside a transaction of the caller's; the changes and the new version.

    Row by row: a unique key is taken while its other holder still has it. Refuses CatalogueInvalid,
    BaseMoved.
    """
    _refuse_demo_secrets(context.settings, given)
    # The version is the writers' lock: what was read before it may be another writer's past.
    version = await store.raise_version(work.db)
    now = await load(work.db)
    given = Rows(pinned(now, given.of))
    after = merged(now, given)
    check(after, given)
    check_signing(now, given)
    changes = list(differences(now, given))
    check_base("catalogue", base, changes)
    changed = {kind: list(_changed(now, kind, given)) for kind in TYPES}
    for kind, rows in changed.items():
        await store.write_kind(work.db, kind, [to_columns(row) for row in rows])
    keys = {kind: [getattr(row, TYPES[kind][1]) for row in rows] for kind, rows in changed.items()}
    owe_shelves(context, work, version, await shelves.note(work, version, now, after, keys))
    await store.record(
        work.db,
        store.Operation(
            work.ids.next(), by, "catalogue.apply", "catalogue", lines_of(changes), version
        ),
    )
    events.catalogue_event(work, version, by)
    return changes, version


def _refuse_demo_secrets(settings: OrderSettings, given: Rows) -> None:
    for channel in given.of.get("down_channels", ()):
        if named_secret.is_demo_of(settings.profile, channel.secret_name, settings.secrets_dir):
            why = f"secret_name: {named_secret.REFUSED}"
            raise CatalogueInvalid(f"down_channels {channel.channel_no}", why)


async def open_accounts(context: Context, given: Rows) -> None:
    for side in ("down", "up"):
        channels = [(c.channel_no, c.channel_name) for c in given.of.get(f"{side}_channels", ())]
        if channels:
            await context.pay_client.create_accounts(side, channels)


def merged(now: Catalogue, given: Rows) -> Catalogue:
    """The catalogue as it would be."""
    return Catalogue(
        version=now.version,
        **{
            kind: {**getattr(now, kind), **{getattr(r, key): r for r in given.of.get(kind, ())}}
            for kind, (_, key) in TYPES.items()
        },
    )


def _changed(now: Catalogue, kind: str, given: Rows) -> Iterator[Any]:
    key = TYPES[kind][1]
    for row in given.of.get(kind, ()):
        there = getattr(now, kind).get(getattr(row, key))
        if there is None or to_columns(there) != to_columns(row):
            yield row


def differences(now: Catalogue, given: Rows) -> Iterator[Change]:
    """Each row that is new or different."""
    for kind, (_, key) in TYPES.items():
        for row in _changed(now, kind, given):
            name = f"{kind} {getattr(row, key)}"
            there, new = getattr(now, kind).get(getattr(row, key)), to_columns(row)
            if there is None:
                yield Change(name, None, new)
                continue
            old = to_columns(there)
            differing = [column for column in new if new[column] != old[column]]
            yield Change(name, {c: old[c] for c in differing}, {c: new[c] for c in differing})


def check(after: Catalogue, given: Rows) -> None:
    """Refuse a catalogue that contradicts itself."""
    for kind, rows in given.of.items():
        if len(rows) > ROWS_MAX:
            raise CatalogueInvalid(kind, f"more than {ROWS_MAX} rows")
        _no_repeats(kind, [getattr(row, TYPES[kind][1]) for row in rows])
    for kind, row in ((k, r) for k in TYPES for r in given.of.get(k, ())):
        where = f"{kind} {getattr(row, TYPES[kind][1])}"
        for problem in _problems(after, row):
            raise CatalogueInvalid(where, problem)
    _no_twins(after.down_products.values(), "down_products")
    _no_twins(after.up_products.values(), "up_products")


def check_signing(now: Catalogue, given: Rows) -> None:
    """Refuse a channel whose calls anyone could make; one that calls as it did before is left alone."""
    for row in _changed(now, "down_channels", given):
        there = now.down_channels.get(row.channel_no)
        if not row.enabled or (there is not None and _way_in(there) == _way_in(row)):
            continue
        where = f"down_channels {row.channel_no}"
        mode = row.auth_mode.lower()
        if mode not in AUTH_MODES:
            raise CatalogueInvalid(where, f"auth_mode {row.auth_mode!r} is not known")
        named = [one for one in row.allowed_networks if ip_network(one).prefixlen]
        if mode in FORGEABLE and (not named or len(named) < len(row.allowed_networks)):
            why = f"auth_mode {mode or 'none'} is for channels with allowed_networks of their own"
            raise CatalogueInvalid(where, f"{why}; hmac2 is for all others")


def _way_in(row: DownChannel) -> tuple[Any, ...]:
    return row.enabled, row.auth_mode, row.allowed_networks


def _no_repeats(kind: str, keys: Sequence[Any]) -> None:
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            raise CatalogueInvalid(f"{kind} {key}", "given twice")
        seen.add(key)


def _no_twins(products: Iterable[DownProduct | UpProduct], kind: str) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for p in products:
        key = (p.shelf_id, p.line_id, p.carrier_no, p.province_no, p.city_no, p.face_micros,
               p.invoice_type, p.can_refund)  # fmt: skip
        other = seen.setdefault(key, p.product_id)
        if other != p.product_id:
            raise CatalogueInvalid(f"{kind} {p.product_id}", f"the same product as {other}")


def _problems(after: Catalogue, row: Any) -> Iterator[str]:
    kind: type[Any] = row.__class__
    check_row: Callable[[Catalogue, Any], Iterator[str]] | None = _CHECKS.get(kind)
    if check_row is not None:
        yield from check_row(after, row)


def _line(after: Catalogue, row: Line) -> Iterator[str]:
    if row.line_id < 1:
        yield "line_id is not a positive number"
    if row.service_class not in {10, 20, 30}:
        yield "service_class is not 10, 20 or 30"
    if row.loss_rule not in set(LossRule):
        yield "loss_rule is not allow, park or refuse"
    yield from _route(after, row)
    yield from _classes(row)
    if row.require_carrier_serial and row.service_class == VOUCHER:
        yield "require_carrier_serial is not for vouchers (service_class 20), which prove themselves"
    for name, value in row.queues.items():
        if name not in QUEUES:
            yield f"{name} is not a queue column"
        if not 0 < len(value) <= QUEUE_CHARS_MAX:
            yield f"{name} is empty or too long"


def _route(after: Catalogue, row: Line) -> Iterator[str]:
    """What is wrong with how a line chooses its suppliers."""
    if row.route_policy not in set(RoutePolicy):
        yield "route_policy is not cheapest, weighted or outcome"
    for channel_no, weight in row.route_weights.items():
        if channel_no not in after.up_channels:
            yield f"route_weights: {channel_no!r} is not a supplier"
        if not 0 <= weight <= routing.WEIGHT_MAX:
            yield f"route_weights: {channel_no!r} is not 0 to {routing.WEIGHT_MAX}"
    if row.route_policy == RoutePolicy.WEIGHTED and not any(row.route_weights.values()):
        yield "route_weights has no supplier with a weight, which weighted needs"
    for name, value in row.route_terms.items():
        if name not in routing.TERMS:
            yield f"route_terms: {name!r} is not one of {', '.join(routing.TERMS)}"
            continue
        least, most, _ = routing.TERMS[name]
        if not least <= value <= most:
            yield f"route_terms: {name} is not {least} to {most}"


def _classes(row: Line) -> Iterator[str]:
    """What is wrong with the classes of suppliers that a line forbids."""
    if len(row.forbid_supplier_classes) > CLASSES_MAX:
        yield f"forbid_supplier_classes has more than {CLASSES_MAX}"
    for one in row.forbid_supplier_classes:
        if not one or not _is_class(one):
            yield f"forbid_supplier_classes: {one!r} is not a class of suppliers"


def _is_class(text: str) -> bool:
    """One word, so that what a line forbids cannot miss a supplier by a blank; empty for none."""
    return len(text) <= 32 and text.isprintable() and not any(map(str.isspace, text))


def _channel(_: Catalogue, row: DownChannel | UpChannel) -> Iterator[str]:
    if not row.channel_no or len(row.channel_no) > 32 or not row.channel_no.isprintable():
        yield "channel_no is empty, too long or not printable"
    if isinstance(row, UpChannel) and not _is_class(row.risk_class):
        yield "risk_class is not one word of at most 32 characters"
    yield from (*price_rules.problems(row), *shelves.problems(row))
    for name in ("rate_per_s", "calls_max"):
        if not 0 <= getattr(row, name, 0) <= CALLS_MAX:
            yield f"{name} is not 0 to {CALLS_MAX}"
    if key := getattr(row, "card_key", ""):
        try:
            key_of(key)
        except ValueError:
            yield "card_key is not an X25519 public key: 32 bytes in base64"
    for name in _NETWORKS:
        for network in getattr(row, name, ()):
            try:
                opened(network) if name == "notify_networks" else ip_network(network)
            except ValueError:
                yield f"{name}: {network!r} is not a network"


def _shelf(after: Catalogue, row: DownShelf | UpShelf) -> Iterator[str]:
    down = isinstance(row, DownShelf)
    if row.channel_no not in (after.down_channels if down else after.up_channels):
        yield f"channel_no {row.channel_no!r} is not there"
    waits = (
        (row.order_overtime_s, row.refund_overtime_s)
        if isinstance(row, DownShelf)
        else (row.delivery_overtime_s, row.return_overtime_s)
    )
    if min(waits) < 1 or max(waits) > 30 * 86_400:
        yield "an overtime is not between a second and thirty days"


def _product(after: Catalogue, row: DownProduct | UpProduct) -> Iterator[str]:
    yield from price_rules.problems(row)
    down = isinstance(row, DownProduct)
    if row.shelf_id not in (after.down_shelves if down else after.up_shelves):
        yield f"shelf_id {row.shelf_id} is not there"
    if row.line_id not in after.lines:
        yield f"line_id {row.line_id} is not there"
    if row.face_micros <= 0 or row.face_micros % 10:
        yield "face is not a positive amount of at most five decimals"
    if not 1 <= row.limit_count <= 1_000:
        yield "limit_count is not 1 to 1000"
    if row.invoice_type not in ({0, 1, 2} if down else {1, 2}):
        yield "invoice_type is not documented"
    if any(getattr(row, f.name) < 0 for f in fields(row) if f.name.endswith("_ppm")):
        yield "a discount is below zero"
    if not (row.carrier_no and row.province_no and row.city_no):
        yield "carrier, province and city are not empty ('*' for any)"
    if isinstance(row, DownProduct) and not 0 <= row.split_order_face_micros <= row.face_micros:
        yield "split_order_face is not between 0 and the face"


_CHECKS: Final[dict[type[Any], Any]] = {
    Line: _line, DownChannel: _channel, UpChannel: _channel, DownShelf: _shelf, UpShelf: _shelf,
    DownProduct: _product, UpProduct: _product, NotifyEndpoint: endpoints.problems,
}  # fmt: skip
