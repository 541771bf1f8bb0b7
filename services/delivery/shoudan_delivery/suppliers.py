"""Supplier channels as this process knows them: configured, switched by operators, watched by breakers."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.exc import DBAPIError

from shoudan_delivery import events
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.credential_kinds import SUPPLIER
from shoudan_delivery.protocols import SPOKEN, templates
from shoudan_delivery.protocols.templates import checks
from shoudan_delivery.refusals import ChannelUnavailable, FieldInvalid
from shoudan_delivery.states import DealCode, ServiceClass, SupplierState
from shoudan_delivery.stock import PROTOCOL as STOCK
from shoudan_delivery.store import suppliers as store
from shoudan_delivery.store import unmapped as unmapped_store
from shoudan_delivery.store.rows import Supplier
from shoudan_delivery.store.unmapped import Unmapped
from shoudan_kit import log
from shoudan_kit.audit_log.bases import base_of, check_base
from shoudan_kit.audit_log.changes import Change, describe_changes
from shoudan_kit.audit_log.entries import describe
from shoudan_kit.credentials.live import LiveSecret, LiveSecrets
from shoudan_kit.db.pool import Database
from shoudan_kit.http.ssrf import Guard, UrlForbidden
from shoudan_kit.ids import IdMaker
from shoudan_kit.secrets import named_secret
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork

OPERATORS_STATES = frozenset({SupplierState.OPEN, SupplierState.SUSPENDED, SupplierState.HELD})
VOUCHERS = frozenset({ServiceClass.COUPON, ServiceClass.COUPON_RETURN})
NETWORKS_MAX = 50
EXT_PARAMS_BYTES_MAX = 4_000

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_QUEUE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_log = log.get_logger("suppliers")


class Suppliers:
    """All channels, reloaded about every second; `get` never waits."""

    def __init__(self, db: Database, settings: DeliverySettings, stored: LiveSecrets) -> None:
        """`stored` are the suppliers' credentials; they go before the named secrets."""
        self._db, self._settings, self._stored = db, settings, stored
        self._seen: dict[str, tuple[LiveSecret, ...]] = {}
        # What a channel signs with whose secret is nowhere: no signature fits, and no request is unsigned.
        self._missing = os.urandom(32)
        self._known: dict[tuple[str, int], Supplier] = {}
        self._version: store.Version | None = None
        self._watchers: list[Callable[[Supplier], None]] = []

    def get(self, channel_no: str, service_class: int) -> Supplier | None:
        """The channel as last seen."""
        return self._known.get((channel_no, service_class))

    def all(self) -> list[Supplier]:
        """Every channel."""
        return list(self._known.values())

    def note_used(self, credential_id: int) -> None:
        """A notify fitted this credential, or a call was signed with it; stored about once a minute."""
        self._stored.use(credential_id)

    def watch(self, watcher: Callable[[Supplier], None]) -> None:
        """Call `watcher` with every channel, and again with each that changes."""
        self._watchers.append(watcher)
        for one in self.all():
            watcher(one)

    def unwatch(self, watcher: Callable[[Supplier], None]) -> None:
        """Call `watcher` no more."""
        self._watchers.remove(watcher)

    async def refresh(self) -> None:
        """Reload the channels when one has changed."""
        async with self._db.connect() as db:
            version = await store.version(db)
            if version == self._version:
                return
            loaded = await store.load(db)
        self._version = version
        self.take(loaded)

    def take(self, loaded: Iterable[Supplier]) -> None:
        """Replace the known channels by these."""
        for bare in loaded:
            one = replace(
                bare,
                notify_url=bare.notify_url or self._notify_url(bare),
                **self._secrets(bare),
            )
            old = self._known.get(one.key)
            self._known[one.key] = one
            if old != one:
                for watcher in self._watchers:
                    watcher(one)

    def take_secrets(self) -> None:
        """Replace the secrets of the channels whose credentials in force are others than a moment ago."""
        for known in self.all():
            seen = self._seen.get(known.channel_no, ())
            if self._stored.of(SUPPLIER.name, known.channel_no) != seen:
                self.take([known])

    def _secrets(self, supplier: Supplier) -> dict[str, Any]:
        """What requests are signed with, and what else notifies may be; stored ones before the named one."""
        stored = self._stored.of(SUPPLIER.name, supplier.channel_no)
        self._seen[supplier.channel_no] = stored
        named = named_secret_of(supplier.secret_name, self._settings.secrets_dir)
        found = [*(one.secret.encode() for one in stored), *([named] if named else [])]
        if supplier.secret_name and not found:
            _log.error("secret_missing", secret_name=supplier.secret_name)
            found = [self._missing]
        return {
            "secret": found[0] if found else b"",
            "older_secrets": tuple(found[1:]),
            "credential_ids": tuple(one.credential_id for one in stored),
        }

    def _notify_url(self, supplier: Supplier) -> str:
        base = self._settings.public_url.rstrip("/")
        return f"{base}/vds/notify/{supplier.channel_no}/{supplier.service_class}"

    async def refresh_forever(self) -> None:
        """A background loop; a failed reload is retried."""
        while True:
            await asyncio.sleep(self._settings.suppliers_refresh_s)
            try:
                await self.refresh()
                self.take_secrets()
            except (DBAPIError, OSError, TimeoutError) as error:
                _log.warning("refresh_failed", error=type(error).__name__)


def named_secret_of(name: str, folder: str | None) -> bytes:
    """The secret a channel names; empty when it names none, or one that is nowhere."""
    return named_secret.text(name, Path(folder) if folder is not None else None).encode()


def _check_secrets(given: Iterable[Supplier], settings: DeliverySettings) -> None:
    """Refuses FieldInvalid for a demo secret in prod."""
    folder = Path(settings.secrets_dir) if settings.secrets_dir is not None else None
    for one in given:
        if named_secret.is_demo_of(settings.profile, one.secret_name, folder):
            raise FieldInvalid("secret_name", f"of {one.channel_no}: {named_secret.REFUSED}")


def _check(supplier: Supplier, guard: Guard) -> None:
    """Refuses FieldInvalid for a channel that could not work."""
    if not _NAME.fullmatch(supplier.channel_no):
        raise FieldInvalid("channel_no", "1 to 32 letters, digits, dots, dashes")
    if supplier.service_class not in set(ServiceClass):
        raise FieldInvalid("service_class", "one of 10, 20, 21, 30")
    _check_protocol(supplier, guard)
    if supplier.secret_name and not _NAME.fullmatch(supplier.secret_name):
        raise FieldInvalid("secret_name", "1 to 32 letters, digits, dots, dashes")
    if supplier.queue_name and not _QUEUE.fullmatch(supplier.queue_name):
        raise FieldInvalid("queue_name", "1 to 64 letters, digits, colons, dots, dashes")
    _check_notifies(supplier)
    if len(msgspec.json.encode(dict(supplier.ext_params))) > EXT_PARAMS_BYTES_MAX:
        raise FieldInvalid("ext_params", f"at most {EXT_PARAMS_BYTES_MAX} bytes as JSON")
    for name, low, high in (
        ("request_replenish_time_s", 1, 86_400),
        ("first_query_time_s", 0, 86_400),
        ("query_replenish_time_s", 1, 86_400),
        ("concurrency_max", 1, 10_000),
        ("timeout_s", 0.05, 300),
    ):
        if not low <= getattr(supplier, name) <= high:
            raise FieldInvalid(name, f"between {low} and {high}")


def _check_protocol(supplier: Supplier, guard: Guard) -> None:
    """One that is there, with what it needs: our own stock is asked again, and called nowhere."""
    known = sorted({*SPOKEN, STOCK})
    if supplier.protocol not in known:
        raise FieldInvalid("protocol", f"one of {', '.join(known)}")
    if (supplier.protocol == templates.NAME) != bool(supplier.template):
        raise FieldInvalid("template", "protocol template has one, every other has none")
    if supplier.delivers_cards and supplier.service_class not in VOUCHERS:
        raise FieldInvalid("delivers_cards", "only of service classes 20 and 21")
    if supplier.protocol != STOCK:
        _check_urls(supplier, guard)
        _check_codes(supplier)
        if supplier.template:
            _check_template(supplier, guard)
    elif not (supplier.delivers_cards and supplier.can_query):
        raise FieldInvalid("protocol", "stock needs delivers_cards and can_query")


def _check_template(supplier: Supplier, guard: Guard) -> None:
    for at, why in checks.problems(supplier):
        raise FieldInvalid(f"template.{at}" if at else "template", why[:200])
    for field, url in checks.urls(templates.parsed(supplier.template)).items():
        try:
            guard.parse(url)
        except UrlForbidden as forbidden:
            raise FieldInvalid(field, forbidden.reason) from None


def _check_notifies(supplier: Supplier) -> None:
    """Notifies must be verifiable: by a secret, a token or networks."""
    if len(supplier.notify_networks) > NETWORKS_MAX:
        raise FieldInvalid("notify_networks", f"at most {NETWORKS_MAX}")
    for network in supplier.notify_networks:
        try:
            ip_network(network)
        except ValueError:
            why = "networks such as 203.0.113.0/24, host bits zero"
            raise FieldInvalid("notify_networks", why) from None
    if supplier.notify_without_token and not (supplier.secret_name or supplier.notify_networks):
        why = "needs secret_name or notify_networks: else a notify of any sender would be believed"
        raise FieldInvalid("notify_without_token", why)
    if "#" in supplier.notify_url:
        raise FieldInvalid("notify_url", "no fragment: the token follows")


def _check_codes(supplier: Supplier) -> None:
    """All three kinds, as 000 §二.2.2 asks: without one of them no answer could ever mean it."""
    there = set(supplier.deal_codes.values())
    lacking = [f"{int(kind)} ({kind.name.lower()})" for kind in DealCode if kind not in there]
    if lacking:
        name = f"error_codes of {supplier.channel_no}/{supplier.service_class}"
        raise FieldInvalid(name, f"no code means {', '.join(lacking)}")


def _check_urls(supplier: Supplier, guard: Guard) -> None:
    """Names are resolved and checked with each connection."""
    called = {"request_url": supplier.request_url}
    if supplier.can_query:
        called["query_url"] = supplier.query_url
    for field, url in called.items():
        _check_url(field, url)
        try:
            guard.parse(url)
        except UrlForbidden as forbidden:
            raise FieldInvalid(field, forbidden.reason) from None
    if supplier.notify_url:
        _check_url("notify_url", supplier.notify_url)


def _check_url(field: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise FieldInvalid(field, "an http or https URL without a password")


@dataclass(frozen=True, slots=True)
class Applied:
    """What was changed, a line each, and the word for it."""

    changes: list[str]
    base: str


async def apply(
    app: App[DeliverySettings],
    known: Suppliers,
    given: Sequence[Supplier],
    *,
    dry_run: bool,
    base: str = "",
) -> Applied:
    """Make the channels given exactly so, states apart; a line for each change. Others stay.

    Refuses FieldInvalid before anything is changed; BaseMoved, with the base of a dry run that said
    something else.
    """
    _check_secrets(given, app.settings)
    async with app.work("delivery.apply") as work:
        rows = await _changed(work, given, app.settings.supplier_guard())
        exact = [_exact(new, old) for new, old in rows]
        check_base("suppliers", base, exact)
        if not dry_run:
            await _write(work, app.ids, rows)
        changes = [_difference(new, old) for new, old in rows]
        describe_changes("suppliers", len(given), changes)
    await known.refresh()
    return Applied([_line(one) for one in changes], base_of(exact))


async def _changed(
    work: UnitOfWork, given: Sequence[Supplier], guard: Guard
) -> list[tuple[Supplier, Supplier | None]]:
    """Those that are new or different, each with what there is of it."""
    for one in given:
        _check(one, guard)
    if len({one.key for one in given}) != len(given):
        raise FieldInvalid("suppliers", "a channel and service class is given twice")
    there = {one.key: one for one in await store.load(work.db)}
    changed = [(one, there.get(one.key)) for one in given]
    return [(new, old) for new, old in changed if old is None or _differing(new, old)]


async def _write(
    work: UnitOfWork, ids: IdMaker, rows: Sequence[tuple[Supplier, Supplier | None]]
) -> None:
    if not rows:
        return
    fresh = [replace(new, id=ids.next() if old is None else old.id) for new, old in rows]
    await store.upsert(work.db, fresh, ids.take(sum(len(row.deal_codes) for row in fresh)))
    if unwatched := [row for row in fresh if not templates.has_balance(row.template)]:
        await store.unwatch(work.db, unwatched)


_OWN = frozenset(
    {"id", "state", "state_reason", "tripped", "secret", "older_secrets", "credential_ids"}
    | {"balance_low", "balance_micros"}
)


def _names(supplier: Supplier) -> list[str]:
    return [f.name for f in fields(supplier) if f.name not in _OWN]


def _differing(new: Supplier, old: Supplier) -> list[str]:
    return [n for n in _names(new) if getattr(new, n) != getattr(old, n)]


def _difference(new: Supplier, old: Supplier | None) -> Change:
    """What differs of a channel, as the audit log has it."""
    thing = f"supplier {new.channel_no}/{new.service_class}"
    if old is None:
        return Change(thing, None, _facts(new, _names(new)))
    differing = _differing(new, old)
    return Change(thing, _facts(old, differing), _facts(new, differing))


def _exact(new: Supplier, old: Supplier | None) -> Change:
    """The same with every value: never stored, only compared."""
    before = None if old is None else {name: getattr(old, name) for name in _names(old)}
    after = {name: getattr(new, name) for name in _names(new)}
    return Change(f"supplier {new.channel_no}/{new.service_class}", before, after)


def _facts(supplier: Supplier, names: Sequence[str]) -> dict[str, object]:
    """Fields as the audit log has them: of a protocol's own parameters, which may be keys, only names."""
    made: dict[str, object] = {name: getattr(supplier, name) for name in names}
    if "ext_params" in made:
        made["ext_params"] = sorted(supplier.ext_params)
    if made.get("template"):  # long, and texts of it may be keys, too
        made["template"] = sha256(supplier.template.encode()).hexdigest()[:16]
    return made


def _line(one: Change) -> str:
    return f"{one.thing}: {'added' if one.before is None else ', '.join(one.after)}"


async def stored(app: App[DeliverySettings]) -> list[Supplier]:
    """All channels with their states, as the database has them now."""
    async with app.db.connect() as db:
        return list(await store.load(db))


async def unmapped(app: App[DeliverySettings], channel_no: str) -> list[Unmapped]:
    """Codes that came and that nothing explains, of one channel or of all."""
    async with app.db.connect() as db:
        return await unmapped_store.listed(db, channel_no)


async def set_state(
    app: App[DeliverySettings],
    known: Suppliers,
    key: tuple[str, int],
    state: SupplierState,
    by: str,
    reason: str,
) -> list[Supplier]:
    """An operator's switch of a channel, service class 0 for all; those switched, as they are now.

    Refuses FieldInvalid, and ChannelUnavailable for none.
    """
    if state not in OPERATORS_STATES:
        raise FieldInvalid("state", "OPEN, SUSPENDED or HELD")
    channel_no, service_class = key
    words = f"{by or 'unknown'}: {reason}"[:256]
    async with app.work("delivery.set_state") as work:
        before = {str(one.key): one.state.name for one in await store.load(work.db)}
        switched = await store.set_state(work.db, channel_no, service_class, state, words)
        if not switched:
            raise ChannelUnavailable(channel_no, service_class)
        found = [
            one
            for one in await store.load(work.db)
            if one.channel_no == channel_no and one.service_class in switched
        ]
        was = {key: state for key, state in before.items() if key in {str(f.key) for f in found}}
        describe("supplier", channel_no, was, {str(one.key): one.state.name for one in found})
        for one in found:
            events.switched(work, one, state, one.state_reason)
    await known.refresh()
    return found
