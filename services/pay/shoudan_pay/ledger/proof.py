"""Proof of a run of accounts: each chain is walked, from its beginning or from where a statement ends."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shoudan_kit.db.pool import Database
from shoudan_pay.ledger.chain_hash import UNKEYED_BYTES, Trust, origin_of, unkeyed
from shoudan_pay.ledger.entries import Finding, Head, Record, micros_since_1970
from shoudan_pay.ledger.pieces import portions
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import records as record_store
from shoudan_pay.ledger.store.records import Edge, Piece, Stray

BEYOND_ALL: Final = 2**63 - 1
STEP_RECORDS: Final = 100


@dataclass(frozen=True, slots=True)
class Run:
    """The accounts with ids behind `after` and up to `last`: where they end now, and where a statement
    says they ended. `whole`: these are all accounts there are in between, not those of one system.
    `logged`: where the head log had chains end. `piece`: a part of one chain, which begins at what is
    stated of it; `more` of it follows in another run. `edges`: where chains begin whose front has left.
    """

    after: int
    last: int
    heads: Mapping[int, Head]
    stated: Mapping[int, Head]
    whole: bool = True
    logged: Mapping[int, Head] = field(default_factory=dict[int, Head])
    piece: bool = False
    more: bool = False
    edges: Mapping[int, Head] = field(default_factory=dict[int, Head])


@dataclass(frozen=True, slots=True)
class Rules:
    """How to prove: which seals count, records one statement reads, every record or those since, and how
    many statements of records one run is."""

    trust: Trust
    page_rows: int
    full: bool = True
    run_pages: int = 1

    @property
    def run_rows(self) -> int:
        """Records one run proves; a longer chain is proved in several runs."""
        return self.page_rows * self.run_pages


@dataclass(slots=True)
class Tally:
    """What several proofs at once have come to."""

    accounts: int = 0
    records: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])


@dataclass(slots=True)
class _Walk:
    """The accounts of one run, each walked along its chain up to its head.

    `doubts` holds what the run could not judge, one record per account: records behind that end, and
    records of accounts not in the run. `short` holds chains that end too early: their records may have left
    meanwhile. All are right while the ledger moves, so they are judged later.
    """

    run: Run
    rules: Rules
    findings: list[Finding]
    doubts: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    head: Head | None = None
    seq: int = 0
    balance: int = 0
    hash: bytes = b""
    broken: bool = False
    begins: dict[int, Head] = field(init=False)  # where chains are proved already, or begin
    edges: dict[int, Head] = field(init=False)
    short: dict[int, tuple[Head, int]] = field(default_factory=dict[int, tuple[Head, int]])

    def __post_init__(self) -> None:
        run = self.run
        self.edges = dict(run.edges)
        self.begins = {} if self.rules.full and not run.piece else dict(run.stated)
        for account_id, edge in run.edges.items():
            self._begin_at(account_id, edge)

    def missing_front(self, records: Sequence[Record]) -> list[int]:
        """Accounts whose records on this page begin later than they should: their front may have left."""
        found: list[int] = []
        account_id, seq = (0, 0) if self.head is None else (self.head.account_id, self.seq)
        for record in records:
            if record.account_id != account_id:
                account_id = record.account_id
                seq = self.begins[account_id].seq if account_id in self.begins else 0
            if record.seq > seq + 1:
                found.append(account_id)
            seq = record.seq
        return found

    def advance(self, edges: Mapping[int, Edge]) -> None:
        """Fronts that have left meanwhile: go on behind them."""
        for account_id, edge in edges.items():
            if (head := self.run.heads.get(account_id)) is None:
                continue
            at = self.edges[account_id] = edge_of(head, edge)
            self._begin_at(account_id, at)
            if self.head is head and self.seq < at.seq:
                self.seq, self.balance, self.hash = at.seq, at.balance_micros, at.hash

    def _begin_at(self, account_id: int, edge: Head) -> None:
        begin = self.begins.get(account_id)
        if begin is None or begin.seq <= edge.seq:
            self.begins[account_id] = edge

    def walk(self, records: Iterable[Record]) -> int:
        """Follow the chain along these records; how many of them count."""
        counted = 0
        for record in records:
            if self.head is None or record.account_id != self.head.account_id:
                self.end()
                self._begin(record.account_id)
            if self.head is not None and record.seq <= self.head.seq:
                counted += 1
                self._follow(record)
            else:
                self.doubts[record.account_id] = (record.record_id, record.seq)
        return counted

    def judge(self, now: Mapping[int, int]) -> None:
        """Settle the doubts by what account rows say that were read after the records."""
        for account_id, (record_id, seq) in self.doubts.items():
            last = now.get(account_id)
            if last is None:
                self._found(account_id, record_id, "its account does not exist")
            elif last < seq and (self.run.whole or account_id in self.run.heads):
                self._found(
                    account_id, record_id, f"seq {seq} is behind the account's last, {last}"
                )

    def judge_short(self, edges: Mapping[int, Edge]) -> None:
        """Settle what was too short by where chains begin that was read after the records."""
        for account_id, (head, seq) in self.short.items():
            edge = edges.get(account_id)
            if edge is None or edge.seq < head.seq:
                what = f"its row says {head.seq} records, the last one there is {seq}"
                self._found(account_id, 0, what)

    def end(self) -> None:
        """The account's own row equals its last record."""
        head, self.head = self.head, None
        if head is not None and not self.broken:
            self._own_row(head, self.seq, self.balance, self.hash)

    def unmoved(self, begins: Mapping[int, Head]) -> None:
        """Accounts of which no record was added are where they began."""
        for account_id, begin in begins.items():
            head = self.run.heads[account_id]
            self._own_row(head, begin.seq, begin.balance_micros, begin.hash)

    def compare(self) -> list[Head]:
        """Hold the rows to the statement; those that contradict it are found, the others come back."""
        for account_id, stated in self.run.stated.items():
            if self.run.whole and account_id not in self.run.heads:
                what = f"it is gone; the statement has it with {stated.seq} records"
                self._found(account_id, 0, what)
            edge = self.edges.get(account_id)
            if edge is not None and edge.seq == stated.seq and edge.hash != stated.hash:
                self._found(
                    account_id, 0, "its records begin behind another one than the statement's"
                )
        return [head for head in self.run.heads.values() if not self._contradicts(head)]

    def stray(self, one: Stray) -> None:
        """What a probe of the records brought up."""
        if not one.as_stated:
            gone = "is gone" if one.stated_id is None else "is not the one of the statement"
            self._found(one.account_id, one.stated_id or 0, f"the record with seq {one.seq} {gone}")
        elif one.last_id is not None and one.last_seq is not None:
            self.doubts[one.account_id] = (one.last_id, one.last_seq)

    def logged(self) -> list[Head]:
        """The logged heads that the statement does not have."""
        run = self.run
        return [
            one
            for one in run.logged.values()
            if (run.whole or one.account_id in run.heads)
            and (one.account_id not in self.edges or one.seq > self.edges[one.account_id].seq)
            and (one.account_id not in run.stated or one.seq > run.stated[one.account_id].seq)
        ]

    def missing(self, one: Stray) -> None:
        """A logged head whose record is gone."""
        gone = "is gone: records were cut off"
        what = gone if one.stated_id is None else "is another one: the chain was rewritten"
        self._found(
            one.account_id, one.stated_id or 0, f"the logged record with seq {one.seq} {what}"
        )

    def _contradicts(self, head: Head) -> bool:
        stated = self.run.stated.get(head.account_id)
        what = None if stated is None else contradiction(head, stated)
        if what is not None:
            self._found(head.account_id, 0, what)
        return what is not None

    def _begin(self, account_id: int) -> None:
        self.head = self.run.heads.get(account_id)
        self.seq, self.balance, self.hash, self.broken = 0, 0, b"", False
        stated = self.begins.get(account_id)
        if stated is not None:
            self.seq, self.balance, self.hash = stated.seq, stated.balance_micros, stated.hash

    def _follow(self, record: Record) -> None:
        # After the first break everything behind it is wrong, too: one finding is enough.
        if self.broken or self.head is None:
            return
        edge = self.edges.get(record.account_id)
        if edge is not None and record.seq <= edge.seq:
            return  # it has left since it was read
        what = breach(self.head, record, self.seq, self.balance, self.hash, self.rules.trust)
        stated = self.run.stated.get(record.account_id)
        if what is None and stated is not None and record.seq == stated.seq:
            same = record.hash == stated.hash
            what = (
                None if same else "it is not the record of the statement: the chain was rewritten"
            )
        if what is not None:
            self.broken = True
            self._found(record.account_id, record.record_id, what)
            return
        self.seq, self.balance, self.hash = record.seq, record.balance_micros, record.hash

    def _own_row(self, head: Head, seq: int, balance: int, hash_: bytes) -> None:
        if head.seq > seq:
            self.short[head.account_id] = (head, seq)
            return
        if head.seq != seq:
            what = f"its row says {head.seq} records, the last one there is {seq}"
        elif head.balance_micros != balance:
            what = f"its row holds {head.balance_micros} micros, its records make {balance}"
        elif head.hash != hash_:
            what = "its row holds another hash than its last record"
        else:
            return
        self._found(head.account_id, 0, what)

    def _found(self, account_id: int, record_id: int, what: str) -> None:
        self.findings.append(Finding(account_id, record_id, what))


def edge_of(head: Head, edge: Edge) -> Head:
    """Where an account's chain begins."""
    return Head(
        head.account_id,
        head.contra_account_id,
        edge.seq,
        edge.balance_micros,
        edge.hash,
        head.owner,
    )


def contradiction(head: Head, stated: Head) -> str | None:
    """How an account's row contradicts what was stated of it, or None."""
    if head.owner != stated.owner or head.contra_account_id != stated.contra_account_id:
        return "its row names another owner or contra account than the statement"
    if head.seq < stated.seq:
        return f"its row says {head.seq} records, the statement {stated.seq}: records were cut off"
    if head.seq > stated.seq:
        return None
    if head.balance_micros != stated.balance_micros:
        return f"its row holds {head.balance_micros} micros, the statement {stated.balance_micros}"
    return None if head.hash == stated.hash else "its row holds another hash than the statement"


def breach(
    head: Head, record: Record, seq: int, balance: int, previous: bytes, trust: Trust
) -> str | None:
    """How `record` does not follow from what was before it, or None."""
    if record.seq != seq + 1:
        return f"seq {record.seq} follows {seq}: records are missing or were added"
    if record.balance_micros != balance + record.amount_micros:
        return f"balance {record.balance_micros} after {balance} and {record.amount_micros} micros"
    if record.contra_account_id != (head.contra_account_id or None):
        return f"contra account {record.contra_account_id}, not {head.contra_account_id or None}"
    return _unsealed(record, previous, trust)


def _unsealed(record: Record, previous: bytes, trust: Trust) -> str | None:
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
            return "its seal has no key: written without it"
        wanted = unkeyed(previous, *facts)
    else:
        ring = trust.ring.of(record.hash)
        if ring is None:
            return "its seal is of a key that is not known"
        origin = origin_of(record.day, record.about, record.source, record.operator)
        wanted = ring.seal(previous, *facts, origin)
    same = hmac.compare_digest(record.hash, wanted)
    return None if same else "the hash does not fit: the row was changed or moved"


async def prove(database: Database, run: Run, rules: Rules, tally: Tally) -> None:
    """Prove one run and add to `tally` what came of it.

    Reads while the ledger moves: each account is proved up to where its head stood, and records never
    change. No statement reads more than `rules.page_rows` records.
    """
    walk = _Walk(run, rules, tally.findings)
    # Of one system, record by record of its own accounts: not past those of the others.
    if rules.full and run.whole and not run.piece:
        walk.compare()
        await _walk_all(database, walk, tally)
    else:
        await _walk_since(database, walk, tally)
    if walk.short:
        async with database.connect() as db:
            walk.judge_short(await record_store.edges(db, list(walk.short)))
    if walk.doubts:
        async with database.connect() as db:
            now = await account_store.seqs(db, list(walk.doubts))
        walk.judge(now)
    if logged := walk.logged():
        async with database.connect() as db:
            strays = await record_store.strays(db, [(one, BEYOND_ALL) for one in logged])
        for stray in strays:
            walk.missing(stray)
    tally.accounts += 0 if run.more else len(run.heads)


async def _walk_all(database: Database, walk: _Walk, tally: Tally) -> None:
    """Walk every record of the run, those of accounts that do not exist as well."""
    run, most = walk.run, walk.rules.page_rows
    after = (run.after, BEYOND_ALL)
    unseen = set(run.heads)
    page: list[Record] = []
    # Ends: every page begins behind the one before.
    while not page or len(page) == most:
        async with database.connect() as db:
            page = await record_store.chain(db, after=after, last_id=run.last, most=most)
        await _walk_page(database, walk, page, tally)
        unseen -= {record.account_id for record in page}
        if not page:
            break
        after = page[-1].account_id, page[-1].seq
    walk.end()
    begins = {one: walk.begins.get(one) or _unmoved(run.heads[one]) for one in sorted(unseen)}
    walk.unmoved(begins)


async def _walk_page(database: Database, walk: _Walk, page: Sequence[Record], tally: Tally) -> None:
    """Walk in steps between which the loop serves others: a seal takes some ten microseconds."""
    if without := walk.missing_front(page):
        async with database.connect() as db:
            walk.advance(await record_store.edges(db, without))
    for start in range(0, len(page), STEP_RECORDS):
        tally.records += walk.walk(page[start : start + STEP_RECORDS])
        await asyncio.sleep(0)


async def _walk_since(database: Database, walk: _Walk, tally: Tally) -> None:
    """Walk what is not proved yet; of the rest, see that its ends are where they were."""
    proved, heads = walk.begins, walk.compare()
    begins = [(proved.get(head.account_id) or _unmoved(head), head.seq) for head in heads]
    # The record that a chain begins behind has left: nothing is asked of it.
    probed = [
        (_unmoved(begin) if begin == walk.edges.get(begin.account_id) else begin, high)
        for begin, high in begins
    ]
    async with database.connect() as db:
        strays = await record_store.strays(db, probed)
        # Gone, or have they left since it was read where the chain begins?
        gone = [one.account_id for one in strays if one.stated_id is None and not one.as_stated]
        left = await record_store.edges(db, gone) if gone else {}
    walk.advance(left)
    for stray in strays:
        if stray.as_stated or (edge := left.get(stray.account_id)) is None or edge.seq < stray.seq:
            walk.stray(stray)
    moved = [Piece(begin.account_id, begin.seq, high) for begin, high in begins if high > begin.seq]
    unseen = {begin.account_id: begin for begin, _ in begins}
    for pieces in portions(moved, walk.rules.page_rows):
        async with database.connect() as db:
            page = await record_store.pieces(db, pieces)
        await _walk_page(database, walk, page, tally)
        for record in page:
            unseen.pop(record.account_id, None)
    walk.end()
    walk.unmoved(unseen)


def _unmoved(head: Head) -> Head:
    """Where an account stood that no statement has: it had not moved."""
    return Head(head.account_id, head.contra_account_id, 0, 0, b"", head.owner)
