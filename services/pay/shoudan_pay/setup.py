"""A configuration of accounts, ways of paying and packages, made in one transaction or rehearsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from shoudan_kit.audit_log.changes import Change, describe_changes
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import accounts, events
from shoudan_pay.ledger.chain_hash import Stamp, stamp_of
from shoudan_pay.ledger.entries import Account, Key, PackageKey, Posting
from shoudan_pay.ledger.group_commit import post
from shoudan_pay.ledger.packages import EXPIRES_NEVER
from shoudan_pay.ledger.refusals import AccountNotFound
from shoudan_pay.ledger.states import About, AccountStatus, ChangeType, TradeType
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import packages as package_store
from shoudan_pay.ledger.store import records as record_store
from shoudan_pay.ledger.store.accounts import AccountChange, NewAccount
from shoudan_pay.payserver import numbers
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.modes import BARE, Given, changes_of, check_terms, facts_of, under
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store.modes import Terms
from shoudan_pay.refusals import FieldInvalid

OPENING: Final = "opening"  # trade number of an account's opening balance: one for ever


@dataclass(frozen=True, slots=True)
class Changed:
    """What a configuration changed: in lines and by thing, and how much money that is about."""

    lines: list[str]
    changes: list[Change]
    amount_micros: int | None


class _DryRun(Exception):
    """Rolls a rehearsal back."""


@dataclass(frozen=True, slots=True)
class Keeps:
    """What an account that is there keeps, for the configuration does not name it."""

    name: bool
    credit: bool


@dataclass(frozen=True, slots=True)
class WantedAccount:
    """One account as it shall be; `locked` None keeps the lock, of a new account it is open."""

    new: NewAccount
    keeps: Keeps
    locked: bool | None
    opening_micros: int

    @property
    def opening(self) -> Posting:
        """The posting of its opening balance."""
        return Posting(
            account=self.new.key,
            trade_no=OPENING,
            change_type=int(ChangeType.ADD),
            trade_type=int(TradeType.TRADE),
            amount_micros=self.opening_micros,
            memo="opening balance",
            about=int(About.MANUAL),
        )


@dataclass(frozen=True, slots=True)
class WantedPackage:
    """One package as it shall be."""

    key: PackageKey
    name: str
    total_capacity: int
    capacity_daily: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """What shall be there; templates by their payTemplateId."""

    accounts: Sequence[WantedAccount]
    templates: Mapping[str, Given]
    packages: Sequence[WantedPackage]


async def apply(
    app: App[PaySettings], components: Components, wanted: Configuration, *, dry_run: bool
) -> list[str]:
    """Make everything as given, or only list what would change: one line each.

    Repeats: nothing changes. Raises FieldInvalid, AccountNotFound, and what postings refuse.
    """
    await check_templates(components, wanted)
    lines: list[str] = []
    try:
        async with app.work("setup") as work:
            made = await apply_in(work, wanted, stamp_of(app.settings))
            lines += made.lines
            describe_changes("setup", "", made.changes)
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return lines


async def check_templates(components: Components, wanted: Configuration) -> None:
    """Resolve the names of templates, which is done before the transaction. Raises FieldInvalid."""
    for given in wanted.templates.values():
        await check_terms(components, given(BARE))


async def apply_in(work: UnitOfWork, wanted: Configuration, stamp: Stamp) -> Changed:
    """Make everything as given inside a transaction of the caller's."""
    moved = await _apply_accounts(work, wanted.accounts, stamp)
    templates = await _apply_templates(work, wanted.templates)
    packages = await _apply_packages(work, wanted.packages)
    amount = None if packages.lines else moved.amount_micros  # capacity is no money: no amount
    parts = (moved, templates, packages)
    return Changed(
        [line for part in parts for line in part.lines],
        [change for part in parts for change in part.changes],
        amount,
    )


async def _apply_accounts(
    work: UnitOfWork, wanted: Sequence[WantedAccount], stamp: Stamp
) -> Changed:
    """Missing accounts are made, the others changed; openings are posted before a lock shuts them out."""
    if not wanted:
        return Changed([], [], 0)
    new = await account_store.create(work.db, [one.new for one in wanted])
    there = await account_store.lock(work.db, [one.new.key for one in wanted])
    lines = [f"account {_shown(one.new.key)}: new" for one in wanted if one.new.key in new]
    opening = await _unopened(work, wanted, there)
    unlocked = [one for one in opening if there[one.new.key].locked and one.locked is False]
    normal = int(AccountStatus.NORMAL)
    await account_store.update(
        work.db, [AccountChange(there[one.new.key].account_id, status=normal) for one in unlocked]
    )
    answer = await post(work, [[one.opening] for one in opening], stamp)
    for decision in answer.decisions:
        if decision.refusal is not None:
            raise decision.refusal
    lines += [
        f"account {_shown(one.new.key)}: opening {micros_to_yuan(one.opening_micros)}"
        for one in opening
    ]
    differing = {one.new.key: _difference(there[one.new.key], one) for one in wanted}
    differing = {key: change for key, change in differing.items() if change != accounts.Change()}
    if differing:
        for account in await accounts.change(work.db, differing):
            events.account_changed(work.events, account)
    lines += [
        f"account {_shown(key)}: {word}"
        for key, change in differing.items()
        for word in _words(change)
    ]
    given = [one.new.credit_micros for one in wanted if one.new.key in new]
    given += [abs(one.credit_micros or 0) for one in differing.values()]
    opened = {one.new.key: one.opening_micros for one in opening}
    changes = [
        change
        for one in wanted
        if (
            change := _account_change(one, None if one.new.key in new else there, differing, opened)
        )
    ]
    return Changed(lines, changes, sum(given) + sum(abs(one) for one in opened.values()))


def _account_change(
    one: WantedAccount,
    there: Mapping[Key, Account] | None,
    differing: Mapping[Key, accounts.Change],
    opened: Mapping[Key, int],
) -> Change | None:
    """What is changed of an account that is `there`, or all of a new one; None when nothing is."""
    key, thing = one.new.key, f"account {_shown(one.new.key)}"
    opening = {"opening_micros": opened[key]} if key in opened else {}
    if there is None:
        new = {
            "name": one.new.name,
            "credit_micros": one.new.credit_micros,
            "locked": bool(one.locked),
        }
        return Change(thing, None, new | opening)
    wanted = asdict(differing.get(key, accounts.Change()))
    after = {name: value for name, value in wanted.items() if value is not None}
    before = {name: getattr(there[key], name) for name in after} | dict.fromkeys(opening, 0)
    return Change(thing, before, after | opening) if before else None


async def _unopened(
    work: UnitOfWork, wanted: Sequence[WantedAccount], there: dict[Key, Account]
) -> list[WantedAccount]:
    """Those whose opening is still to be posted. Refuses another amount than the one posted."""
    change, trade = int(ChangeType.ADD), int(TradeType.TRADE)
    opened = {
        (there[one.new.key].account_id, OPENING, trade, change): one
        for one in wanted
        if one.opening_micros
    }
    known = await record_store.by_key(work.db, opened) if opened else {}
    for key, record in known.items():
        one = opened[key]
        if record.amount_micros != one.opening_micros:
            raise FieldInvalid(
                f"account {_shown(one.new.key)}",
                f"was opened with {micros_to_yuan(record.amount_micros)} 元, which cannot change to "
                f"{micros_to_yuan(one.opening_micros)}; post an add or a drawing instead",
            )
    return [one for key, one in opened.items() if key not in known]


def _difference(account: Account, one: WantedAccount) -> accounts.Change:
    """Name, credit and lock of an account that is there, where they are not as they shall be."""
    return accounts.Change(
        one.new.name if not one.keeps.name and account.name != one.new.name else None,
        one.new.credit_micros
        if not one.keeps.credit and account.credit_micros != one.new.credit_micros
        else None,
        one.locked if one.locked is not None and account.locked != one.locked else None,
    )


def _words(change: accounts.Change) -> list[str]:
    name, credit, lock = change.name, change.credit_micros, change.locked
    return [
        *([f"name {name}"] if name is not None else []),
        *([f"credit {micros_to_yuan(credit)}"] if credit is not None else []),
        *(["locked" if lock else "unlocked"] if lock is not None else []),
    ]


async def _apply_templates(work: UnitOfWork, given: Mapping[str, Given]) -> Changed:
    """Written only when something changes, so that modifiedAt keeps its meaning."""
    made = Changed([], [], None)
    if not given:
        return made
    there = await mode_store.templates_by_id(work.db, given)
    changed: dict[str, tuple[str, Terms]] = {}
    for template_id, terms_over in given.items():
        known = there.get(template_id)
        terms = terms_over(under(known))
        found = changes_of(known, terms)
        thing = f"pay mode template {template_id}"
        if found:
            changed[template_id] = numbers.new_uuid(), terms
            made.changes.append(Change(thing, *facts_of(known, terms)))
        made.lines.extend(f"{thing}: {change}" for change in found)
    if changed:
        await mode_store.register(work.db, changed)
    return made


async def _apply_packages(work: UnitOfWork, wanted: Sequence[WantedPackage]) -> Changed:
    """Missing packages are made; one given twice is made once, as it was given first."""
    given: dict[PackageKey, WantedPackage] = {}
    for one in wanted:
        given.setdefault(one.key, one)
    if not given:
        return Changed([], [], None)
    owners = await account_store.by_key(work.db, {key for key, _ in given})
    new: dict[tuple[int, str], PackageKey] = {}
    rows: list[package_store.NewPackage] = []
    for (key, spkg_id), one in given.items():
        if key not in owners:
            raise AccountNotFound(*key)
        number = owners[key].account_id
        new[number, spkg_id] = key, spkg_id
        rows.append(
            package_store.NewPackage(
                number, spkg_id, one.name, one.total_capacity, one.capacity_daily, EXPIRES_NEVER
            )
        )
    made = await package_store.create(work.db, rows)
    changes = [_package_change(given[key]) for at, key in new.items() if at in made]
    return Changed([f"{one.thing}: new" for one in changes], changes, None)


def _package_change(one: WantedPackage) -> Change:
    key, spkg_id = one.key
    after = asdict(one)
    del after["key"]
    return Change(f"package {_shown(key)}/{spkg_id}", None, after)


def _shown(key: Key) -> str:
    return "/".join(key)
