"""Promises of the catalogue: checked whole, applied once, accounts made, history kept, migrations equal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan_kit.db.migrate import differences
from shoudan_kit.db.text_statements import watched
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order.app import SERVICE
from shoudan_order.catalogue import admin, channel_versions
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.context import Context, Known
from shoudan_order.store import catalogue as store
from shoudan_order.tables import METADATA, QUEUES
from tests.audit_rows import last_change
from tests.order.harness import OrderHarness, catalogue, catalogue_pb, down_product, up_product


async def test_the_migrations_make_exactly_the_tables_declared(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    urls = await new_database("order")
    assert SERVICE.schema is not None
    assert await differences(SERVICE.schema, urls.owner) == []


def test_every_column_has_a_comment() -> None:
    bare = [
        f"{t.name}.{c.name}" for t in METADATA.tables.values() for c in t.columns if not c.comment
    ]
    assert bare == []


async def test_a_channel_gets_its_three_ledger_accounts(harness: OrderHarness) -> None:
    assert harness.ledger.accounts == {
        ("down_channel", "test"): "测试渠道账户",
        ("down_commission", "test"): "测试佣金账户",
        ("down_service", "test"): "测试服务费账户",
        ("up_channel", "ycup"): "上游渠道账户",
        ("up_commission", "ycup"): "上游佣金账户",
        ("up_service", "ycup"): "上游服务费账户",
    }


async def test_applying_again_changes_nothing_and_history_says_who(harness: OrderHarness) -> None:
    again = await harness.apply(**catalogue())
    assert (list(again.changes), again.version) == ([], 1)
    changed = await harness.apply(down_products=[down_product(sell_discount_ppm=910_000)])
    assert list(changed.changes) == ["down_products 300: sell_discount_ppm 900000 -> 910000"]
    async with harness.process.app.db.connect() as db:
        rows = await db.execute(
            text("SELECT operator, version FROM oms_operation ORDER BY version")
        )
        assert [tuple(row) for row in rows] == [("tester", 1), ("tester", 2)]


async def test_a_new_channel_gets_the_newest_version_and_keeps_its_own(
    harness: OrderHarness,
) -> None:
    async def version_of(number: str) -> str:
        return (await whole(harness)).down_channels[number].api_version

    def row(number: str, **more: Any) -> pb.DownChannel:
        return _calls("hmac2", channel_no=number, **more)

    made = await harness.apply(down_channels=[row("new"), row("old", api_version="0")])
    assert len(made.changes) == 2
    assert (await version_of("new"), await version_of("old")) == (channel_versions.NEWEST, "0")
    again = await harness.apply(down_channels=[row("new"), row("old")])
    assert list(again.changes) == []
    await harness.apply(down_channels=[row("new", api_version="0")])
    await harness.apply(down_channels=[row("new", channel_name="renamed")])
    assert await version_of("new") == "0"
    async with harness.process.app.db.begin() as db:  # of before there were versions
        await db.execute(
            text("UPDATE oms_down_channel SET api_version = '' WHERE channel_no = 'old'")
        )
    await harness.apply(down_channels=[row("old", channel_name="renamed")])
    assert await version_of("old") == ""


async def test_the_audit_log_has_what_each_row_was(harness: OrderHarness) -> None:
    changed = down_product(sell_discount_ppm=910_000, limit_count=9)
    new = down_product(product_id=301, province_no="ZJ")
    await harness.apply(down_products=[changed, new])
    before, after = await last_change(harness.process.app.db, "catalogue")
    was = {"sell_discount_ppm": 900_000, "limit_count": 10}
    assert before == {"down_products 300": was}
    assert after["down_products 300"] == {"sell_discount_ppm": 910_000, "limit_count": 9}
    assert after["down_products 301"]["province_no"] == "ZJ"


async def test_a_dry_run_tells_and_changes_nothing(harness: OrderHarness) -> None:
    request = pb.ApplyCatalogueRequest(
        catalogue=pb.Catalogue(lines=[pb.Line(line_id=2, line_name="话费", service_class=30)]),
        by="tester",
        dry_run=True,
    )
    told = await harness.catalogue.ApplyCatalogue(request)
    assert list(told.changes) == ["lines 2: new"]
    now = await harness.catalogue.GetCatalogue(pb.GetCatalogueRequest())
    assert [line.line_id for line in now.catalogue.lines] == [1]
    assert dict(now.catalogue.lines[0].queues) == {name: q for name, (q, _) in QUEUES.items()}


@pytest.mark.parametrize(
    ("kinds", "where"),
    [
        ({"down_products": [down_product(shelf_id=9)]}, "down_products 300"),
        ({"up_products": [up_product(line_id=9)]}, "up_products 300"),
        ({"down_products": [down_product(product_id=301)]}, "down_products 301"),
        ({"lines": [catalogue_pb.Line(line_id=1, service_class=10, queues={"nope": "q"})]}, "lines 1"),
        ({"up_products": [up_product(), up_product()]}, "up_products 300"),
    ],
)  # fmt: skip
async def test_a_contradiction_is_refused_and_named(
    harness: OrderHarness, kinds: dict[str, Any], where: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        await harness.apply(**kinds)
    refused = refused_from_rpc(raised.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_CATALOGUE_INVALID"
    assert refused.metadata["where"] == where
    assert harness.context.catalogue.version == 1


async def test_products_that_exchange_places_are_refused_and_stay(harness: OrderHarness) -> None:
    other = {"product_id": 301, "face_micros": 100_000_000}
    await harness.apply(down_products=[down_product(**other)])
    here, there = down_product(), down_product(**other)
    here.face_micros, there.face_micros = there.face_micros, here.face_micros
    with pytest.raises(grpc.RpcError) as raised:
        await harness.apply(down_products=[here, there])
    refused = refused_from_rpc(raised.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_CATALOGUE_INVALID"
    assert harness.context.catalogue.version == 2


async def test_a_disabled_product_is_not_sold_but_a_repeat_is_answered(
    harness: OrderHarness,
) -> None:
    new = harness.new()
    (first,) = await harness.create(new)
    await harness.apply(down_products=[down_product(enabled=False)])
    again, other = await harness.create(new, harness.new())
    assert again.order.order_id == first.order.order_id
    assert other.refusal.reason == "ERROR_REASON_PRODUCT_NOT_FOUND"
    assert dict(other.refusal.metadata) == {"channel_no": "test", "face": "200"}


def _calls(mode: str, *networks: str, **more: Any) -> pb.DownChannel:
    return pb.DownChannel(
        **{
            "channel_no": "caller",
            "channel_name": "c",
            "enabled": True,
            "auth_mode": mode,
            "allowed_networks": networks,
            **more,
        }
    )


@pytest.mark.parametrize(
    "row",
    [
        _calls(""),
        _calls("none"),
        _calls("md5"),
        _calls("MD5"),
        _calls("none", "0.0.0.0/0"),
        _calls("md5", "10.0.0.0/8", "::/0"),
        _calls("hmac3"),
    ],
    ids=str,
)
async def test_a_new_channel_signs_so_that_it_cannot_be_forged_or_names_its_networks(
    harness: OrderHarness, row: pb.DownChannel
) -> None:
    for dry_run in (True, False):
        request = pb.ApplyCatalogueRequest(
            catalogue=pb.Catalogue(down_channels=[row]), by="t", dry_run=dry_run
        )
        with pytest.raises(grpc.RpcError) as caught:
            await harness.catalogue.ApplyCatalogue(request)
        refused = refused_from_rpc(caught.value)
        assert refused is not None
        assert refused.reason == "ERROR_REASON_CATALOGUE_INVALID"
        assert "auth_mode" in refused.metadata["why"]


async def test_channels_that_sign_or_name_their_networks_are_taken(harness: OrderHarness) -> None:
    for row in (
        _calls("hmac2"),
        _calls("hmac"),
        _calls("none", "10.0.0.0/8"),
        _calls("md5", "2001:db8::/32"),
        _calls("", enabled=False, channel_no="shut"),
    ):
        assert (await harness.apply(down_channels=[row])).changes


async def test_a_channel_of_before_is_changed_without_a_word_about_its_signing(
    harness: OrderHarness,
) -> None:
    await harness.sql(
        "UPDATE oms_down_channel SET allowed_networks = '[]' WHERE channel_no = 'test'"
    )
    renamed = pb.DownChannel(channel_no="test", channel_name="新名", enabled=True)
    assert (await harness.apply(down_channels=[renamed])).changes
    renamed.auth_mode = "md5"
    with pytest.raises(grpc.RpcError):
        await harness.apply(down_channels=[renamed])


@dataclass
class Read:
    """What one look at the catalogue cost: text statements, and rows of the catalogue by kind."""

    statements: list[str] = field(default_factory=list[str])
    rows: dict[str, int] = field(default_factory=dict[str, int])


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    read, read_kind = Read(), store.read_kind

    async def counting(db: Any, kind: str, keys: Any = None) -> Any:
        rows = await read_kind(db, kind, keys)
        if asyncio.current_task() is not here:
            return rows
        read.rows[kind] = read.rows.get(kind, 0) + len(rows)
        return rows

    here = asyncio.current_task()

    def see(sql: str) -> None:
        if asyncio.current_task() is here:  # the process looks by itself meanwhile
            read.statements.append(sql)

    with monkeypatch.context() as patched, watched(see):
        patched.setattr(store, "read_kind", counting)
        yield read


async def replica(harness: OrderHarness) -> Context:
    """A second process that has read the catalogue so far; its looks are made by hand."""
    other = copy(harness.context)
    other.known = Known()
    await admin.refresh(other)
    return other


async def test_a_look_costs_one_statement_and_a_change_the_rows_it_changed(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [down_product(product_id=1000 + i, face_micros=(i + 1) * 1_000_000) for i in range(150)]
    await harness.apply(down_products=many)
    other = await replica(harness)
    with counted(monkeypatch) as same:
        await admin.refresh(other)
    assert (len(same.statements), same.rows) == (1, {})
    await harness.apply(down_products=[down_product(sell_discount_ppm=910_000)])
    await harness.apply(down_products=[down_product(sell_discount_ppm=920_000), many[0]])
    with counted(monkeypatch) as changed:
        await admin.refresh(other)
    assert len(changed.statements) == 4
    assert changed.rows == {"down_products": 1}
    assert other.catalogue.down_products[300].sell_discount_ppm == 920_000
    assert other.catalogue == await whole(harness)


async def whole(harness: OrderHarness) -> Catalogue:
    async with harness.process.app.db.connect() as db:
        return await admin.load(db)


LOST = {
    "a version that noted nothing": "DELETE FROM oms_catalogue_change WHERE version = 2",
    "all that is noted": "DELETE FROM oms_catalogue_change",
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_what_is_not_noted_is_read_whole(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    other = await replica(harness)
    await harness.apply(down_products=[down_product(sell_discount_ppm=910_000)])
    await harness.apply(up_products=[up_product(cost_discount_ppm=790_000)])
    await harness.sql(lost)
    assert (await since(harness, 1)).only_changed is False
    with counted(monkeypatch) as read:
        await admin.refresh(other)
    assert set(read.rows) == set(admin.TYPES)
    assert other.catalogue == await whole(harness)
    assert other.catalogue.version == 3


async def since(harness: OrderHarness, known: int) -> pb.GetCatalogueResponse:
    return await harness.catalogue.GetCatalogue(pb.GetCatalogueRequest(known_version=known))


async def test_a_caller_gets_what_changed_since_the_version_it_has(harness: OrderHarness) -> None:
    now = await since(harness, 1)
    assert (now.only_changed, now.version, now.catalogue) == (True, 1, pb.Catalogue())
    new = pb.DownChannel(channel_no="c2", channel_name="二", enabled=False, auth_mode="hmac2")
    await harness.apply(down_channels=[new])
    await harness.apply(down_products=[down_product(sell_discount_ppm=910_000)])
    late, newer = await since(harness, 1), await since(harness, 2)
    assert (late.only_changed, late.version, newer.version) == (True, 3, 3)
    assert [one.channel_no for one in late.catalogue.down_channels] == ["c2"]
    assert [one.product_id for one in late.catalogue.down_products] == [300]
    assert newer.catalogue == pb.Catalogue(down_products=late.catalogue.down_products)


@pytest.mark.parametrize("known", [0, -1, 9, 2**63 - 1])
async def test_a_version_that_never_was_gets_all(harness: OrderHarness, known: int) -> None:
    answer = await since(harness, known)
    assert (answer.only_changed, answer.version) == (False, 1)
    assert [one.line_id for one in answer.catalogue.lines] == [1]


async def test_notes_of_versions_long_ago_are_forgotten(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "VERSIONS_KEPT", 2)
    for ppm in (910_000, 920_000, 930_000):
        await harness.apply(down_products=[down_product(sell_discount_ppm=ppm)])
    rows = await harness.sql("SELECT DISTINCT version FROM oms_catalogue_change ORDER BY version")
    assert [row.version for row in rows] == [3, 4]
    assert (await since(harness, 1)).only_changed is False
    assert (await since(harness, 2)).only_changed is True


async def test_of_a_very_large_change_nothing_is_noted(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHANGES_MAX", 2)
    new = [down_product(product_id=400 + i, face_micros=(i + 1) * 1_000_000) for i in range(3)]
    await harness.apply(down_products=new)
    assert await harness.sql("SELECT version FROM oms_catalogue_change WHERE version = 2") == []
    assert (await since(harness, 1)).only_changed is False
