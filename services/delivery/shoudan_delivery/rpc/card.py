"""CardService: cards fetched by their partner, and shown to operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from shoudan.core.v1 import core_pb2
from shoudan.delivery.v1 import card_service_pb2 as pb
from shoudan.delivery.v1 import card_service_pb2_grpc as pb_grpc
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan_delivery import cards, entering, stock
from shoudan_delivery.context import Context
from shoudan_delivery.refusals import DeliveryNotFound, DeliveryRefusal, FieldInvalid
from shoudan_delivery.rpc.bounds import (
    ID_MAX,
    ITEMS_MAX,
    bounded,
    newest_before,
    oldest_after,
    page_size,
    stamp,
)
from shoudan_delivery.states import CardStatus, ServiceClass
from shoudan_delivery.store.cards import CardFilter, Fetch, StoredCard
from shoudan_delivery.store.missing import Missing
from shoudan_delivery.store.rows import Card, Key
from shoudan_delivery.store.stock import Goods
from shoudan_kit.db.text_statements import holdable
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded

FETCHED_MAX = 100
NOTIFIES_MAX = 50
CLASS_MAX = 2**15 - 1  # of the column
REVEALED_MAX = 10
TEXT_MAX = 64
REASON_MAX = 1_000
FILE_BYTES_MAX = 2 * 2**20
FACE_MICROS_MAX = 10**13


class CardServicer(pb_grpc.CardServiceServicer):
    """shoudan.delivery.v1.CardService."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ring = context.settings.key_ring()

    async def FetchCards(
        self, request: pb.FetchCardsRequest, context: RpcContext
    ) -> pb.FetchCardsResponse:
        """One page in clear; what is shown is revealed before it is answered."""
        bounded(request.keys)
        most = request.page_size or FETCHED_MAX
        if not 1 <= most <= FETCHED_MAX:
            raise FieldInvalid("page_size", f"0 to {FETCHED_MAX}")
        after = _after(request.page_token)
        keys = _keys(request.keys)
        if not keys:
            return pb.FetchCardsResponse()
        text = (_text("order_id", request.order_id), _text("remote_ip", request.remote_ip))
        reader = cards.NOTIFY if request.in_notify else cards.PARTNER
        fetched = Fetch(0, keys[0].coop_id, text[0], reader, text[1], 0, "")
        found = await shielded(
            cards.fetch(self._context.app, self._ring, keys, after, most, fetched)
        )
        return _page(found, most)

    async def FetchNotifyCards(
        self, request: pb.FetchNotifyCardsRequest, context: RpcContext
    ) -> pb.FetchNotifyCardsResponse:
        """The first page of each order."""
        if len(request.orders) > NOTIFIES_MAX:
            raise FieldInvalid("orders", f"at most {NOTIFIES_MAX}")
        bounded([key for one in request.orders for key in one.keys])
        read = [_notified(one) for one in request.orders]
        asked = [one for one in read if not isinstance(one, FieldInvalid)]
        found = cards.fetch_first(self._context.app, self._ring, asked, FETCHED_MAX)
        pages = iter(await shielded(found))
        results = [one if isinstance(one, FieldInvalid) else next(pages) for one in read]
        return pb.FetchNotifyCardsResponse(results=[_result(one) for one in results])

    async def ListCards(
        self, request: pb.ListCardsRequest, context: RpcContext
    ) -> pb.ListCardsResponse:
        """One page without codes."""
        most, before = page_size(request.page_size), newest_before(request.page_token)
        for name in ("channel_no", "order_id"):
            _text(name, getattr(request, name))
        wanted = CardFilter(request.channel_no, request.order_id, list(request.statuses))
        found, token = await cards.page(self._context.app, wanted, before, most)
        return pb.ListCardsResponse(
            cards=[_view(row, cards.masked(self._ring, row)) for row in found],
            next_page_token=token,
        )

    async def RevealCards(
        self, request: pb.RevealCardsRequest, context: RpcContext
    ) -> pb.RevealCardsResponse:
        """A few in clear; the reason stands in the audit log and beside the cards."""
        card_ids, reason = _ids(request.card_ids, REVEALED_MAX), _reason(request.reason)
        by = _text("by", request.by)
        fetched = Fetch(0, "", "", by, "", 0, reason)
        found = await shielded(cards.reveal(self._context.app, self._ring, card_ids, fetched))
        return pb.RevealCardsResponse(
            cards=[_in_clear(row, card, row.status) for row, card in found]
        )

    async def ImportCards(
        self, request: pb.ImportCardsRequest, context: RpcContext
    ) -> pb.ImportCardsResponse:
        """Line by line; a repeat finds every line stored."""
        if not 1 <= len(request.file) <= FILE_BYTES_MAX:
            raise FieldInvalid("file", f"1 to {FILE_BYTES_MAX} bytes")
        if not 0 < request.face_micros <= FACE_MICROS_MAX:
            raise FieldInvalid("face_micros", "above zero")
        names = ("channel_no", "carrier_no", "import_no")
        channel_no, carrier_no, import_no = (_text(n, getattr(request, n)) for n in names)
        if not (channel_no and carrier_no and import_no):
            raise FieldInvalid("channel_no", "channel_no, carrier_no and import_no must be said")
        _text("reason", request.reason, REASON_MAX)
        goods = Goods(channel_no, carrier_no, request.face_micros)
        done = await shielded(
            stock.take(self._context.app, self._ring, goods, import_no, request.file)
        )
        malformed = [
            pb.ImportCardsResponse.Malformed(line=at, why=why) for at, why in done.malformed
        ]
        return pb.ImportCardsResponse(
            taken=done.taken, duplicates=done.duplicates, malformed=malformed
        )

    async def EnterCards(
        self, request: pb.EnterCardsRequest, context: RpcContext
    ) -> pb.EnterCardsResponse:
        """All cards of a delivery, or none."""
        if not 1 <= len(request.file) <= FILE_BYTES_MAX:
            raise FieldInvalid("file", f"1 to {FILE_BYTES_MAX} bytes")
        _reason(request.reason)
        key = Key(request.key.coop_id, request.key.coop_order_id, request.key.service_class)
        if not holdable((key.coop_id, key.coop_order_id)):
            raise DeliveryNotFound(key.coop_order_id)
        done = entering.enter(self._context.app, self._ring, key, request.file)
        return pb.EnterCardsResponse(cards=await shielded(done))

    async def ListMissingCards(
        self, request: pb.ListMissingCardsRequest, context: RpcContext
    ) -> pb.ListMissingCardsResponse:
        """One page; of what a supplier said its shape alone."""
        most, after = page_size(request.page_size), oldest_after(request.page_token)
        found, token = await entering.missing(self._context.app, after, most)
        return pb.ListMissingCardsResponse(
            missing=[_missing(one) for one in found], next_page_token=token
        )

    async def GetImportKey(
        self, request: pb.GetImportKeyRequest, context: RpcContext
    ) -> pb.GetImportKeyResponse:
        """The key of this service."""
        key = stock.import_key(self._ring).public_key().public_bytes_raw()
        return pb.GetImportKeyResponse(public_key=key)

    async def ListStock(
        self, request: pb.ListStockRequest, context: RpcContext
    ) -> pb.ListStockResponse:
        """All kinds of goods."""
        levels = await stock.levels(self._context.app)
        return pb.ListStockResponse(
            levels=[
                pb.ListStockResponse.Level(
                    channel_no=one.channel_no,
                    carrier_no=one.carrier_no,
                    face_micros=one.face_micros,
                    stocked=one.stocked,
                    reserved=one.reserved,
                    expired=one.expired,
                    first_expiry=stamp(one.first_expiry),
                )
                for one in levels
            ],
            channel_nos=sorted(
                {
                    one.channel_no
                    for one in self._context.suppliers.all()
                    if one.protocol == stock.PROTOCOL
                }
            ),
        )

    async def SetCardState(
        self, request: pb.SetCardStateRequest, context: RpcContext
    ) -> pb.SetCardStateResponse:
        """Void or redeemed."""
        if request.status not in cards.SETTABLE:
            raise FieldInvalid("status", "VOID or REDEEMED")
        card_ids, _ = _ids(request.card_ids, ITEMS_MAX), _reason(request.reason)
        await cards.set_state(self._context.app, card_ids, CardStatus(request.status))
        return pb.SetCardStateResponse()


# ---------------------------------------------------------------- in
def _keys(given: Iterable[delivery_pb.DeliveryKey]) -> list[Key]:
    return [
        Key(key.coop_id, key.coop_order_id, key.service_class)
        for key in given
        if holdable((key.coop_id, key.coop_order_id)) and 0 <= key.service_class <= CLASS_MAX
    ]


def _notified(
    one: pb.FetchNotifyCardsRequest.Order,
) -> tuple[list[Key], Fetch] | FieldInvalid:
    """The deliveries of one order, and the record of the fetch."""
    try:
        order_id = _text("order_id", one.order_id)
    except FieldInvalid as error:
        return error
    keys = _keys(one.keys)
    coop_id = keys[0].coop_id if keys else ""
    return keys, Fetch(0, coop_id, order_id, cards.NOTIFY, "", 0, "")


def _after(token: str) -> tuple[int, int]:
    """The delivery and place a page begins behind."""
    if not token:
        return 0, 0
    order_no, _, seq = token.partition("-")
    numbers = [one for one in (order_no, seq) if one.isascii() and one.isdecimal()]
    if len(numbers) != 2 or len(order_no) > 19 or len(seq) > 9 or int(order_no) > ID_MAX:
        raise FieldInvalid("page_token", "not one of ours")
    return int(order_no), int(seq)


def _ids(given: object, most: int) -> list[int]:
    found = sorted(set(cast("list[int]", given)))
    if not 1 <= len(found) <= most or not 0 < found[0] <= found[-1] <= ID_MAX:
        raise FieldInvalid("card_ids", f"1 to {most} numbers of cards")
    return found


def _reason(text: str) -> str:
    if not text.strip():
        raise FieldInvalid("reason", "why must be said")
    return _text("reason", text, REASON_MAX)


def _text(name: str, text: str, most: int = TEXT_MAX) -> str:
    if len(text) > most or "\0" in text:
        raise FieldInvalid(name, f"at most {most} characters, none of them NUL")
    return text


# ---------------------------------------------------------------- out
def _page(found: Sequence[tuple[StoredCard, Card]], most: int) -> pb.FetchCardsResponse:
    last = found[-1][0] if len(found) == most else None
    return pb.FetchCardsResponse(
        cards=[_fetched(row, card) for row, card in found],
        next_page_token=f"{last.order_no}-{last.seq}" if last is not None else "",
    )


def _result(
    one: Sequence[tuple[StoredCard, Card]] | DeliveryRefusal,
) -> pb.FetchNotifyCardsResponse.Result:
    if isinstance(one, DeliveryRefusal):
        return pb.FetchNotifyCardsResponse.Result(refusal=one.to_proto())
    return pb.FetchNotifyCardsResponse.Result(page=_page(one, FETCHED_MAX))


def _fetched(row: StoredCard, card: Card) -> core_pb2.Card:
    """A card as its partner gets it: by being fetched it is revealed."""
    revealed = CardStatus.REVEALED if row.status is CardStatus.ISSUED else row.status
    return _in_clear(row, card, revealed)


def _in_clear(row: StoredCard, card: Card, status: CardStatus) -> core_pb2.Card:
    return core_pb2.Card(
        card_id=row.card_id,
        number=card.number,
        password=card.password,
        link=card.link,
        qr=card.qr,
        expire_time=stamp(row.expire_time),
        face_micros=row.face_micros,
        status=status.name.lower(),
    )


def _view(row: StoredCard, masked: str | None) -> pb.ListCardsResponse.View:
    return pb.ListCardsResponse.View(
        card_id=row.card_id,
        channel_no=row.channel_no,
        carrier_no=row.carrier_no,
        face_micros=row.face_micros,
        order_no="" if row.order_no is None else str(row.order_no),
        seq=row.seq,
        status=cast("pb.CardStatus.ValueType", int(row.status)),
        masked=masked or "",
        unreadable=masked is None,
        expire_time=stamp(row.expire_time),
        reveal_time=stamp(row.reveal_time),
        create_time=stamp(row.create_time),
        import_no=row.import_no,
    )


def _missing(one: Missing) -> pb.ListMissingCardsResponse.Missing:
    return pb.ListMissingCardsResponse.Missing(
        key=delivery_pb.DeliveryKey(
            coop_id=one.coop_id,
            coop_order_id=one.coop_order_id,
            service_class=ServiceClass.COUPON,
        ),
        order_id=one.order_id,
        order_no=one.order_no,
        channel_no=one.channel_no,
        carrier_no=one.carrier_no,
        face_micros=one.product_face_micros,
        num=one.product_num,
        status=cast("delivery_pb.Status.ValueType", int(one.status)),
        why=one.why,
        answer=one.answer,
        answers=one.answers,
        entered=one.entered,
        since=stamp(one.create_time),
        last_answer_time=stamp(one.last_update_time),
    )
