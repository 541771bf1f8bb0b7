"""Takes batches of pushes: each is kept raw, and either stored whole or quarantined whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from shoudan_erp_ingest import events, normalising, refunds, trades
from shoudan_erp_ingest.bodies import Unreadable
from shoudan_erp_ingest.refusals import PushInvalid, Why
from shoudan_erp_ingest.senders import Senders
from shoudan_erp_ingest.states import PushStatus
from shoudan_erp_ingest.store import phones, pushes
from shoudan_erp_ingest.store import refunds as refund_rows
from shoudan_erp_ingest.store import trades as trade_rows
from shoudan_erp_ingest.store.trades import Late
from shoudan_erp_ingest.tables.models import Document, RefundDocument, TradeDocument
from shoudan_erp_ingest.tables.schema import PUSH, REFUND, TRADE
from shoudan_kit.db.errors import sql_state, taken
from shoudan_kit.db.pool import retry
from shoudan_kit.log import get_logger
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.tasks.unit_of_work import UnitOfWork, no_record

D = TypeVar("D", bound=Document)

DOCUMENTS_MAX: Final = 2_000  # of one transaction
ROUNDS_MAX: Final = 32  # versions of one document in one transaction, each a round of statements
RACES_MAX: Final = 5  # another process inserted the same new document first
PHONES_MAX: Final = 200  # indexed of one body that could not be read
_DIGITS = re.compile(rb"(?<![0-9])[0-9]{7,13}(?![0-9])")

_logger = get_logger("erp.ingest")


@dataclass(frozen=True, slots=True)
class Push:
    """One push as it came."""

    kind: int
    sender: str
    body: bytes
    remote_ip: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one push. `push_id` 0: it was not even kept."""

    push_id: int
    changed: int = 0
    refusal: Refusal | None = None


@dataclass(slots=True)
class Reading:
    """A push with what it says, or why it says nothing."""

    push: Push
    sha256: bytes
    documents: Sequence[Document] = ()
    wrong: Unreadable | None = None
    push_id: int = 0
    changed: int = 0
    fresh: bool = False  # kept by this very transaction
    versions: int = 0  # of documents made of it

    @property
    def key(self) -> tuple[int, str, bytes]:
        """What makes two pushes one."""
        return self.push.kind, self.push.sender, self.sha256

    def outcome(self) -> Outcome:
        """The answer to its sender."""
        if self.wrong is not None:
            return Outcome(self.push_id, 0, PushInvalid(self.wrong.where, self.wrong.why))
        return Outcome(self.push_id, self.changed)


@dataclass(slots=True)
class Part(Generic[D]):
    """One document of one push."""

    reading: Reading
    document: D


@dataclass(slots=True)
class Written:
    """What one transaction writes beside the documents themselves."""

    phones: list[tuple[bytes, int, int]] = field(default_factory=list[tuple[bytes, int, int]])
    late: list[Late] = field(default_factory=list[Late])


@dataclass(frozen=True, slots=True)
class _Noun:
    """A kind of document: its rules, its statements, its event."""

    kind: int
    document: type[Any]
    rules: Any
    rows: Any
    published: Callable[[UnitOfWork, Any], None]


_TRADES: Final = _Noun(TRADE, TradeDocument, trades, trade_rows, events.trade_written)
_REFUNDS: Final = _Noun(REFUND, RefundDocument, refunds, refund_rows, events.refund_written)


@dataclass(frozen=True)
class Ingest:
    """`await ingest(pushes)`: one outcome per push, in the order given; pushes are independent."""

    work: Callable[[str], UnitOfWork]
    new_id: Callable[[], int]
    ring: KeyRing
    senders: Senders

    async def __call__(self, given: Sequence[Push]) -> list[Outcome]:
        """Take pushes from senders. Repeats of a stored push write nothing and give its number.

        Raises what the database raises when it is gone: then nothing is promised, repeat.
        """
        outcomes: list[Outcome | None] = []
        readings: list[Reading] = []
        for push in given:
            refusal = self.senders.refuse(
                push.kind,
                push.sender,
                remote_ip=push.remote_ip,
                query=push.query,
                body=push.body,
            )
            outcomes.append(Outcome(0, 0, refusal) if refusal else None)
            if refusal is None:
                readings.append(read(push))
        await self.store(readings)
        stored = iter(readings)
        return [one if one is not None else next(stored).outcome() for one in outcomes]

    async def store(
        self, readings: Sequence[Reading], record: Callable[[UnitOfWork], None] = no_record
    ) -> None:
        """Write what was read, in as few transactions as its size allows.

        `record` is written in each transaction that quarantines nothing.
        """
        for some in portions(readings):
            await self._store_some(some, record)

    async def _store_some(
        self, some: Sequence[Reading], record: Callable[[UnitOfWork], None]
    ) -> None:
        """One transaction; a push the database cannot take is found by halving and quarantined."""
        try:
            await self._retry(some, record)
        except DBAPIError as error:
            if (sql_state(error) or "")[:2] not in {"22", "23", "54"}:
                raise
            if len(some) == 1:
                _logger.error("push_refused_by_database", state=sql_state(error))
                some[0].documents, some[0].wrong = (), Unreadable("body", Why.INTERNAL)
                await self._retry(some, record)
                return
            half = len(some) // 2
            await self._store_some(some[:half], record)
            await self._store_some(some[half:], record)

    async def _retry(self, some: Sequence[Reading], record: Callable[[UnitOfWork], None]) -> None:
        """Again from the start when others wrote the same at the same time."""
        for race in range(RACES_MAX):
            try:
                await retry(lambda: self._once(some, record))
                return
            except DBAPIError as error:
                if not taken(error) or race == RACES_MAX - 1:
                    raise

    async def _once(self, some: Sequence[Reading], record: Callable[[UnitOfWork], None]) -> None:
        for reading in some:
            reading.changed = reading.versions = 0
        async with self.work("erp") as work:
            await self._keep_pushes(work, some)
            written = Written()
            for noun in (_TRADES, _REFUNDS):
                for parts in rounds(_parts(some, noun.document), _key):
                    await self._write_documents(work, noun, parts, written)
            await trade_rows.keep_late(work.db, written.late)
            written.phones += self._push_phones(some)
            await phones.insert(work.db, written.phones)
            if all(one.wrong is None for one in some):
                record(work)

    # -------------------------------------------------------------- pushes

    async def _keep_pushes(self, work: UnitOfWork, some: Sequence[Reading]) -> None:
        """Keep raw bodies, whatever is in them, and give each reading the number of its push."""
        once = {reading.key: reading for reading in some}
        new = [self._new_push(reading) for reading in once.values()]
        kept = await pushes.insert(work.db, self.ring, new)
        made = {push.push_id for push in new}
        settled: list[tuple[int, str | None, str | None]] = []
        for reading in some:
            reading.push_id, status = kept[reading.key]
            reading.fresh = reading.push_id in made
        for reading in once.values():
            status = kept[reading.key][1]
            if not reading.fresh and status != _status(reading):
                settled.append((reading.push_id, *_verdict(reading)))
        await pushes.settle(work.db, settled)

    def _new_push(self, reading: Reading) -> pushes.NewPush:
        push = reading.push
        return pushes.NewPush(
            self.new_id(),
            push.kind,
            push.sender,
            reading.sha256,
            len(push.body),
            push.body,
            _status(reading),
            *_verdict(reading),
            push.remote_ip,
        )

    def _push_phones(self, some: Sequence[Reading]) -> Iterator[tuple[bytes, int, int]]:
        """Phones of pushes no version points to: an erasure must find these bodies, too."""
        for reading in some:
            if reading.fresh and not reading.versions:
                found = _phones_of(reading)
                macs = (self.ring.phone_mac(phone) for phone in found)
                yield from ((mac, PUSH, reading.push_id) for mac in macs if mac)

    # ----------------------------------------------------------- documents

    async def _write_documents(
        self, work: UnitOfWork, noun: _Noun, parts: Sequence[Part[Any]], written: Written
    ) -> None:
        stored = await noun.rows.lock(work.db, [_key(part) for part in parts])
        writes: list[Any] = []
        for part in parts:
            before = stored.get(_key(part))
            push_id, sender = part.reading.push_id, part.reading.push.sender
            verdict = noun.rules.decide(
                self.ring, before, sender, part.document, push_id, self.new_id
            )
            if verdict.write is not None:
                writes.append(verdict.write)
                part.reading.changed += verdict.rows
                part.reading.versions += 1
                found = noun.rules.phones(part.document)
                written.phones += self._macs(found, noun.kind, verdict.document_id)
            if verdict.late and before is not None:
                snapshot = noun.rows.late_snapshot(self.ring, before.document_id, part.document)
                written.late.append(self._late(noun.kind, part, before, snapshot))
        changed = [(self.new_id(), one.document_id) for one in writes if not one.first]
        await noun.rows.keep(work.db, changed)
        await noun.rows.write(work.db, self.ring, writes)
        for one in writes:
            noun.published(work, one)

    def _late(self, kind: int, part: Part[Any], before: Any, snapshot: str) -> Late:
        part.reading.versions += 1
        part.reading.changed += 1
        return Late(
            self.new_id(),
            kind,
            before.document_id,
            before.version,
            part.reading.push_id,
            snapshot,
        )

    def _macs(
        self, found: Iterable[str], kind: int, document_id: int
    ) -> Iterator[tuple[bytes, int, int]]:
        macs = (self.ring.phone_mac(phone) for phone in found)
        return ((mac, kind, document_id) for mac in macs if mac)


def read(push: Push) -> Reading:
    """What a push says. Nothing that is in a body makes this raise."""
    reading = Reading(push, hashlib.sha256(push.body).digest())
    try:
        make = normalising.trades if push.kind == TRADE else normalising.refunds
        reading.documents = make(push.body)
    except Unreadable as wrong:
        reading.wrong = wrong
    except Exception:
        _logger.exception("push_not_understood", sha256=reading.sha256.hex())
        reading.wrong = Unreadable("body", Why.INTERNAL)
    return reading


def portions(readings: Sequence[Reading]) -> Iterator[list[Reading]]:
    """Readings in order, cut so that one transaction stays short."""
    some: list[Reading] = []
    documents = 0
    times: dict[Any, int] = {}
    for reading in readings:
        most = 0
        for document in reading.documents:
            key = _natural(reading.push, document)
            times[key] = times.get(key, 0) + 1
            most = max(most, times[key])
        documents += len(reading.documents)
        if some and (documents > DOCUMENTS_MAX or most > ROUNDS_MAX):
            yield some
            some, documents, times = [], len(reading.documents), {}
        some.append(reading)
    if some:
        yield some


def rounds(
    parts: Iterable[Part[D]], key: Callable[[Part[D]], tuple[str, str]]
) -> Iterator[list[Part[D]]]:
    """Parts in order, in rounds that hold each document once: a later version meets the earlier one."""
    waiting = list(parts)
    while waiting:
        now: dict[tuple[str, str], Part[D]] = {}
        later: list[Part[D]] = []
        for part in waiting:
            at = key(part)
            if at in now:
                later.append(part)
            else:
                now[at] = part
        yield list(now.values())
        waiting = later


def _parts(some: Sequence[Reading], kind: type[D]) -> Iterator[Part[D]]:
    for reading in some:
        for document in reading.documents:
            if isinstance(document, kind):
                yield Part(reading, document)


def _natural(push: Push, document: Document) -> tuple[str, str]:
    no = document.head.tid if isinstance(document, TradeDocument) else document.head.refund_no
    return push.sender, no


def _key(part: Part[Any]) -> tuple[str, str]:
    return _natural(part.reading.push, part.document)


def _status(reading: Reading) -> int:
    return PushStatus.STORED if reading.wrong is None else PushStatus.QUARANTINED


def _verdict(reading: Reading) -> tuple[str | None, str | None]:
    wrong = reading.wrong
    return (None, None) if wrong is None else (wrong.where, wrong.why.value)


def _phones_of(reading: Reading) -> list[str]:
    if reading.wrong is not None:
        found = _DIGITS.findall(reading.push.body)[:PHONES_MAX]
        return [digits.decode() for digits in found]
    return [
        phone
        for document in reading.documents
        for phone in (
            trades.phones(document)
            if isinstance(document, TradeDocument)
            else refunds.phones(document)
        )
    ]
