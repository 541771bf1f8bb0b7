"""Promises of versions: the first is frozen, others are changes on it, each answer says which it is in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from shoudan_gateway import server, versions
from shoudan_gateway.protocol import ChannelRule, Ending, Inbound, Malformed, Outbound
from shoudan_gateway.versions import FIRST, HEADER, Answered, Change, Version, Versions
from shoudan_order.catalogue import channel_versions

NEWEST = versions.VERSIONS[-1].name
QUERY = "/order/query?channel_no=test&request_no=r1"
ORDER = (
    "/order/request?channel_no=test&request_no=r1&line_id=1&carrier_no=ZSH&invoice_type=1&num=1"
    "&face=200&amount=198&rechage_account=13800001111"
)
MISSING = "/order/query?channel_no=test"


def asked(version: str = "", pinned: str = FIRST) -> Inbound:
    """A call of a channel that is pinned, asking for a version."""
    headers = CIMultiDict({HEADER: version} if version else {})
    rule = ChannelRule("test", version=pinned)
    return Inbound("GET", "/order/query", headers=CIMultiDictProxy(headers), channel=rule)


async def answered(front: Any, path: str, **headers: str) -> tuple[Any, Mapping[str, str]]:
    async with front.http.get(front.url + path, headers=headers) as answer:
        return json.loads(await answer.text()), answer.headers


async def test_a_call_is_answered_in_version_0_unless_it_asks(open_gateway: Any) -> None:
    front = await open_gateway()
    first, headers = await answered(front, MISSING)
    assert headers[HEADER] == FIRST
    assert set(first) == {"code", "message", "data"}
    newer, headers = await answered(front, MISSING, **{HEADER: NEWEST})
    assert headers[HEADER] == NEWEST
    assert newer.pop("error") == {
        "code": headers["X-Error-Code"],
        "advice": headers["X-Error-Advice"],
        "help": "/docs/errors.md#parameter_missing",
        "request_id": headers["X-Request-Id"],
    }
    assert newer == first
    good, headers = await answered(front, ORDER, **{HEADER: NEWEST})
    assert headers[HEADER] == NEWEST
    assert "error" not in good


async def test_a_version_that_is_none_is_refused(open_gateway: Any) -> None:
    front = await open_gateway()
    refused, headers = await answered(front, QUERY, **{HEADER: "2020-01-01"})
    assert refused["code"] == 406
    assert HEADER in refused["message"]
    assert (headers["X-Error-Code"], headers[HEADER]) == ("PARAMETER_UNREADABLE", FIRST)


async def test_protocols_of_others_have_no_version(open_gateway: Any) -> None:
    front = await open_gateway()
    async with front.http.post(f"{front.url}/pushData", headers={HEADER: NEWEST}) as answer:
        assert HEADER not in answer.headers


async def test_a_version_that_ends_says_so_and_changes_what_is_asked(
    open_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed(inbound: Inbound) -> Inbound:
        params = {"request_no" if k == "number" else k: v for k, v in inbound.params.items()}
        return msgspec.structs.replace(inbound, params=params)

    ending = Ending(since=date(2027, 1, 1), sunset=date(2028, 1, 1))
    given = (Version(FIRST, ending=ending), Version("2027-01-01", (Change("", "", renamed),)))
    monkeypatch.setattr(server, "Versions", lambda: Versions(given))
    front = await open_gateway()
    _, headers = await answered(front, QUERY)
    assert (headers["Deprecation"], headers[HEADER]) == ("@1798732800", FIRST)
    assert headers["Sunset"] == "Fri, 31 Dec 2027 16:00:00 GMT"
    named = QUERY.replace("request_no", "number")
    refused, _ = await answered(front, named)
    assert refused["code"] == 406
    found, headers = await answered(front, named, **{HEADER: "2027-01-01"})
    assert found["code"] == 404  # read, and unknown to the service of these tests
    assert "Sunset" not in headers


@pytest.mark.parametrize(
    ("pinned", "asks", "spoken"),
    [
        (FIRST, "", FIRST),
        ("2026-12-01", "", "2026-12-01"),
        ("2026-12-01", FIRST, FIRST),
        ("2099-01-01", "", NEWEST),  # known to a gateway of the release after
        ("2026-11-30", "", FIRST),
    ],
)
def test_a_header_goes_before_what_a_channel_is_pinned_to(
    pinned: str, asks: str, spoken: str
) -> None:
    assert Versions().of(asked(asks, pinned)) == spoken


def test_a_new_channel_is_pinned_to_the_newest_that_the_gateway_speaks() -> None:
    assert channel_versions.NEWEST == NEWEST


def test_who_is_not_let_in_is_answered_in_version_0() -> None:
    assert Versions().of(Inbound("GET", "/order/query")) == FIRST
    with pytest.raises(Malformed):
        Versions().of(asked("1"))


def test_changes_are_made_in_order_and_none_on_version_0() -> None:
    def adds(word: str) -> Change:
        def change(answer: Outbound, _: Answered) -> Outbound:
            assert isinstance(answer.body, dict)
            said = {"said": answer.body.get("said", "") + word}
            return msgspec.structs.replace(answer, body={**answer.body, **said})

        return Change("", "", answer=change)

    made = Versions(
        [Version(FIRST), Version("2027-01-01", (adds("a"),)), Version("2028-01-01", (adds("b"),))]
    )
    plain = Outbound(200, {"k": 1})
    for name, said in ((FIRST, None), ("2027-01-01", "a"), ("2028-01-01", "ab")):
        about = Answered(msgspec.structs.replace(asked(), version=name), "id")
        written = made.written(plain, about)
        assert isinstance(written.body, dict)
        assert (written.body.get("said"), written.body["k"]) == (said, 1)
        assert written.headers == {HEADER: name}
    assert made.written(plain, Answered(asked(), "id")).body is plain.body


@pytest.mark.parametrize(
    "names", [["2027-01-01"], [FIRST, "2028-01-01", "2027-01-01"], [FIRST] * 2]
)
def test_versions_stand_in_the_order_of_their_days(names: list[str]) -> None:
    with pytest.raises(ValueError, match="order of their days"):
        Versions([Version(one) for one in names])
