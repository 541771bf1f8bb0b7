"""Notifies of the 虚拟货源 standard interface: the end of an order in its words, signed its way.

Source: docs/reference/http/goofish.md. A callback carries codes in clear, as the interface has it, so it
does so under TLS alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import grpc
import msgspec
import orjson

from shoudan.core.v1 import core_pb2
from shoudan_kit.http.client import Answered, HttpResult, NotSent
from shoudan_kit.rpc.refusal import Overloaded, refused_from_rpc
from shoudan_order.catalogue.goods import GoodsType
from shoudan_order.catalogue.model import DownChannel
from shoudan_order.context import Context
from shoudan_order.credential_kinds import GOOFISH
from shoudan_order.delivery_client import VOUCHER, CardPage, CardsRefused, NotifyQuery
from shoudan_order.states import OrderStatus
from shoudan_order.store.rows import NotifyRow
from shoudan_signing import goofish

RUNNING: Final = 10
SUCCEEDED: Final = 20
FAILED: Final = 30
# Delivered in part is success with a remark: called failed, the platform would give all of the money back
# for goods that are used, and called running it would wait for ever.
STATUS: Final = {
    OrderStatus.SUCCEEDED: SUCCEEDED,
    OrderStatus.PARTIAL: SUCCEEDED,
    OrderStatus.FAILED: FAILED,
}
IN_PART: Final = "部分成功，未成功部分已退款"
NO_WORDS: Final = "订单失败"
CARDS_MAX: Final = 100  # of one order: one page of the delivery service
VOID: Final = "void"
UNSIGNABLE: Final = "goofish: no secret of the application or the merchant"


class CardItem(msgspec.Struct, frozen=True):
    """A card as the interface has it: `card_no` where there is a number beside what is secret."""

    card_no: str
    card_pwd: str

    def __repr__(self) -> str:
        """Nothing of it."""
        return "CardItem(…)"


class Callback(msgspec.Struct, frozen=True):
    """One call that tells of an end."""

    url: str
    body: bytes
    with_cards: bool


def speaks(channel: DownChannel | None) -> bool:
    """Whether a channel is one of this interface."""
    return channel is not None and channel.auth_mode.lower() == goofish.SCHEME


def card_items(cards: Sequence[core_pb2.Card]) -> list[CardItem]:
    """Cards in its form; those that are void are left out."""
    return [_item(one) for one in cards if one.status != VOID]


def _item(one: core_pb2.Card) -> CardItem:
    secret = one.password or one.link or one.qr
    return CardItem(one.number if secret else "", secret or one.number)


def remark(status: OrderStatus, message: str) -> str:
    """Why an order failed, or that a part of it did."""
    if status == OrderStatus.PARTIAL:
        return IN_PART
    return (message or NO_WORDS) if status == OrderStatus.FAILED else ""


async def callback(
    context: Context, channel: DownChannel, row: NotifyRow, parts: Sequence[int]
) -> Callback | NotSent:
    """The call that tells how an order ended, or why it cannot be made now."""
    signers = parties(context, channel)
    if signers is None:
        return NotSent(UNSIGNABLE)
    cards: list[CardItem] = []
    if parts and _is_private(context, row.notify_url):
        page = await page_of(context, row, parts)
        if isinstance(page, NotSent):
            return page
        cards = card_items(page.cards)
    now = context.app.wall_clock.now()
    body = orjson.dumps(_facts(context, row, cards, int((row.end_time or now).timestamp())))
    url = goofish.signed_url(row.notify_url, signers, str(int(now.timestamp())), body)
    return Callback(url, body, bool(cards))


async def page_of(context: Context, row: NotifyRow, parts: Sequence[int]) -> CardPage | NotSent:
    """The first cards of an order for its notify, or why it is not sent now; recorded as a fetch."""
    query = NotifyQuery(parts, row.down_channel_no, row.order_id)
    try:
        return await context.delivery_client.notify_cards(query)
    except CardsRefused as error:
        why = error.reason
    except (grpc.RpcError, Overloaded) as error:
        refused = refused_from_rpc(error) if isinstance(error, grpc.RpcError) else None
        why = refused.reason if refused is not None else "the delivery service does not answer"
    return NotSent(f"cards: {why}")


def _facts(
    context: Context, row: NotifyRow, cards: Sequence[CardItem], end_s: int
) -> dict[str, Any]:
    line = context.catalogue.lines.get(row.line_id)
    is_cards = line is not None and line.service_class == VOUCHER
    status = OrderStatus(row.order_status)
    facts: dict[str, Any] = {
        "order_type": int(GoodsType.CARDS if is_cards else GoodsType.RECHARGE),
        "order_no": row.request_no,
        "out_order_no": str(row.order_id),
        "order_status": STATUS.get(status, RUNNING),
        "end_time": end_s,
    }
    if cards:
        facts["card_items"] = [
            {"card_no": one.card_no, "card_pwd": one.card_pwd}
            if one.card_no
            else {"card_pwd": one.card_pwd}
            for one in cards
        ]
    if words := remark(status, row.fail_msg):
        facts["remark"] = words
    return facts


def parties(context: Context, channel: DownChannel) -> goofish.Parties | None:
    """Who signs, with the newest secrets."""
    app_id = context.settings.goofish_app_id
    app_secrets = context.credentials.live.texts(GOOFISH.name, app_id)
    own = context.notify_secrets(channel)
    if not app_id or not app_secrets or not own:
        return None
    return goofish.Parties(app_id, app_secrets[0], channel.channel_no, own[0])


def _is_private(context: Context, url: str) -> bool:
    """Whether codes may go there: under TLS, and in clear outside of production alone."""
    return url.lower().startswith("https://") or context.settings.profile != "prod"


def acknowledged(outcome: HttpResult) -> bool:
    """HTTP 200 and the code 0."""
    if not isinstance(outcome, Answered) or outcome.status != 200:
        return False
    try:
        read: object = orjson.loads(outcome.body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(read, dict):
        return False
    code = cast("dict[str, object]", read).get("code")
    return type(code) is int and code == 0
