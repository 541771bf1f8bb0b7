"""Statements on goods: when products changed, orders as the 虚拟货源 interface shows them, subscriptions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement
from shoudan_order.kinds import GOODS_FAILS_MAX
from shoudan_order.states import OrderStatus


class OrderFacts(msgspec.Struct, frozen=True):
    """An order of goods: what was asked for, and where it stands."""

    order_id: int
    down_channel_no: str
    request_no: str
    down_product_id: int
    line_id: int
    carrier_no: str
    province_no: str
    city_no: str
    invoice_type: int
    num: int
    face_micros: int
    mer_amount_micros: int
    sell_amount_micros: int
    service_amount_micros: int
    rechage_account: str
    order_status: OrderStatus
    fail_code: str
    fail_msg: str
    create_time: datetime
    end_time: datetime | None


class Subscription(msgspec.Struct, frozen=True):
    """A wish to be notified of changes of goods."""

    channel_no: str
    product_id: int
    token: str
    notify_url: str
    create_time: datetime


class Due(msgspec.Struct, frozen=True):
    """A subscription whose goods changed, and with which version of the catalogue."""

    channel_no: str
    product_id: int
    token: str
    notify_url: str
    fails: int
    version: int


class Tried(msgspec.Struct, frozen=True):
    """What came of one call."""

    due: Due
    acknowledged: bool
    answer: str


_DUES: Final = Rows(Due)
_FACTS: Final = Rows(OrderFacts)
_SUBSCRIPTIONS: Final = Rows(Subscription)

_CHANGED = statement("""
SELECT p.product_id, coalesce(v.change_time, p.create_time) AS change_time
FROM oms_down_product p LEFT JOIN oms_shelf_version v
    ON v.channel_no = :channel_no AND v.product_id = p.product_id
WHERE p.product_id = ANY(CAST(:ids AS bigint[]))
""")
# By the unique key of the channel.
_BY_KEYS = statement(f"""
SELECT {_FACTS.of("o")} FROM oms_order_info o
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:request_nos AS text[])) AS k(channel_no, request_no)
    ON o.down_channel_no = k.channel_no AND o.request_no = k.request_no
""")
_BY_ID = statement(f"""
SELECT {_FACTS.of("o")} FROM oms_order_info o
WHERE o.order_id = :order_id AND o.down_channel_no = :channel_no
""")
_SUBSCRIBED = statement(f"""
SELECT {_SUBSCRIPTIONS.of("s")} FROM oms_goods_subscription s WHERE s.channel_no = :channel_no
ORDER BY s.product_id, s.token LIMIT :most
""")
# Calls at the same moment may pass the bound by as many as they are.
_SUBSCRIBE = statement("""
INSERT INTO oms_goods_subscription AS s (channel_no, product_id, token, notify_url, create_time, version)
SELECT :channel_no, :product_id, :token, :notify_url, shoudan_now(),
    coalesce((SELECT v.version FROM oms_shelf_version v
        WHERE v.channel_no = :channel_no AND v.product_id = :product_id), 0)
WHERE (SELECT count(*) FROM oms_goods_subscription there WHERE there.channel_no = :channel_no) < :most
    OR EXISTS (SELECT FROM oms_goods_subscription there WHERE there.channel_no = :channel_no
        AND there.product_id = :product_id AND there.token = :token)
ON CONFLICT (channel_no, product_id, token) DO UPDATE SET notify_url = excluded.notify_url
RETURNING s.product_id
""")
# What changed after what was acknowledged; one that was given up waits for a person, or the next change.
_DUE_WHERE: Final = f"""s.channel_no = :channel_no AND s.fails < {GOODS_FAILS_MAX}
    AND EXISTS (SELECT FROM oms_shelf_version v WHERE v.channel_no = s.channel_no
        AND v.product_id = s.product_id AND v.version > s.version)"""
_DUE = statement(f"""
SELECT s.channel_no, s.product_id, s.token, s.notify_url, s.fails, (SELECT v.version
    FROM oms_shelf_version v WHERE v.channel_no = s.channel_no AND v.product_id = s.product_id) AS version
FROM oms_goods_subscription s WHERE {_DUE_WHERE}
ORDER BY s.notify_time NULLS FIRST, s.product_id, s.token LIMIT :most
""")
_IS_DUE = statement(f"""
SELECT EXISTS (SELECT FROM oms_goods_subscription s WHERE {_DUE_WHERE})
""")
# Never back: an answer that comes late changes nothing.
_TRIED = statement("""
UPDATE oms_goods_subscription s SET notify_time = shoudan_now(), answer = given.answer,
    version = CASE WHEN given.acknowledged THEN greatest(s.version, given.version) ELSE s.version END,
    fails = CASE WHEN given.acknowledged THEN 0 ELSE s.fails + 1 END
FROM unnest(CAST(:channel_nos AS text[]), CAST(:product_ids AS bigint[]), CAST(:tokens AS text[]),
    CAST(:versions AS bigint[]), CAST(:acknowledged AS boolean[]), CAST(:answers AS text[]))
    AS given(channel_no, product_id, token, version, acknowledged, answer)
WHERE s.channel_no = given.channel_no AND s.product_id = given.product_id AND s.token = given.token
""")
_BEGIN_AGAIN = statement(f"""
UPDATE oms_goods_subscription SET fails = 0 WHERE channel_no = :channel_no
    AND (:all_products OR product_id = ANY(CAST(:product_ids AS bigint[]))) AND fails >= {GOODS_FAILS_MAX}
RETURNING product_id
""")
_UNSUBSCRIBE = statement("""
DELETE FROM oms_goods_subscription
WHERE channel_no = :channel_no AND product_id = :product_id AND token = :token
""")


async def changed(
    db: AsyncConnection, channel_no: str, product_ids: Sequence[int]
) -> dict[int, datetime]:
    """When what a channel sees of products changed last."""
    rows = await db.execute(_CHANGED, {"channel_no": channel_no, "ids": product_ids})
    return {row.product_id: row.change_time for row in rows}


async def orders_by_keys(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], OrderFacts]:
    """Orders by (channel_no, request_no)."""
    binds = {
        "channel_nos": [channel_no for channel_no, _ in keys],
        "request_nos": [request_no for _, request_no in keys],
    }
    found = _FACTS.all(await db.execute(_BY_KEYS, binds))
    return {(one.down_channel_no, one.request_no): one for one in found}


async def order_by_id(db: AsyncConnection, channel_no: str, order_id: int) -> OrderFacts | None:
    """A channel's order by our number."""
    found = _FACTS.all(await db.execute(_BY_ID, {"channel_no": channel_no, "order_id": order_id}))
    return found[0] if found else None


async def subscriptions(db: AsyncConnection, channel_no: str, most: int) -> list[Subscription]:
    """A channel's subscriptions, by goods."""
    binds = {"channel_no": channel_no, "most": most}
    return list(_SUBSCRIPTIONS.all(await db.execute(_SUBSCRIBED, binds)))


async def subscribe(
    db: AsyncConnection, key: tuple[str, int, str], notify_url: str, most: int
) -> bool:
    """Make one, or change its address; whether there was room."""
    channel_no, product_id, token = key
    binds = {
        "channel_no": channel_no,
        "product_id": product_id,
        "token": token,
        "notify_url": notify_url,
        "most": most,
    }
    return (await db.execute(_SUBSCRIBE, binds)).scalar() is not None


async def unsubscribe(db: AsyncConnection, key: tuple[str, int, str]) -> None:
    """End one, if it is there."""
    channel_no, product_id, token = key
    binds = {"channel_no": channel_no, "product_id": product_id, "token": token}
    await db.execute(_UNSUBSCRIBE, binds)


async def due(db: AsyncConnection, channel_no: str, most: int) -> list[Due]:
    """Subscriptions of a channel whose goods changed since they acknowledged, the longest untried first."""
    return _DUES.all(await db.execute(_DUE, {"channel_no": channel_no, "most": most}))


async def is_due(db: AsyncConnection, channel_no: str) -> bool:
    """Whether there are any."""
    return bool((await db.execute(_IS_DUE, {"channel_no": channel_no})).scalar_one())


async def tried(db: AsyncConnection, given: Sequence[Tried]) -> None:
    """Note what came of calls."""
    await db.execute(
        _TRIED,
        {
            "channel_nos": [one.due.channel_no for one in given],
            "product_ids": [one.due.product_id for one in given],
            "tokens": [one.due.token for one in given],
            "versions": [one.due.version for one in given],
            "acknowledged": [one.acknowledged for one in given],
            "answers": [one.answer for one in given],
        },
    )


async def begin_again(
    db: AsyncConnection, channel_no: str, product_ids: Sequence[int] | None = None
) -> int:
    """Those that were given up are tried again: of these goods, of all where none are named; how many."""
    binds = {
        "channel_no": channel_no,
        "all_products": product_ids is None,
        "product_ids": list(product_ids or ()),
    }
    return len(list(await db.execute(_BEGIN_AGAIN, binds)))
