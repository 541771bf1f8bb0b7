"""Proof of the ledger: every account is recomputed from its records, and every record from the one before."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shoudan_kit.db import Database
from shoudan_pay.entries import Account, Record, micros_since_1970
from shoudan_pay.seals import UNKEYED_BYTES, Trust, unkeyed
from shoudan_pay.store import accounts as account_store
from shoudan_pay.store import records as record_store

FINDINGS_MAX: Final = 100
ACCOUNTS_PAGE: Final = 1000
_BEYOND_ALL: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise: the first row that does not follow, or (record_id 0) the account's own row."""

    account_id: int
    record_id: int
    what: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the proof has come; `findings` is complete when `done`."""

    accounts: int
    records: int
    accounts_total: int
    records_total: int
    done: bool
    findings: Sequence[Finding]


@dataclass(slots=True)
class _Proof:
    """The accounts of one page, each walked along its chain up to where its own row says it ends.

    `doubts` holds what the page could not judge, one record per account: records behind that end, and
    records of accounts not in the page. Both are right while the ledger moves, so they are judged later.
    """

    accounts: Mapping[int, Account]
    trust: Trust
    findings: list[Finding] = field(default_factory=list[Finding])
    doubts: dict[int, Record] = field(default_factory=dict[int, Record])
    account: Account | None = None
    seq: int = 0
    balance: int = 0
    head: bytes = b""
    broken: bool = False

    def walk(self, records: Iterable[Record]) -> int:
        """Follow the chain along these records; how many of them count."""
        counted = 0
        for record in records:
            if self.account is None or record.account_id != self.account.account_id:
                self.end()
                self.account = self.accounts.get(record.account_id)
                self.seq, self.balance, self.head, self.broken = 0, 0, b"", False
            if self.account is not None and record.seq <= self.account.seq:
                counted += 1
                self._follow(record)
            else:
                self.doubts[record.account_id] = record
        return counted

    def judge(self, now: Mapping[int, Account], *, whole: bool) -> None:
        """Settle the doubts by rows read after the records. With `whole` every account should be there."""
        for account_id, record in self.doubts.items():
            account = now.get(account_id)
            if account is None:
                self._found(account_id, record.record_id, "its account does not exist")
            elif account.seq < record.seq and (whole or account_id in self.accounts):
                what = f"seq {record.seq} is behind the account's last, {account.seq}"
                self._found(account_id, record.record_id, what)

    def _follow(self, record: Record) -> None:
        # After the first break everything behind it is wrong, too: one finding is enough.
        if self.broken or self.account is None:
            return
        what = _breach(self.account, record, self.seq, self.balance, self.head, self.trust)
        if what is not None:
            self.broken = True
            self._found(record.account_id, record.record_id, what)
            return
        self.seq, self.balance, self.head = record.seq, record.balance_micros, record.hash

    def end(self) -> None:
        """The account's own row says what its last record says."""
        account, self.account = self.account, None
        if account is None or self.broken:
            return
        self._own_row(account, self.seq, self.balance, self.head)

    def without_records(self, ids: Iterable[int]) -> None:
        """Accounts no record was seen of have never moved."""
        for account_id in ids:
            self._own_row(self.accounts[account_id], 0, 0, b"")

    def _own_row(self, account: Account, seq: int, balance: int, head: bytes) -> None:
        if account.seq != seq:
            what = f"its row says {account.seq} records, the last one there is {seq}"
        elif account.balance_micros != balance:
            what = f"its row holds {account.balance_micros} micros, its records make {balance}"
        elif account.head_hash != head:
            what = "its row holds another hash than its last record"
        else:
            return
        self._found(account.account_id, 0, what)

    def _found(self, account_id: int, record_id: int, what: str) -> None:
        self.findings.append(Finding(account_id, record_id, what))


def _breach(
    account: Account, record: Record, seq: int, balance: int, head: bytes, trust: Trust
) -> str | None:
    """How `record` does not follow from what was before it, or None."""
    if record.seq != seq + 1:
        return f"seq {record.seq} follows {seq}: records are missing or were added"
    if record.balance_micros != balance + record.amount_micros:
        return f"balance {record.balance_micros} after {balance} and {record.amount_micros} micros"
    if record.contra_account_id != account.contra_account_id:
        return f"contra account {record.contra_account_id}, not {account.contra_account_id}"
    return _unsealed(record, head, trust)


def _unsealed(record: Record, head: bytes, trust: Trust) -> str | None:
    """Why the seal does not prove the record, or None."""
    facts = (
        record.record_id,
        record.account_id,
        record.contra_account_id,
        record.trade_no,
        record.ext_no,
        record.trade_type,
        record.change_type,
        record.amount_micros,
        record.balance_micros,
        record.floor_micros,
        record.seq,
        record.memo,
        micros_since_1970(record.create_time),
    )
    if len(record.hash) == UNKEYED_BYTES:
        if record.record_id > trust.unkeyed_id_max:
            return "its seal has no key: written by somebody who does not have it"
        wanted = unkeyed(head, *facts)
    else:
        ring = trust.ring.of(record.hash)
        if ring is None:
            return "its seal is of a key that is not known"
        wanted = ring.seal(head, *facts)
    same = hmac.compare_digest(record.hash, wanted)
    return None if same else "the hash does not fit: the row was changed or moved"


async def verify(
    database: Database, ident: str, page_rows: int, trust: Trust
) -> AsyncIterator[Progress]:
    """Prove all accounts, or those of `ident`, yielding after every page.

    Reads while the ledger moves: each account is proved up to where its row stood when its page was
    read, and records never change. No statement reads more than `page_rows` records.
    """
    async with database.connect() as db:
        accounts_total, records_total = await record_store.totals(db, ident)
    findings: list[Finding] = []
    accounts = records = 0
    after, last = -1, False
    while not last and len(findings) < FINDINGS_MAX:
        async with database.connect() as db:
            page = await account_store.chain_heads(db, ident, after=after, most=ACCOUNTS_PAGE)
        last = len(page) < ACCOUNTS_PAGE
        stop = _BEYOND_ALL if last else page[-1].account_id
        proof = _Proof({a.account_id: a for a in page}, trust, findings)
        async for counted in _walk(database, proof, (after, stop), page_rows):
            records += counted
            most = max(records, records_total)
            yield Progress(accounts, records, accounts_total, most, done=False, findings=())
        await _settle(database, proof, whole=not ident)
        accounts += len(page)
        after = stop
    totals = max(accounts, accounts_total), max(records, records_total)
    yield Progress(accounts, records, *totals, done=True, findings=findings[:FINDINGS_MAX])


async def _walk(
    database: Database, proof: _Proof, between: tuple[int, int], page_rows: int
) -> AsyncIterator[int]:
    """Walk the records of the accounts with ids after `between[0]` and up to `between[1]`."""
    after = (between[0], _BEYOND_ALL)
    unseen = set(proof.accounts)
    page: list[Record] = []
    # Ends: every page begins behind the one before.
    while not page or len(page) == page_rows:
        async with database.connect() as db:
            page = await record_store.chain(db, after=after, last_id=between[1], most=page_rows)
        counted = proof.walk(page)
        unseen -= {record.account_id for record in page}
        yield counted
        if not page:
            break
        after = page[-1].account_id, page[-1].seq
    proof.end()
    proof.without_records(sorted(unseen))


async def _settle(database: Database, proof: _Proof, *, whole: bool) -> None:
    if proof.doubts:
        async with database.connect() as db:
            now = await account_store.by_id(db, list(proof.doubts))
        proof.judge(now, whole=whole)
