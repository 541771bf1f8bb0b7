"""A name that is there twice has no value: neither the first nor the last is taken."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import pytest

from shoudan_gateway.parameters import document, merged, pairs
from shoudan_gateway.protocol import Malformed, ParameterError

ORDER = {
    "channel_no": "test",
    "request_no": "twice",
    "line_id": "1",
    "carrier_no": "ZSH",
    "invoice_type": "1",
    "num": "1",
    "face": "200",
    "amount": "198",
    "rechage_account": "10001",
    "timestamp": str(int(time.time())),
}


@pytest.mark.parametrize("text", ["num=1&num=1", "num=1&num=2", "num=1&a=b&%6eum=2", "num=&num="])
def test_a_name_twice_in_a_query_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as raised:
        pairs(text)
    assert (raised.value.name, raised.value.error) == ("num", ParameterError.REPEATED)


@pytest.mark.parametrize(
    "text", ['{"num": 1, "num": 1}', '{"num": 1, "\\u006eum": 2}', '{"a": {"num": 1, "num": 2}}']
)
def test_a_name_twice_in_json_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as raised:
        document(text.encode())
    assert (raised.value.name, raised.value.error) == ("num", ParameterError.REPEATED)


def test_what_a_query_and_a_body_both_hold_must_be_the_same() -> None:
    form = "application/x-www-form-urlencoded"
    assert merged("num=1&a=2", b"num=1", form) == {"num": "1", "a": "2"}
    with pytest.raises(Malformed) as raised:
        merged("num=1", b"num=2", form)
    assert raised.value.name == "num"


@pytest.mark.parametrize("name", ["num", "amount", "rechage_account"])
async def test_a_whole_order_with_a_name_twice_orders_nothing(
    front: Any, neighbours: Any, name: str
) -> None:
    taken = len(neighbours[0].taken)
    status, answer = await front.ask(f"/order/request?{urlencode(ORDER)}&{name}={ORDER[name]}")
    assert (status, name in str(answer)) == (406, True)
    assert len(neighbours[0].taken) == taken
    status, _ = await front.ask(f"/order/request?{urlencode(ORDER)}")
    assert status == 200, "the same without it is taken"
    assert len(neighbours[0].taken) == taken + 1
