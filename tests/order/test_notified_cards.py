"""Promises of notifies that carry cards: only encrypted, only where wanted, and never kept by us."""

from __future__ import annotations

import base64
import re
import runpy
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import notifies
from shoudan_order.notified_cards import INFO
from tests.order.harness import LOOPBACK, OrderHarness, catalogue_pb
from tests.order.test_notifies import DUE
from tests.poll import eventually

VOUCHER = 20
PAGE = Path("docs/reference/http/cards.md")
OWN = X25519PrivateKey.generate()
KEY = base64.b64encode(OWN.public_key().public_bytes_raw()).decode()
SECRET = base64.b64encode(OWN.private_bytes_raw()).decode()


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The example of the documentation, run."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    file = tmp_path_factory.mktemp("docs") / "example.py"
    file.write_text(code, "utf-8")
    return runpy.run_path(str(file))


async def selling(harness: OrderHarness, service_class: int = VOUCHER, card_key: str = KEY) -> None:
    """Make the goods codes, and give the channel its key."""
    await harness.apply(
        lines=[
            catalogue_pb.Line(line_id=1, line_name="电子券", service_class=service_class),
        ],
        down_channels=[_channel(card_key)],
    )


def _channel(card_key: str) -> Any:
    return catalogue_pb.DownChannel(
        channel_no="test",
        channel_name="测试",
        enabled=True,
        allowed_networks=LOOPBACK,
        card_key=card_key,
    )


async def notified(harness: OrderHarness, count: int = 1) -> None:
    """Wait for so many notifies, making each due at once."""

    async def told() -> bool:
        await harness.sql(DUE)
        return len(harness.inbox.told) >= count

    await eventually(told)


async def stored(harness: OrderHarness) -> str:
    """Every row of every table of the order service."""
    tables = await harness.sql(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace AND has_table_privilege(oid, 'SELECT')"
    )
    texts: list[str] = []
    for (table,) in tables:
        texts += [row[0] for row in await harness.sql(f"SELECT t::text FROM {table} t")]
    return "\n".join(texts)


async def test_a_notify_of_codes_carries_them_encrypted_and_nothing_of_them_is_kept(
    harness: OrderHarness, documented: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    await selling(harness)
    cards, answers = harness.delivery.cards, [(500, "later"), (200, "success")]
    cards.more = "5-100"
    repeated = documented["cards_of"]

    def answer(told: dict[str, Any]) -> tuple[int, str]:
        status, text = answers.pop(0)
        number = repeated(SECRET, orjson.dumps(told))["cards"][0]["number"]
        return status, text if status == 200 else f"{text} {number}"

    harness.inbox.answer = answer
    order_id = await harness.order(notify_url=harness.inbox.url)
    await notified(harness, 2)

    async def acknowledged() -> bool:
        return (await harness.get(order_id)).notify_status == 0

    await eventually(acknowledged)
    order = await harness.get(order_id)
    numbers = [cards.number(key.coop_order_id) for key in cards.asked[0].keys]
    for body in harness.inbox.bodies:
        opened = documented["cards_of"](SECRET, body)
        assert (opened["order_id"], opened["next_page"]) == (str(order_id), "5-100")
        assert (opened["channel_no"], opened["request_no"]) == ("test", order.request.request_no)
        assert [one["number"] for one in opened["cards"]] == numbers
        assert {(one["password"], one["face"], one["status"]) for one in opened["cards"]} == {
            ("8812 4501", "50", "REVEALED")
        }
    first, second = (told.pop("encrypted_cards") for told in harness.inbox.told)
    assert first != second, "encrypted anew each time"
    assert {one.order_id for one in cards.asked} == {str(order_id)}
    assert len(cards.asked) == 2, "recorded as a fetch each time"
    rows, logs = await stored(harness), capfd.readouterr()
    assert order.request.request_no in rows
    for text in (*numbers, "8812 4501", first, second):
        assert text not in rows
        assert text not in logs.out + logs.err


async def test_notifies_at_the_same_time_fetch_their_codes_by_one_call(
    harness: OrderHarness, documented: dict[str, Any]
) -> None:
    await selling(harness)
    cards, count = harness.delivery.cards, 30
    made = await harness.create(*(harness.new(notify_url=harness.inbox.url) for _ in range(count)))
    await notified(harness, count)
    wanted = {str(one.order.order_id) for one in made}
    assert {one.order_id for one in cards.asked} == wanted
    assert cards.calls <= count // 3, "one call for all that wait"
    for body in harness.inbox.bodies:
        opened = documented["cards_of"](SECRET, body)
        (asked,) = [one for one in cards.asked if one.order_id == opened["order_id"]]
        numbers = [cards.number(key.coop_order_id) for key in asked.keys]
        assert [one["number"] for one in opened["cards"]] == numbers


async def test_a_delivery_service_of_the_release_before_is_asked_for_each_notify(
    harness: OrderHarness,
) -> None:
    await selling(harness)
    harness.delivery.cards.refusal = "before"
    order_id = await harness.order(notify_url=harness.inbox.url)
    await notified(harness)
    (asked,) = harness.delivery.cards.asked
    assert (asked.in_notify, asked.order_id) == (True, str(order_id))
    assert harness.inbox.told[0]["encrypted_cards"]


@pytest.mark.parametrize(
    ("service_class", "card_key"), [(VOUCHER, ""), (10, KEY)], ids=["no key", "other goods"]
)
async def test_without_a_key_and_for_other_goods_a_notify_is_as_it_was(
    harness: OrderHarness, service_class: int, card_key: str
) -> None:
    await selling(harness, service_class, card_key)
    order_id = await harness.order(notify_url=harness.inbox.url)
    await notified(harness)
    number = (await harness.get(order_id)).request.request_no
    facts = {"channel_no": "test", "request_no": number, "order_id": str(order_id), "status": 0}
    assert harness.inbox.bodies == [orjson.dumps(facts)]
    assert not harness.delivery.cards.asked


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ("ERROR_REASON_CARDS_UNREADABLE", "cards: ERROR_REASON_CARDS_UNREADABLE"),
        ("away", "cards: the delivery service does not answer"),
    ],
)
async def test_a_notify_of_codes_waits_while_they_are_not_to_be_had(
    harness: OrderHarness, refusal: str, said: str
) -> None:
    await selling(harness)
    cards = harness.delivery.cards
    cards.refusal = refusal
    order_id = await harness.order(notify_url=harness.inbox.url)

    async def tried() -> bool:
        await harness.sql(DUE)
        found = "SELECT notify_msg FROM oms_notify_info WHERE notify_count >= 6"
        return [row[0] for row in await harness.sql(found)] == [said]

    await eventually(tried)
    assert not harness.inbox.told
    notifier = harness.context.notifier
    assert isinstance(notifier, notifies.Notifier)
    assert notifier.resting() == [], "its host was not asked"
    cards.refusal = ""
    await notified(harness)
    assert harness.inbox.told[0]["order_id"] == str(order_id)
    assert harness.inbox.told[0]["encrypted_cards"]


async def test_a_key_that_is_none_is_refused_in_words(harness: OrderHarness) -> None:
    wrong = [
        "no base64",
        "公钥",
        base64.b64encode(b"x" * 31).decode(),
        base64.b64encode(b"\0" * 32).decode(),  # everything encrypted to it is open
        OWN.public_key().public_bytes_raw().hex(),
    ]
    for key in wrong:
        with pytest.raises(grpc.RpcError) as raised:
            await harness.apply(down_channels=[_channel(key)])
        refused = refused_from_rpc(raised.value)
        assert refused is not None
        assert refused.metadata["where"] == "down_channels test"
        assert "card_key is not an X25519 public key" in str(refused.metadata)
    assert harness.context.catalogue.version == 1


def test_the_documented_info_is_ours(documented: dict[str, Any]) -> None:
    assert documented["INFO"] == INFO
