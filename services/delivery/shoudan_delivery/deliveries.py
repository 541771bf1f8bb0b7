"""The rules of deliveries: created once by their key, sent once, ended once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery import cards, events, interpret, prices
from shoudan_delivery.context import Context
from shoudan_delivery.kinds import ASK, REPORT, REQUEST, Ask, Report, Request
from shoudan_delivery.protocols import InboundNotify, protocol_of
from shoudan_delivery.refusals import (
    AlreadyFinal,
    CardsMissing,
    ChannelUnavailable,
    DeliveryDiffers,
    DeliveryNotFound,
    DeliveryRefusal,
)
from shoudan_delivery.results import result_of
from shoudan_delivery.sends import TASK_DELIVERIES_MAX, Sends, by_channel
from shoudan_delivery.states import FINAL, ServiceClass, Source, Status
from shoudan_delivery.store import cards as card_store
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store import suppliers as supplier_store
from shoudan_delivery.store.rows import (
    Delivery,
    Incident,
    Key,
    NewDelivery,
    Outcome,
    Outgoing,
    Verdict,
)
from shoudan_delivery.store.suppliers import DeliveryFilter
from shoudan_delivery.suppliers import Suppliers
from shoudan_kit import log
from shoudan_kit.db.errors import away
from shoudan_kit.db.pool import retry
from shoudan_kit.db.text_statements import holdable
from shoudan_kit.ids import IdMaker
from shoudan_kit.rpc.shard_router import ShardAway
from shoudan_kit.rpc.shielded import shielded
from shoudan_kit.secrets.sealing import SealedColumn, Unsealable, hidden_in
from shoudan_kit.tasks.unit_of_work import UnitOfWork

CLASSES = frozenset(ServiceClass)
# A request task outlives flow_timeout, so that what was never sent by then is ended by its handler.
GRACE_S = 3_600

_params = msgspec.json.Decoder(dict[str, str]).decode
_log = log.get_logger("delivery")


@dataclass(frozen=True, slots=True)
class Created:
    """A delivery as it stands, and whether it was there before."""

    delivery: Delivery
    existed: bool


async def create(context: Context, given: Sequence[NewDelivery]) -> list[Created | DeliveryRefusal]:
    """Create deliveries in one transaction; results in the order given, items independent.

    Repeats: the same key and content gives the delivery as it stands, other content refuses. Of one that
    has left the database the account is not known, so it is not compared.
    Refuses: ChannelUnavailable (never sent, written to vds_order_exp), DeliveryDiffers.
    """

    sends = Sends(context)

    async def once() -> list[Created | DeliveryRefusal]:
        try:
            async with context.app.work("delivery.create") as work:
                return await _create(context, work, given, sends)
        except BaseException:
            sends.doubt()
            raise

    async def whole() -> list[Created | DeliveryRefusal]:
        try:
            created = await retry(once)
        except BaseException:
            sends.release()
            raise
        sends.begin()
        return created

    # A caller that hangs up leaves deliveries that are committed as sending: they are called all the same.
    return await shielded(whole())


async def _create(
    context: Context, work: UnitOfWork, given: Sequence[NewDelivery], sends: Sends
) -> list[Created | DeliveryRefusal]:
    suppliers, ids, accounts = context.suppliers, context.app.ids, context.accounts
    open_ = [_takes(suppliers, new) for new in given]
    numbers = iter(ids.take(len(given)))
    fresh = [(next(numbers), new) for new, takes in zip(given, open_, strict=True) if takes]
    sending = sends.hold(fresh)
    sealed = {no: accounts.seal(no, new.account) for no, new in fresh}
    written = await store.insert(work.db, fresh, sealed, sending) if fresh else {}
    made = {new.key: (no, new) for no, new in fresh if no in written}
    rest = [new.key for new in given if new.key not in made or made[new.key][1] is not new]
    standing = await store.by_key(work.db, list(dict.fromkeys(rest))) if rest else {}
    sends.found(there.order_no for there in standing.values())
    results: list[Created | DeliveryRefusal] = []
    refused: list[NewDelivery] = []
    calls: dict[int, Outgoing] = {}
    for new in given:
        if (mine := made.get(new.key)) and mine[1] is new:
            row = store.fresh(mine[0], new, written[mine[0]], sending=mine[0] in sending)
            results.append(Created(row, existed=False))
            if row.order_no in sending:
                calls[row.order_no] = store.to_call(row, sealed[row.order_no])
        elif there := standing.get(new.key):
            results.append(_repeat(new, there, accounts))
        else:
            results.append(ChannelUnavailable(new.channel_no, new.key.service_class))
            refused.append(new)
    impossible = await _void_returned(work, [one for one in fresh if one[0] in written])
    task_of = _ask_to_send(
        work, suppliers, [one for one in made.values() if one[0] not in impossible]
    )
    sends.keep(calls, task_of)
    if refused:
        await supplier_store.insert_incidents(work.db, [*_rejects(ids, refused)], context.local_ip)
    return results


async def _void_returned(
    work: UnitOfWork, fresh: Sequence[tuple[int, NewDelivery]]
) -> Collection[int]:
    """Make the cards of new returns void; returns of what is used up end here, and are given."""
    returns = [one for one in fresh if one[1].key.service_class == ServiceClass.COUPON_RETURN]
    impossible = await cards.void_for_returns(work.db, returns) if returns else []
    if impossible:
        code, why = "CARDS_REDEEMED", "fewer cards are left than are to be returned"
        outcomes = {
            no: Outcome(no, Verdict.NEVER_SENT, Source.NONE, code, why) for no in impossible
        }
        ended = await store.end(work.db, [(o, Status.FAILED, True) for o in outcomes.values()])
        for no, one in ended.items():
            events.ended(work, one, outcomes[no])
        work.tasks.add(REPORT, Report([result_of(one, outcomes[no]) for no, one in ended.items()]))
    return impossible


def _takes(suppliers: Suppliers, new: NewDelivery) -> bool:
    supplier = suppliers.get(new.channel_no, new.key.service_class)
    return supplier is not None and supplier.takes_new


def _ask_to_send(
    work: UnitOfWork, suppliers: Suppliers, made: Sequence[tuple[int, NewDelivery]]
) -> Mapping[int, int]:
    """A task for up to TASK_DELIVERIES_MAX deliveries of one channel, in its queue; which of each."""
    task_of: dict[int, int] = {}
    for (channel_no, service_class), all_ in by_channel(made).items():
        supplier = suppliers.get(channel_no, service_class)
        for start in range(0, len(all_), TASK_DELIVERIES_MAX):
            part = all_[start : start + TASK_DELIVERIES_MAX]
            task_id = work.tasks.add(
                REQUEST,
                Request(channel_no, service_class, [no for no, _ in part]),
                deadline_s=max(new.timeout_s for _, new in part) + GRACE_S,
                queue=supplier.queue_name if supplier is not None else None,
                trace_keys=(new.order_id for _, new in part),
            )
            task_of |= dict.fromkeys((no for no, _ in part), task_id)
    return task_of


def _repeat(new: NewDelivery, there: Delivery, accounts: SealedColumn) -> Created | DeliveryRefusal:
    stored = _params(there.request_params) if there.request_params else {}
    same = (
        new.channel_no == there.channel_no
        and new.carrier_no == there.carrier_no
        and new.face_micros == there.product_face_micros
        and new.num == there.product_num
        and (there.archived or new.account == accounts.open(there.order_no, there.account))
        and new.order_id == there.order_id
        and _repeated(new.params) == _repeated(stored)
    )
    return Created(there, existed=True) if same else DeliveryDiffers(new.key.coop_order_id)


def _repeated(params: Mapping[str, str]) -> dict[str, str]:
    """What a repeat must say again. What is required may change meanwhile: what was asked first holds."""
    return {name: text for name, text in params.items() if name != interpret.REQUIRE_SERIAL}


def _rejects(ids: IdMaker, refused: Sequence[NewDelivery]) -> Iterator[Incident]:
    for incident_id, new in zip(ids.take(len(refused)), refused, strict=True):
        yield Incident(
            id=incident_id,
            coop_id=new.key.coop_id,
            coop_order_id=new.key.coop_order_id,
            channel_no=new.channel_no,
            service_class=new.key.service_class,
            carrier_no=new.carrier_no,
            product_face_micros=new.face_micros,
            product_num=new.num,
            error_msg="channel unavailable",
        )


async def find(context: Context, keys: Sequence[Key]) -> list[Delivery | DeliveryNotFound]:
    """Deliveries as they stand, in the order asked."""
    async with context.app.db.connect() as db:
        return await _find(db, keys)


async def _find(db: AsyncConnection, keys: Sequence[Key]) -> list[Delivery | DeliveryNotFound]:
    asked = [
        key
        for key in keys
        if holdable((key.coop_id, key.coop_order_id)) and key.service_class in CLASSES
    ]
    found = await store.by_key(db, asked) if asked else {}
    return [found.get(key) or DeliveryNotFound(key.coop_order_id) for key in keys]


async def supplier_numbers(context: Context, keys: Sequence[Key]) -> list[tuple[int, str]]:
    """The number that the supplier was sent and the account, in the order asked; 0 for what is not known."""
    owners = [(key.coop_id, key.coop_order_id) for key in keys]
    asked = [owner for owner in owners if holdable(owner)]
    async with context.app.db.connect() as db:
        found = await store.supplier_numbers(db, asked) if asked else {}
    return [_opened(context, *found.get(owner, (0, ""))) for owner in owners]


def _opened(context: Context, order_no: int, stored: str) -> tuple[int, str]:
    """An account that no key opens is as one that was erased: it may not hold up a day of the books."""
    try:
        return order_no, context.accounts.open(order_no, stored)
    except Unsealable:
        _log.error("account_not_opened", order_no=order_no)
        return order_no, ""


async def _find_one(db: AsyncConnection, key: Key) -> Delivery:
    """One delivery. Refuses DeliveryNotFound."""
    found = (await _find(db, [key]))[0]
    if isinstance(found, DeliveryNotFound):
        raise found
    return found


async def ask_now(context: Context, key: Key) -> Delivery:
    """Query an unknown delivery now; gives it as it stood before. Refuses DeliveryNotFound."""
    async with context.app.work("delivery.ask_now") as work:
        found = await _find_one(work.db, key)
        looked = await store.load_outgoing(work.db, [found.order_no])
        sender = context.senders.of(found.channel_no, found.service_class)
        if found.status is Status.SENDING:
            work.tasks.add(
                ASK,
                Ask(found.order_no),
                order_no=str(found.order_no),
                queue=sender.supplier.queue_name if sender is not None else None,
            )
    if sender is not None:
        for status, row in looked:
            if status is Status.SENDING:
                sender.ask(row)
    return found


async def read_answer(context: Context, key: Key) -> tuple[Delivery, Outcome]:
    """What the supplier says now of a delivery of whichever class; nothing is stored, nothing ends by it.

    Refuses DeliveryNotFound, ChannelUnavailable.
    """
    async with context.app.db.connect() as db:
        asked = [Key(key.coop_id, key.coop_order_id, one) for one in sorted(CLASSES)]
        there = [one for one in await _find(db, asked) if isinstance(one, Delivery)]
        if not there:
            raise DeliveryNotFound(key.coop_order_id)
        found = there[0]
        looked = await store.load_outgoing(db, [found.order_no])
    sender = context.senders.of(found.channel_no, found.service_class)
    if sender is None or not sender.supplier.can_query:
        raise ChannelUnavailable(found.channel_no, found.service_class)
    row = looked[0][1] if looked else store.outgoing_of(found)
    outcome = await sender.read(row)
    _, account = _opened(context, found.order_no, row.account)
    return found, replace(outcome, desc=hidden_in(outcome.desc, account))


async def resolve(context: Context, key: Key, status: Status, by: str, reason: str) -> Delivery:
    """End an unknown delivery by a person's decision. Refuses DeliveryNotFound, AlreadyFinal, CardsMissing.

    A success without codes is none, also when a person says so: they are entered before (`entering.enter`).
    """
    async with context.app.db.connect() as db:
        found = await _find_one(db, key)
        outcome = _resolution(found, status, by, reason)
        if outcome is not None and outcome.verdict is Verdict.SUCCEEDED:
            await _check_cards(context, db, found)
    if outcome is not None:
        writer = context.writers.of(found.channel_no, found.service_class)
        await shielded(writer.write(outcome))
    async with context.app.db.connect() as db:
        found = await _find_one(db, key)
    _resolution(found, status, by, reason)
    return found


async def _check_cards(context: Context, db: AsyncConnection, found: Delivery) -> None:
    """Refuses CardsMissing where a channel must deliver cards and none are there."""
    supplier = context.suppliers.get(found.channel_no, found.service_class)
    if supplier is None or not supplier.delivers_cards:
        return
    if found.service_class == ServiceClass.COUPON and not await card_store.entered(
        db, found.order_no
    ):
        raise CardsMissing(found.coop_order_id)


def _resolution(delivery: Delivery, status: Status, by: str, reason: str) -> Outcome | None:
    """A person's decision as an outcome; None when the delivery has that status. Refuses AlreadyFinal."""
    if delivery.status is status:
        return None
    if delivery.status in FINAL:
        raise AlreadyFinal(delivery.coop_order_id, delivery.status)
    succeeded = status is Status.SUCCEEDED
    return Outcome(
        delivery.order_no,
        Verdict.SUCCEEDED if succeeded else Verdict.FAILED,
        Source.MANUAL,
        "MANUAL",
        f"{by}: {reason}",
        succ_face_micros=delivery.amount_micros if succeeded else 0,
        by=by,
    )


async def take_notify(
    context: Context, channel_no: str, service_class: int, notify: InboundNotify
) -> bytes:
    """Take a supplier's notify; gives the acknowledgement once its outcome is committed.

    Refuses NotifyUnverified, TooManyAttempts, ShardAway.
    """
    supplier, reply, order_no = context.verifier.verify(channel_no, service_class, notify)
    shard, home = context.parts.of_number(order_no)
    try:
        async with home.app.db.connect() as db:
            found = await _notified(db, order_no)
    except Exception as error:
        if home.app.home.shards > 1 and away(error):
            raise ShardAway(shard) from error
        raise
    if found is None or (found[0].channel_no, found[0].service_class) != supplier.key:
        raise context.verifier.refusal(channel_no, service_class, notify.remote_ip)
    account = context.accounts.open(order_no, found[0].account)
    row = msgspec.structs.replace(found[0], account=account)
    outcome = interpret.of_reply(supplier, row, reply, Source.NOTIFY)
    outcome.raw = interpret.shown(supplier, notify.body, account)
    if found[1]:  # nothing could mask its account in what the supplier says
        outcome.raw, outcome.desc, outcome.params = interpret.not_kept(notify.body), "", {}
    outcome.remote_ip = notify.remote_ip[:64]
    await shielded(home.writers.of(*supplier.key).write(outcome))
    context.verifier.accepted()
    return protocol_of(supplier).ack_body()


async def _notified(db: AsyncConnection, order_no: int) -> tuple[Outgoing, bool] | None:
    """The delivery that a notify is about, and whether it has left the database."""
    if looked := await store.load_outgoing(db, [order_no]):
        return looked[0][1], False
    gone = (await store.by_no(db, [order_no])).get(order_no)
    return None if gone is None else (store.outgoing_of(gone), True)


async def take_prices(
    context: Context, channel_no: str, service_class: int, notify: InboundNotify
) -> bytes:
    """Take a supplier's notify of prices and stock; gives the acknowledgement once it is committed.

    Refuses NotifyUnverified, TooManyAttempts. What it changes is decided by the order service.
    """
    now = context.app.wall_clock.now()
    stated = context.verifier.verify_prices(channel_no, service_class, notify, now)
    async with context.app.work("delivery.take_prices") as work:
        prices.enqueue(work, stated)
    context.verifier.accepted()
    supplier = context.suppliers.get(channel_no, service_class)
    return b"success" if supplier is None else protocol_of(supplier).prices_ack()


async def page(
    context: Context, wanted: DeliveryFilter, before: int, most: int
) -> tuple[list[Delivery], str]:
    """Deliveries, newest first, and the token of the next page."""
    async with context.app.db.connect() as db:
        numbers, token = await supplier_store.list_deliveries(db, wanted, before=before, most=most)
        rows = await store.by_no(db, numbers)
    return [rows[no] for no in numbers if no in rows], token


async def incidents(
    context: Context, channel_no: str, coop_order_id: str, before: int, most: int
) -> tuple[Sequence[Incident], str]:
    """Incidents, newest first, and the token of the next page."""
    async with context.app.db.connect() as db:
        return await supplier_store.list_incidents(
            db, channel_no=channel_no, coop_order_id=coop_order_id, before=before, most=most
        )
