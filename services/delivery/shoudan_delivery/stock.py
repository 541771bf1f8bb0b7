"""Our own stock as a supplier: cards are imported, reserved for a delivery whole, issued with its end."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec.structs import astuple
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.cards import digest_of, sealed
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.protocols import cards as card_reader
from shoudan_delivery.protocols.answers import Ambiguous
from shoudan_delivery.refusals import FieldInvalid
from shoudan_delivery.states import Source
from shoudan_delivery.store import stock as store
from shoudan_delivery.store.rows import Card, Outcome, Outgoing, Verdict
from shoudan_delivery.store.stock import Goods, Level, StockedCard
from shoudan_kit import log, metrics
from shoudan_kit.audit_log.entries import describe
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.errors import survived
from shoudan_kit.db.pool import retry
from shoudan_kit.faults import hit
from shoudan_kit.secrets import public_keys
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork

WATCH_S: Final = 30.0
CARD_KINDS_LOW: Final = metrics.gauge(
    "card_kinds_low", "Kinds of goods of our own stock with fewer cards than stock_low_cards."
)
PROTOCOL: Final = "stock"  # of a channel whose supplier is our own stock
IN_STOCK: Final = "IN_STOCK"
OUT_OF_STOCK: Final = "OUT_OF_STOCK"
ROWS_MAX: Final = 5_000  # of one import
BATCH_MAX: Final = 200
WAITING_MAX: Final = 20_000
INFO: Final = b"shoudan cards 1"

_log = log.get_logger("stock")

Draw = Callable[[Sequence[Outgoing]], Awaitable[list[Outgoing]]]


class Stock:
    """Reserves cards; deliveries that ask at the same time share a transaction."""

    def __init__(self, work: Callable[[str], UnitOfWork], elsewhere: Draw | None = None) -> None:
        """`elsewhere` draws from the stock of the first shard what there is too little of here."""
        self._work, self._elsewhere = work, elsewhere
        self._take: Coalescer[Outgoing, bool] = Coalescer(
            self._reserve,
            name="stock.reserve",
            size_max=BATCH_MAX,
            waiting_max=WAITING_MAX,
        )

    async def deliver(self, row: Outgoing, source: Source) -> Outcome:
        """The outcome of a delivery out of the stock; a repeat finds what is reserved already."""
        if await self._take(row):
            return Outcome(
                row.order_no,
                Verdict.SUCCEEDED,
                source,
                IN_STOCK,
                succ_face_micros=row.amount_micros,
            )
        return Outcome(row.order_no, Verdict.FAILED, source, OUT_OF_STOCK, "too few cards")

    async def aclose(self) -> None:
        """Answer what was asked."""
        await self._take.aclose()

    async def _reserve(self, rows: Sequence[Outgoing]) -> list[bool | Exception]:
        """Whether all cards of each are reserved: whole, or none of it."""
        lacking = await retry(lambda: self._try(rows, waiting=False))
        if lacking:
            # Others may give back what they have locked. Waited for in a transaction of its own, which
            # locks in the order of the index and has no card yet that another waits for.
            lacking = await retry(lambda: self._try(lacking, waiting=True))
        if lacking and self._elsewhere is not None:
            lacking = await self._elsewhere(lacking)
        hit("stock.reserved")
        without = {row.order_no for row in lacking}
        return [row.order_no not in without for row in rows]

    async def _try(self, rows: Sequence[Outgoing], *, waiting: bool) -> list[Outgoing]:
        """Reserve for each in turn; those for which there are too few, or which have ended."""
        async with self._work("stock.reserve") as work:
            there = await store.open_deliveries(work.db, [row.order_no for row in rows])
            lacking = [row for row in rows if row.order_no not in there]
            needing = [row for row in rows if there.get(row.order_no) == 0]
            given = await assigned(work.db, needing, waiting=waiting) if needing else []
            if given:
                await store.reserve(work.db, given)
        served = {order_no for _, order_no, _ in given}
        return lacking + [row for row in needing if row.order_no not in served]


async def assigned(
    db: AsyncConnection, needing: Sequence[Outgoing], *, waiting: bool
) -> list[tuple[int, int, int]]:
    """Cards for each in turn, locked: (card_id, order_no, seq); of one for which there are too few, none."""
    wanted = Counter[Goods]()
    for row in sorted(needing, key=lambda row: astuple(_goods(row))):
        wanted[_goods(row)] += row.product_num
    free = await store.claim(db, wanted, waiting=waiting)
    given: list[tuple[int, int, int]] = []
    for row in needing:
        cards = free[_goods(row)]
        if len(cards) >= row.product_num:
            places = range(1, row.product_num + 1)
            given += [(cards.pop(0), row.order_no, seq) for seq in places]
    return given


def _goods(row: Outgoing) -> Goods:
    return Goods(row.channel_no, row.carrier_no, row.product_face_micros)


# ---------------------------------------------------------------- watched
async def watch_forever(app: App[DeliverySettings], finish: Callable[[], Awaitable[None]]) -> None:
    """Set the gauge every WATCH_S; while the database is away it keeps its value. `finish` what was begun."""
    while True:
        with survived(_log, "stock_not_counted"):
            await watch(app)
            await finish()
        await asyncio.sleep(WATCH_S)


async def watch(app: App[DeliverySettings]) -> None:
    """Count the kinds of goods of which there are fewer cards than `stock_low_cards`."""
    low = sum(one.stocked < app.settings.stock_low_cards for one in await levels(app))
    CARD_KINDS_LOW().set(low)


async def levels(app: App[DeliverySettings]) -> list[Level]:
    """How much of each kind of goods there is."""
    async with app.db.connect() as db:
        return await store.levels(db)


# ---------------------------------------------------------------- import
@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, by the numbers of its lines; the header is line 1."""

    taken: int
    duplicates: list[int]
    malformed: list[tuple[int, str]]


def import_key(ring: KeyRing) -> X25519PrivateKey:
    """The key that imports are encrypted to: of the index key, which stays when the others are changed."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=INFO)
    return X25519PrivateKey.from_private_bytes(kdf.derive(ring.index_key))


def encrypted(plain: bytes, public_key: bytes) -> bytes:
    """A file as `take` reads it. ValueError for what is no key."""
    return public_keys.encrypted(plain, public_key, INFO)


async def take(
    app: App[DeliverySettings], ring: KeyRing, goods: Goods, import_no: str, file: bytes
) -> Imported:
    """Take a file into the stock, each line by itself; what is stored already is left out.

    Refuses FieldInvalid for a file that is not encrypted to our key, no CSV, or too long. The answer
    names lines, never what stands in them.
    """
    lines = lines_of(ring, file)
    malformed = [(at, why) for at, why in lines if isinstance(why, str)]
    read = [(at, card) for at, card in lines if isinstance(card, Card)]
    first: dict[bytes, int] = {}
    rows: dict[int, StockedCard] = {}
    for (at, card), card_id in zip(read, app.ids.take(len(read)), strict=True):
        digest = digest_of(ring, card)
        if first.setdefault(digest, at) == at:
            rows[at] = StockedCard(card_id, sealed(ring, card_id, card), digest, card.expire_time)
    async with app.work("stock.import") as work:
        there = await store.insert(work.db, goods, import_no, list(rows.values()))
        taken = {at for at, row in rows.items() if row.card_id in there}
        facts = {"import_no": import_no, "taken": len(taken), "lines": len(lines)}
        describe("stock", goods.channel_no, after=facts)
    return Imported(len(taken), [at for at, _ in read if at not in taken], malformed)


def lines_of(ring: KeyRing, file: bytes) -> list[tuple[int, Card | str]]:
    """The lines of an encrypted file: a card each, or why it is none. Refuses FieldInvalid."""
    return list(_lines(_decrypted(ring, file)))


def _decrypted(ring: KeyRing, file: bytes) -> str:
    try:
        return public_keys.SUITE.decrypt(file, import_key(ring), INFO).decode("utf-8-sig")
    except (InvalidTag, ValueError):
        raise FieldInvalid("file", "not encrypted to the key of `shoudan cards key`") from None


def _lines(text: str) -> Iterator[tuple[int, Card | str]]:
    """Each line's card, or why it is none."""
    try:
        rows = list(csv.DictReader(io.StringIO(text), restkey="more", strict=True))
    except csv.Error:
        raise FieldInvalid("file", "no CSV with a header") from None
    if not 1 <= len(rows) <= ROWS_MAX:
        raise FieldInvalid("file", f"1 to {ROWS_MAX} lines below the header")
    for at, row in enumerate(rows, 2):
        try:
            (card,) = card_reader.of_value([row])
        except Ambiguous as error:
            yield at, str(error)
        else:
            yield at, card
