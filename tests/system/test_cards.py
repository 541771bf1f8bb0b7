"""Promises: a partner gets its cards by a signed call, and no file of ours ever holds one in clear."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan.core.v1 import credential_service_pb2_grpc as stubs
from shoudan.delivery.v1 import card_service_pb2 as card_pb
from shoudan.delivery.v1 import card_service_pb2_grpc as card_stubs
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_stubs
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_rpc
from shoudan_cli.wiring import SERVICES
from shoudan_delivery.stock import encrypted
from shoudan_fakes import cards as sandbox_cards
from shoudan_kit.secrets.public_keys import SUITE
from shoudan_signing.channel import hmac_v2_sign
from tests.poll import eventually
from tests.system.conftest import ENDED_S, Partner
from tests.system.test_personal import places

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

VOUCHER = {"line_id": "2", "carrier_no": "DZQ", "face": "50", "amount": "142.5", "num": "3"}
CHUNK = 4 * 2**20


def signed(path: str, key: str, **params: Any) -> dict[str, str]:
    values = {name: str(value) for name, value in params.items()} | {
        "channel_no": "test",
        "sign_type": "HMAC-SHA256-V2",
        "timestamp": str(int(time.time())),
        "nonce": secrets.token_hex(16),
    }
    return values | {"sign": hmac_v2_sign("GET", path, values, b"", key.encode())}


async def credential(partner: Partner, method: str, **fields: Any) -> Any:
    """A call about the credentials of the order service."""
    if method == "IssueCredential":
        fields["request_key"] = secrets.token_hex(8)
    request = getattr(pb, f"{method}Request")(by="li", reason="test", **fields)
    return await partner.clients.call("order", stubs.CredentialServiceStub, method, request)


async def fetched(partner: Partner, key: str, **params: Any) -> tuple[int, Any]:
    return await partner.get("/order/cards", **signed("/order/cards", key, **params))


async def believed(partner: Partner, key: str, number: str) -> bool:
    """Whether the gateway knows a new key, which takes it up to a second."""
    status, _ = await fetched(partner, key, request_no=number, page_size=1)
    return status == 200


def written_as(text: str) -> Iterator[bytes]:
    """How a text could stand in a file."""
    plain = text.encode()
    yield plain
    yield plain.hex().encode()
    yield text.encode("utf-16-le")
    for start in range(3):  # base64 of it, wherever it begins within three bytes
        yield base64.b64encode(b"\0" * start + plain)[4 : -4 or None]


def holding(folders: list[Path], needles: list[bytes]) -> list[str]:
    """The files below these folders that hold one of the needles."""
    overlap = max(map(len, needles))
    found: list[str] = []
    for folder in folders:
        assert folder.is_dir(), folder
        for path in (one for one in folder.rglob("*") if one.is_file()):
            before = b""
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    there = before + chunk
                    found += [str(path) for needle in needles if needle in there]
                    before = there[-overlap:]
    return found


async def test_cards_are_fetched_and_returned_and_stand_in_clear_nowhere(partner: Partner) -> None:
    system = partner.system
    made = await credential(partner, "IssueCredential", kind="channel", owner="test")
    number = partner.number()
    try:
        assert (await partner.order(**VOUCHER, request_no=number))[0] == 200
        await partner.all_ended(number, 1)
        await eventually(lambda: believed(partner, made.secret, number))
        first = await fetched(partner, made.secret, request_no=number, page_size=2)
        assert first[0] == 200, first
        rest = await fetched(
            partner, made.secret, request_no=number, page_size=2, page=first[1]["next_page"]
        )
        cards = [*first[1]["cards"], *rest[1]["cards"]]
        assert (rest[1]["next_page"], rest[1]["status"], len(cards)) == ("", 0, 3)
        async with system.postgres.admin("shoudan_delivery") as db:
            parts = await db.fetch(
                "SELECT order_no, product_num FROM vds_order_info"
                " WHERE order_id = $1 AND service_class = 20 ORDER BY order_no",
                first[1]["order_id"],
            )
        wanted = [sandbox_cards.card(str(no), at) for no, num in parts for at in range(1, num + 1)]
        assert [(one["number"], one["password"]) for one in cards] == [
            (one["number"], one["password"]) for one in wanted
        ]
        assert {(one["status"], one["expiry"]) for one in cards} == {
            ("REVEALED", "2100-01-01 00:00:00")
        }
        await nothing_without_a_signature(partner, made.secret, number)
        back = {"request_no": number, "refund_no": partner.number(), "refund_num": 3}
        url = f"{system.sandbox_url}/inbox/test"
        assert (await partner.get("/refund/general", channel_no="test", notify_url=url, **back))[
            0
        ] == 200

        async def refunded() -> bool:
            status = await partner.sql(
                "order",
                "SELECT refund_notify_status FROM oms_refund_info WHERE down_refund_no = $1",
                back["refund_no"],
            )
            return status == 0

        await eventually(refunded, ENDED_S, every_s=0.2)
        gone = (await fetched(partner, made.secret, request_no=number))[1]["cards"]
        assert [set(one) for one in gone] == [{"card_id", "face", "expiry", "status"}] * 3
        assert {one["status"] for one in gone} == {"VOID"}
    finally:
        credential_id = made.credential.credential_id
        await credential(partner, "RevokeCredential", credential_id=credential_id)
    await in_clear_nowhere(partner, number, cards)


async def card_key(partner: Partner, key: str) -> None:
    """Give channel `test` this key for the cards in its notifies."""
    call, stub = partner.clients.call, catalogue_rpc.CatalogueServiceStub
    now = await call("order", stub, "GetCatalogue", catalogue_pb.GetCatalogueRequest())
    (row,) = (one for one in now.catalogue.down_channels if one.channel_no == "test")
    row.card_key = key
    request = catalogue_pb.ApplyCatalogueRequest(
        catalogue=catalogue_pb.Catalogue(down_channels=[row]), by="li"
    )
    await call("order", stub, "ApplyCatalogue", request)


async def test_cards_in_a_notify_stand_in_clear_nowhere(partner: Partner) -> None:
    own = X25519PrivateKey.generate()
    await card_key(partner, base64.b64encode(own.public_key().public_bytes_raw()).decode())
    url = f"{partner.system.sandbox_url}/inbox/test?format=json"
    found: list[dict[str, Any]] = []

    async def carried() -> bool:
        """Whether a notify has them: every process knows the key within a second."""
        number = partner.number()
        assert (await partner.order(**VOUCHER, request_no=number))[0] == 200
        await partner.all_ended(number, 1)
        async with partner.http.get(url) as answer:
            letters = [json.loads(one["body"]) for one in (await answer.json())["letters"]]
        found.extend(
            one for one in letters if one["request_no"] == number and "encrypted_cards" in one
        )
        return bool(found)

    try:
        await eventually(carried, ENDED_S)
    finally:
        await card_key(partner, "")
    notify = found[0]
    sealed = base64.b64decode(notify["encrypted_cards"])
    opened = json.loads(SUITE.decrypt(sealed, own, b"shoudan notify cards 1"))
    assert (opened["order_id"], len(opened["cards"])) == (notify["order_id"], 3)
    async with partner.system.postgres.admin("shoudan_delivery") as db:
        fetches = await db.fetch(
            "SELECT reader, cards FROM vds_card_fetch WHERE order_id = $1", notify["order_id"]
        )
    assert [tuple(one) for one in fetches] == [("notify", 3)]
    await in_clear_nowhere(partner, notify["request_no"], opened["cards"])


async def own_stock(partner: Partner, codes: list[str]) -> None:
    """A voucher of channel `test` that comes from our own stock, and these cards in it."""
    call, stub = partner.clients.call, catalogue_rpc.CatalogueServiceStub
    now = await call("order", stub, "GetCatalogue", catalogue_pb.GetCatalogueRequest())
    made = catalogue_pb.Catalogue(
        down_products=[one for one in now.catalogue.down_products if one.carrier_no == "DZQ"][:1],
        up_products=[one for one in now.catalogue.up_products if one.carrier_no == "DZQ"][:1],
        up_channels=now.catalogue.up_channels[:1],
        up_shelves=now.catalogue.up_shelves[:1],
    )
    made.down_products[0].product_id, made.down_products[0].carrier_no = 9_901, "OWN"
    made.up_channels[0].channel_no = made.up_shelves[0].channel_no = "depot"
    made.up_shelves[0].shelf_id = made.up_products[0].shelf_id = 9_901
    made.up_products[0].product_id, made.up_products[0].carrier_no = 9_901, "OWN"
    request = catalogue_pb.ApplyCatalogueRequest(catalogue=made, by="li")
    await call("order", stub, "ApplyCatalogue", request)
    supplier = delivery_pb.Supplier(
        channel_no="depot", service_class=20, protocol="stock", delivers_cards=True, can_query=True,
        request_replenish_time_s=1, query_replenish_time_s=1, timeout_s=5, enabled=True,
    )  # fmt: skip
    applied = delivery_pb.ApplySuppliersRequest(suppliers=[supplier], by="li")
    await call("delivery", delivery_stubs.SupplierServiceStub, "ApplySuppliers", applied)
    asked = card_pb.GetImportKeyRequest()
    public = (await call("delivery", card_stubs.CardServiceStub, "GetImportKey", asked)).public_key
    plain = "number,password\n" + "".join(f"{one},{one[::-1]}\n" for one in codes)
    taken = card_pb.ImportCardsRequest(
        channel_no="depot",
        carrier_no="OWN",
        face_micros=50_000_000,
        import_no="canary",
        file=encrypted(plain.encode(), public),
        by="li",
        reason="test",
    )
    answer = await call("delivery", card_stubs.CardServiceStub, "ImportCards", taken)
    assert answer.taken == len(codes)


async def test_cards_of_our_own_stock_stand_in_clear_nowhere(partner: Partner) -> None:
    codes = [f"OWN{secrets.token_hex(8)}" for _ in range(2)]
    await own_stock(partner, codes)
    made = await credential(partner, "IssueCredential", kind="channel", owner="test")
    number = partner.number()
    try:
        wanted = VOUCHER | {"carrier_no": "OWN", "request_no": number, "num": "1", "amount": "47.5"}
        await eventually(lambda: bought(partner, wanted), ENDED_S)
        await partner.all_ended(number, 1)
        await eventually(lambda: believed(partner, made.secret, number))
        cards = (await fetched(partner, made.secret, request_no=number))[1]["cards"]
    finally:
        credential_id = made.credential.credential_id
        await credential(partner, "RevokeCredential", credential_id=credential_id)
    assert len(cards) == 1
    assert cards[0]["number"] in codes
    shown = await partner.clients.call(
        "delivery",
        card_stubs.CardServiceStub,
        "RevealCards",
        card_pb.RevealCardsRequest(
            card_ids=[int(one["card_id"]) for one in cards], reason="a customer called", by="li"
        ),
    )
    assert {one.number for one in shown.cards} == {one["number"] for one in cards}
    whole = [{"number": one, "password": one[::-1]} for one in codes]  # what is not sold, too
    await in_clear_nowhere(partner, number, whole)


async def bought(partner: Partner, wanted: dict[str, str]) -> bool:
    """Whether the order was taken; every process knows the goods within a second."""
    return (await partner.order(**wanted))[0] == 200


async def nothing_without_a_signature(partner: Partner, key: str, number: str) -> None:
    plain = {"channel_no": "test", "request_no": number}
    assert (await partner.get("/order/cards", **plain))[0] == 401
    assert (await fetched(partner, "another key", request_no=number))[0] == 403
    once = signed("/order/cards", key, request_no=number)
    assert (await partner.get("/order/cards", **once))[0] == 200
    status, body = await partner.get("/order/cards", **once)
    assert (status, "cards" in body) == (403, False)
    assert (await fetched(partner, key, request_no="none such"))[0] == 404


async def in_clear_nowhere(partner: Partner, number: str, cards: list[dict[str, str]]) -> None:
    """In no table, data file, write-ahead log, log, stream or metric."""
    system = partner.system
    texts = [one[name] for one in cards for name in ("number", "password")]
    for text in texts:
        assert await places(partner, text) == []
    async with system.postgres.admin("shoudan_delivery") as db:
        await db.execute("CHECKPOINT")
    needles = [needle for text in texts for needle in written_as(text)]
    folders = [system.postgres.home.path, system.nats.home.path, system.home]
    assert await asyncio.to_thread(holding, folders, [number.encode()]), "they are looked through"
    assert await asyncio.to_thread(holding, folders, needles) == []
    for service in (*SERVICES, "gateway"):
        url = f"http://127.0.0.1:{system.ports[f'{service} ops']}/metrics"
        async with partner.http.get(url) as answer:
            shown = await answer.read()
        assert b"shoudan_" in shown
        assert not [needle for needle in needles if needle in shown]
