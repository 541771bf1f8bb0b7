"""Deliveries are taken once by their key; what cannot be sent is refused, never half taken."""

import asyncio
from collections.abc import Awaitable

import pytest
from grpc import aio
from sqlalchemy import make_url

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_delivery.app import SERVICE
from shoudan_kit.db.migrate import differences
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.delivery.conftest import House, key
from tests.poll import eventually

DOMAIN = "delivery.shoudan"


def reason(result: pb.CreateDeliveriesResponse.Result) -> str:
    assert result.refusal.domain == DOMAIN
    return result.refusal.reason.removeprefix("ERROR_REASON_")


async def test_a_repeated_request_gives_the_first_delivery_and_sends_nothing_more(
    running: House,
) -> None:
    given = {"key": key(900_001), "params": {"b": "1", "a": "2"}}
    answers = await asyncio.gather(*(running.create("0000", **given) for _ in range(20)))
    assert len({one.results[0].delivery.order_no for one in answers}) == 1
    assert sum(not one.results[0].existed for one in answers) == 1
    await running.ends(900_001)
    again = (await running.create("0000", **given)).results[0]
    assert (again.existed, again.delivery.status) == (True, pb.STATUS_SUCCEEDED)
    assert running.sandbox.journal.attempts == 1
    running.witness()


async def test_what_a_line_requires_may_change_between_a_request_and_its_repeat(
    running: House,
) -> None:
    given = {"key": key(900_004), "params": {"a": "2", "require_carrier_serial": "1"}}
    first = (await running.create("0000", **given)).results[0]
    again = (await running.create("0000", **(given | {"params": {"a": "2"}}))).results[0]
    assert (again.existed, again.delivery.order_no) == (True, first.delivery.order_no)


async def test_the_same_key_twice_in_one_call_is_one_delivery(running: House) -> None:
    answer = await running.create("0000", "0000", key=key(900_002))
    assert [one.existed for one in answer.results] == [False, True]
    assert len({one.delivery.order_no for one in answer.results}) == 1


@pytest.mark.parametrize(
    "changes",
    [{"face_micros": 50_000_000}, {"num": 2}, {"params": {"a": "b"}}, {"order_id": "2"}],
)
async def test_the_same_key_with_other_content_is_refused(
    running: House, changes: dict[str, object]
) -> None:
    await running.create("0000", key=key(900_003))
    result = (await running.create("0000", **{"key": key(900_003), **changes})).results[0]
    assert reason(result) == "DELIVERY_DIFFERS"


async def test_an_unknown_channel_is_refused_and_kept_while_the_others_are_sent(
    running: House,
) -> None:
    items = [
        pb.CreateDeliveriesRequest.Item(
            key=key(n), channel_no=channel, face_micros=10, num=1, timeout_s=60
        )
        for n, channel in ((900_010, "up"), (900_011, "nobody"), (900_012, "up"))
    ]
    answer = await running.deliveries.CreateDeliveries(pb.CreateDeliveriesRequest(items=items))
    outcomes = [one.WhichOneof("outcome") for one in answer.results]
    assert outcomes == ["delivery", "refusal", "delivery"]
    assert reason(answer.results[1]) == "CHANNEL_UNAVAILABLE"
    assert await running.incidents(900_011) == ["channel unavailable"]
    await running.ends(900_010)
    await running.ends(900_012)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num": 0}, "num"),
        ({"face_micros": -10}, "face_micros"),
        ({"face_micros": 5}, "face_micros"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"channel_no": ""}, "coop_id"),
        ({"account": "x" * 65}, "account"),
        ({"account": "a\0b"}, "account"),
        ({"params": {"a": "x" * 3000}}, "params"),
        ({"key": pb.DeliveryKey(coop_id="a", coop_order_id="x")}, "coop_order_id"),
    ],
)
async def test_a_malformed_item_is_refused_by_name(
    running: House, changes: dict[str, object], field: str
) -> None:
    account = str(changes.pop("account", "0000"))
    result = (await running.create(account, **changes)).results[0]
    assert reason(result) == "FIELD_INVALID"
    assert result.refusal.metadata["field"] == field


async def test_a_delivery_nobody_knows_is_not_found(running: House) -> None:
    asked = pb.QueryDeliveriesRequest(keys=[key(999_999)])
    answer = await running.deliveries.QueryDeliveries(asked)
    assert answer.results[0].refusal.reason == "ERROR_REASON_DELIVERY_NOT_FOUND"


async def test_the_books_are_given_what_the_supplier_knows_a_delivery_by(running: House) -> None:
    made = (await running.create("0000", key=key(900_021))).results[0].delivery
    asked = [key(900_021), key(900_022), pb.DeliveryKey(coop_id="nobody", coop_order_id="900021")]
    asked[0].service_class = 0  # the books do not know it
    request = pb.QuerySupplierNumbersRequest(keys=asked)
    found = (await running.deliveries.QuerySupplierNumbers(request)).results
    assert [(one.order_no, one.account) for one in found] == [
        (made.order_no, "0000"),
        ("", ""),
        ("", ""),
    ]
    empty = await running.deliveries.QuerySupplierNumbers(pb.QuerySupplierNumbersRequest())
    assert not empty.results
    # What a person had erased, and what no key opens, has no account and holds nothing up.
    await running.ends(900_021)
    for stored in ("", "~1~" + "A" * 80):
        async with running.process.app.work("test") as work:
            await work.db.exec_driver_sql(
                f"UPDATE vds_order_info SET account = '{stored}' WHERE order_no = {made.order_no}"
            )
        found = (await running.deliveries.QuerySupplierNumbers(request)).results
        assert (found[0].order_no, found[0].account) == (made.order_no, "")


async def test_the_supplier_is_asked_what_it_says_of_a_delivery_that_has_ended(
    running: House,
) -> None:
    (number,) = await running.send("0000")
    stands = await running.ends(number)
    asked = key(number)
    asked.service_class = 0
    before = await running.rows("SELECT count(*) FROM event")
    request = pb.ReadSupplierAnswerRequest(key=asked)
    found = await running.deliveries.ReadSupplierAnswer(request)
    assert (found.delivery, found.said) == (stands, pb.STATUS_SUCCEEDED)
    assert found.up_order_no == stands.up_order_no
    assert await running.query(number) == stands
    assert await running.rows("SELECT count(*) FROM event") == before
    unknown = pb.ReadSupplierAnswerRequest(key=key(900_031))
    assert await refusal(running.deliveries.ReadSupplierAnswer(unknown)) == "DELIVERY_NOT_FOUND"
    await running.apply(can_query=False)

    async def refuses() -> bool:
        try:
            await running.deliveries.ReadSupplierAnswer(request)
        except aio.AioRpcError as error:
            return "CHANNEL_UNAVAILABLE" in str(error.details())
        return False

    await eventually(refuses)


async def refusal(call: Awaitable[object]) -> str:
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    found = refused_from_rpc(raised.value)
    assert found is not None
    return found.reason.removeprefix("ERROR_REASON_")


async def test_a_person_ends_an_unknown_delivery_once(running: House) -> None:
    await running.apply(can_query=False)
    (number,) = await running.send("0003")

    async def sent() -> bool:
        return (await running.query(number)).result_code == "R_9999"

    await eventually(sent)
    decision = pb.ResolveDeliveryRequest(
        key=key(number), status=pb.STATUS_FAILED, by="ops", reason="supplier's letter"
    )
    for _ in range(2):
        answer = await running.deliveries.ResolveDelivery(decision)
        assert answer.delivery.status == pb.STATUS_FAILED
        assert answer.delivery.result_source == pb.RESULT_SOURCE_MANUAL
    await running.ends(number)
    other = pb.ResolveDeliveryRequest(
        key=key(number), status=pb.STATUS_SUCCEEDED, by="ops", reason="no"
    )
    with pytest.raises(Exception, match="ALREADY_FINAL"):
        await running.deliveries.ResolveDelivery(other)


async def test_deliveries_are_listed_page_by_page(running: House) -> None:
    numbers = await running.send(*["0000"] * 5, order_id="42")
    listed: list[int] = []
    token = ""
    for _ in range(4):
        page = await running.deliveries.ListDeliveries(
            pb.ListDeliveriesRequest(order_id="42", page_size=2, page_token=token)
        )
        listed += [int(one.key.coop_order_id) for one in page.deliveries]
        token = page.next_page_token
        if not token:
            break
    assert listed == numbers[::-1]


async def test_a_migrated_database_is_what_the_tables_declare(running: House, postgres) -> None:
    url = running.process.settings.database_url.reveal()
    owner = postgres.urls("delivery", make_url(url).database).owner
    assert SERVICE.schema is not None
    assert await differences(SERVICE.schema, owner) == []
