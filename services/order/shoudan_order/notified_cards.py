"""Cards that go along with the notify of an order, encrypted to its channel's key as they are fetched."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import cards
from shoudan_kit.http.connection import NotSent
from shoudan_kit.secrets.public_keys import encrypted, key_of
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import DownChannel
from shoudan_order.context import Context
from shoudan_order.delivery_client import VOUCHER, CardPage
from shoudan_order.goods_notifies import page_of, speaks
from shoudan_order.states import DeliveryStatus
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store.rows import NotifyRow

INFO: Final = b"shoudan notify cards 1"


async def delivered(
    db: AsyncConnection, now: Catalogue, rows: Collection[NotifyRow]
) -> Mapping[int, Sequence[int]]:
    """By order, the deliveries whose cards its notify carries; nothing is read where none wants them."""
    wanting = [row.order_id for row in rows if _carries(now, row)]
    found: dict[int, list[int]] = defaultdict(list)
    for one in await delivery_store.deliveries_of(db, wanting) if wanting else ():
        if one.delivery_status == DeliveryStatus.SUCCEEDED:
            found[one.delivery.order_id].append(one.delivery.delivery_id)
    return found


def _carries(now: Catalogue, row: NotifyRow) -> bool:
    channel, line = now.down_channels.get(row.down_channel_no), now.lines.get(row.line_id)
    wanted = channel is not None and (bool(channel.card_key) or speaks(channel))
    return wanted and not row.refund_id and line is not None and line.service_class == VOUCHER


async def fetched(
    context: Context, channel: DownChannel | None, row: NotifyRow, parts: Sequence[int]
) -> str | NotSent:
    """What the notify carries of these deliveries: base64, empty for none; else why it is not sent now.

    The delivery service records it as a fetch, each time the notify is tried.
    """
    if channel is None or not channel.card_key or not parts:
        return ""
    page = await page_of(context, row, parts)
    if isinstance(page, NotSent):
        return page
    return _sealed(channel.card_key, row, page) if page.cards else ""


def _sealed(card_key: str, row: NotifyRow, page: CardPage) -> str:
    """Bound to the order by its numbers, which stand in it."""
    facts = {
        "channel_no": row.down_channel_no,
        "request_no": row.request_no,
        "order_id": str(row.order_id),
        "cards": [cards.shown(one) for one in page.cards],
        "next_page": page.next_page_token,
    }
    return base64.b64encode(encrypted(orjson.dumps(facts), key_of(card_key), INFO)).decode()
