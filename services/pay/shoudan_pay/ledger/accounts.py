"""Accounts: made once, renamed, given credit, locked - and watched for running low."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.audit_log.entries import describe
from shoudan_kit.db.pages import Asked, Page
from shoudan_kit.db.pool import retry
from shoudan_kit.money import MICROS_MAX, STEP
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import events
from shoudan_pay.ledger.entries import PLATFORM, Account, Alert, Crossing, Key
from shoudan_pay.ledger.refusals import AccountLocked, AccountNotFound
from shoudan_pay.ledger.states import ACCOUNT, AccountEvent, AccountStatus
from shoudan_pay.ledger.store import accounts as store
from shoudan_pay.ledger.store import records as record_store
from shoudan_pay.ledger.store.accounts import AccountChange, NewAccount, Spent, Watched
from shoudan_pay.refusals import AmountInvalid, FieldInvalid

ALERTS_MAX = 16
SPENT_S = 86_400
SPENT_RECORDS_MAX = 100_000  # read to say what left an account


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of an account; None stays as it is."""

    name: str | None = None
    credit_micros: int | None = None
    locked: bool | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A requested account, and whether it was there before."""

    account: Account
    existed: bool


def check_new(account: NewAccount) -> None:
    """Refuse what cannot be an account: AmountInvalid, FieldInvalid."""
    if account.groups == PLATFORM:
        raise FieldInvalid("groups", "platform accounts come with the accounts they face")
    check_credit(account.credit_micros)


def check_credit(credit_micros: int) -> None:
    """Credit is zero or more, at most five decimals of a yuan: AmountInvalid."""
    if credit_micros % STEP or not 0 <= credit_micros <= MICROS_MAX:
        raise AmountInvalid(credit_micros)


async def create(db: AsyncConnection, wanted: Sequence[NewAccount]) -> list[Made]:
    """Make accounts; those that exist are given back as they are. In the order asked."""
    if not wanted:
        return []
    new = await store.create(db, wanted)
    found = await store.by_key(db, {a.key for a in wanted})
    made: list[Made] = []
    for one in wanted:
        made.append(Made(found[one.key], one.key not in new))
        new.discard(one.key)  # named twice: the second finds it there
    return made


async def get(db: AsyncConnection, key: Key) -> Account:
    """One account. Refuses: AccountNotFound."""
    found = await store.by_key(db, [key])
    if key not in found:
        raise AccountNotFound(*key)
    return found[key]


async def change(db: AsyncConnection, wanted: Mapping[Key, Change]) -> list[Account]:
    """Change name, credit or lock of accounts, which stay locked to the end of the transaction.

    All or none; as they are now, in the order given. Credit may fall below a debt; only spending is then
    refused. Refuses: AccountNotFound, AccountLocked (a credit for an account that is and stays locked),
    AmountInvalid, FieldInvalid.
    """
    there = await _all_locked(db, wanted)
    now = [_changed(there[key], one) for key, one in wanted.items()]
    for one in now:
        describe("account", "/".join(one.key), _facts(there[one.key]), _facts(one))
    await store.update(
        db,
        [
            AccountChange(
                account.account_id,
                one.name,
                one.credit_micros,
                _status(there[account.key], locked=account.locked),
            )
            for account, one in zip(now, wanted.values(), strict=True)
        ],
    )
    return now


def _facts(account: Account) -> dict[str, object]:
    """What of an account can be changed, for the audit log."""
    return {
        "name": account.name,
        "credit_micros": account.credit_micros,
        "locked": account.locked,
    }


def _status(was: Account, *, locked: bool) -> int:
    """The status to store; one that is as wanted already stays."""
    status = AccountStatus.LOCKED if was.locked else AccountStatus.NORMAL
    event = AccountEvent.LOCKED if locked else AccountEvent.UNLOCKED
    moved = ACCOUNT.moved(status, event)
    return int(status if moved is None else moved)  # NORMAL is 0


def _changed(account: Account, wanted: Change) -> Account:
    locked = account.locked if wanted.locked is None else wanted.locked
    if wanted.credit_micros is not None:
        check_credit(wanted.credit_micros)
        if locked and account.locked:
            raise AccountLocked(*account.key)
    return msgspec.structs.replace(
        account,
        name=account.name if wanted.name is None else wanted.name,
        credit_micros=(
            account.credit_micros if wanted.credit_micros is None else wanted.credit_micros
        ),
        locked=locked,
    )


async def set_alert(
    db: AsyncConnection, key: Key, threshold_micros: int, hysteresis_micros: int
) -> tuple[Account, list[Alert], list[Crossing]]:
    """Add a threshold; when the balance is below it already, it is crossed at once.

    Gives the account, its thresholds now, and the crossing to publish. Refuses: AccountNotFound,
    AmountInvalid, FieldInvalid (too many thresholds).
    """
    for micros in (threshold_micros, hysteresis_micros):
        if micros % STEP or not -MICROS_MAX <= micros <= MICROS_MAX:
            raise AmountInvalid(micros)
    if hysteresis_micros < 0:
        raise AmountInvalid(hysteresis_micros)
    account = await _locked(db, key)
    there = await store.alerts(db, [account.account_id])
    known = any(alert.threshold_micros == threshold_micros for alert in there)
    if not known and len(there) >= ALERTS_MAX:
        raise FieldInvalid("threshold_micros", f"an account has at most {ALERTS_MAX}")
    low = account.balance_micros < threshold_micros
    alert = Alert(account.account_id, threshold_micros, hysteresis_micros, low)
    crossing = Crossing(alert, account.balance_micros, account.seq)
    await store.set_alert(db, crossing)
    crossed = [crossing] if low and not known else []
    now = await store.alerts(db, [account.account_id])
    describe("account", "/".join(key), _thresholds(there), _thresholds(now))
    return account, now, crossed


async def remove_alert(db: AsyncConnection, key: Key, threshold_micros: int) -> list[Alert]:
    """Remove a threshold; the ones that are left. Refuses: AccountNotFound."""
    account = await _locked(db, key)
    there = await store.alerts(db, [account.account_id])
    await store.remove_alert(db, account.account_id, threshold_micros)
    now = await store.alerts(db, [account.account_id])
    describe("account", "/".join(key), _thresholds(there), _thresholds(now))
    return now


def _thresholds(alerts: Iterable[Alert]) -> dict[str, object]:
    """What of alerts is in the audit log."""
    return {"thresholds_micros": [one.threshold_micros for one in alerts]}


class Accounts:
    """The same for callers outside: each call is one transaction with its events."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app = app

    async def create(self, wanted: Sequence[NewAccount]) -> list[Made]:
        """Like `create`."""

        async def transact() -> list[Made]:
            async with self._app.work("accounts") as work:
                return await create(work.db, wanted)

        return await retry(transact)

    async def get(self, key: Key) -> Account:
        """Like `get`."""
        async with self._app.db.connect() as db:
            return await get(db, key)

    async def page(self, wanted: store.Filter, asked: Asked) -> Page[Account]:
        """A page by account_id."""
        async with self._app.db.connect() as db:
            return await store.page(db, wanted, asked)

    async def balance(self, key: Key, time: datetime | None) -> tuple[int, int]:
        """Balance and seq now, or as they were. Refuses: AccountNotFound, FieldInvalid for a time whose
        records have left the database."""
        async with self._app.db.connect() as db:
            account = await get(db, key)
            if time is None:
                return account.balance_micros, account.seq
            found = await record_store.balance_at(db, account, time)
        if found is None:
            raise FieldInvalid("time", "its records are archived; days are in ListAccountDays")
        return found

    async def records(self, query: record_store.Query, asked: Asked) -> Page[record_store.Shown]:
        """A page of records, newest first. Refuses: AccountNotFound, when one whole account is named."""
        async with self._app.db.connect() as db:
            if query.ident and query.groups and query.eid:
                account = await get(db, (query.ident, query.groups, query.eid))
                query = replace(query, account_id=account.account_id)
            return await record_store.page(db, query, asked)

    async def change(self, key: Key, wanted: Change) -> Account:
        """Like `change`, of one account."""

        async def transact() -> Account:
            async with self._app.work("accounts") as work:
                (account,) = await change(work.db, {key: wanted})
                events.account_changed(work.events, account)
            return account

        return await retry(transact)

    async def watch(
        self, key: Key, threshold_micros: int, hysteresis_micros: int
    ) -> Sequence[Alert]:
        """Like `set_alert`; its thresholds now."""
        async with self._app.work("accounts") as work:
            account, there, crossed = await set_alert(
                work.db, key, threshold_micros, hysteresis_micros
            )
            events.crossed(work.events, crossed, {account.account_id: account})
        return there

    async def watched(self, after: tuple[int, int], most: int) -> list[Watched]:
        """Thresholds behind one, by account and threshold."""
        async with self._app.db.connect() as db:
            return await store.watched(db, after, most)

    async def spending(self, key: Key) -> tuple[Account, Spent]:
        """An account, and what left it within the last day. Refuses: AccountNotFound."""
        async with self._app.db.connect() as db:
            account = await get(db, key)
            return account, await store.spent(db, account, SPENT_S, SPENT_RECORDS_MAX)

    async def unwatch(self, key: Key, threshold_micros: int) -> Sequence[Alert]:
        """Like `remove_alert`."""
        async with self._app.work("accounts") as work:
            return await remove_alert(work.db, key, threshold_micros)


async def _locked(db: AsyncConnection, key: Key) -> Account:
    return (await _all_locked(db, [key]))[key]


async def _all_locked(db: AsyncConnection, keys: Collection[Key]) -> Mapping[Key, Account]:
    if any(key[1] == PLATFORM for key in keys):
        raise FieldInvalid("groups", "a platform account is not changed")
    there = await store.lock(db, keys)
    for key in keys:
        if key not in there:
            raise AccountNotFound(*key)
    return there
