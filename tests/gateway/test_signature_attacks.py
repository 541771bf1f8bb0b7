"""What can be done to a signed call on its way: whatever is changed, it is refused and nothing is ordered."""

from __future__ import annotations

import hmac
import itertools
import json
import time
from hashlib import sha256
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from yarl import URL

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_signing import channel as signing
from shoudan_signing import webhooks
from tools.signing_clients import CLIENTS, FOLDER, notifies, outcomes, vectors

KEY, OTHER_KEY = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REFUSED = {401, 403, 406}
numbers = itertools.count(1)


@pytest.fixture
async def front(open_gateway: Any, neighbours: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A gateway with two channels that sign, and one from a network that is not ours."""
    monkeypatch.setenv("SHOUDAN_SECRET_SIGNED", KEY)
    monkeypatch.setenv("SHOUDAN_SECRET_OTHER", OTHER_KEY)
    made = await open_gateway()
    neighbours[0].channels = [
        catalogue.DownChannel(
            channel_no=name, enabled=True, auth_mode=mode, secret_name=secret, allowed_networks=nets
        )
        for name, mode, secret, nets in (
            ("signed", "hmac2", "SIGNED", []),
            ("other", "hmac2", "OTHER", []),
            ("far", "hmac2", "SIGNED", ["203.0.113.0/24"]),
            ("legacy", "", "", ["203.0.113.0/24"]),
        )
    ]
    await made.read_rules()
    return made


def order(**changed: str) -> dict[str, str]:
    facts = {
        "channel_no": "signed",
        "request_no": f"r {next(numbers)}",
        "line_id": "1",
        "carrier_no": "ZSH",
        "invoice_type": "1",
        "num": "1",
        "face": "200",
        "amount": "198",
        "rechage_account": "10001",
        "sign_type": "HMAC-SHA256-V2",
        "timestamp": str(int(time.time())),
        "nonce": f"{next(numbers):016d}",
    }
    return facts | changed


def signed(
    params: dict[str, str],
    key: str = KEY,
    method: str = "GET",
    path: str = "/order/request",
    body: bytes = b"",
) -> dict[str, str]:
    shown = "&".join(f"{n}={quote(params[n], safe='')}" for n in sorted(params) if n != "sign")
    text = f"HMAC-SHA256-V2\n{method}\n{path}\n{shown}\n{sha256(body).hexdigest()}"
    return params | {"sign": hmac.new(key.encode(), text.encode(), sha256).hexdigest()}


def ordered(front: Any) -> list[str]:
    """Orders of known channels; outside of prod an unknown one is refused by the order service alone."""
    known = {one.channel_no for one in front.order.channels}
    return [one.request_no for one in front.order.taken if one.channel_no in known]


async def sent(front: Any, query: str, path: str = "/order/request", **options: Any) -> int:
    """The status of a call with exactly these bytes in its query."""
    url = URL(f"{front.url}{path}?{query}", encoded=True)
    method = options.pop("method", "GET")
    async with front.http.request(method, url, **options) as answer:
        await answer.read()
        return answer.status


async def test_an_unknown_channel_costs_the_work_of_a_known_one(
    open_gateway: Any, neighbours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In prod nobody learns from an answer, or from how long it takes, which channels there are."""
    monkeypatch.setenv("SHOUDAN_SECRET_SIGNED", KEY)
    made = await open_gateway(profile="prod")
    neighbours[0].channels = [
        catalogue.DownChannel(
            channel_no="signed", enabled=True, auth_mode="hmac2", secret_name="SIGNED"
        )
    ]
    await made.read_rules()
    worked: list[int] = []

    def counted(*given: Any) -> str:
        worked.append(len(given[-1]))
        return signing.hmac_v2_sign(*given)

    monkeypatch.setitem(signing.HMACS, "HMAC-SHA256-V2", counted)
    answers = []
    for channel in ("signed", "absent"):
        forged = order(channel_no=channel, request_no="r") | {"sign": "0" * 64}
        async with made.http.get(f"{made.url}/order/request", params=forged) as answer:
            answers.append((answer.status, await answer.text(), len(worked)))
    assert answers[0][2:] == (1,)
    assert answers[1] == (*answers[0][:2], 2)
    assert worked[0] // 64 == worked[1] // 64  # keys of one block of SHA-256


async def test_each_parameter_is_covered(front: Any) -> None:
    for name in order():
        params = signed(order())
        forged = params | {name: params[name][:-1] + ("1" if params[name][-1] != "1" else "2")}
        assert await sent(front, urlencode(forged)) in REFUSED or name == "channel_no", name
        left_out = {n: v for n, v in params.items() if n != name}
        assert await sent(front, urlencode(left_out)) in REFUSED, name
    assert ordered(front) == []


async def test_no_byte_of_a_query_can_be_flipped(front: Any) -> None:
    query = urlencode(signed(order()), quote_via=quote)
    assert query.isascii()
    for at in range(len(query)):
        flipped = chr(ord(query[at]) ^ 1)
        if flipped in " #" or (query[at].lower() in "abcdef" and query[at - 1] == "%"):
            continue
        await sent(front, query[:at] + flipped + query[at + 1 :])
    # A sign in capitals is the same hex, and a flip cannot make capitals of it.
    assert ordered(front) == []


async def test_nothing_is_added_repeated_or_split_off(front: Any) -> None:
    params = signed(order())
    query = urlencode(params)
    attacks = {
        "extra": f"{query}&extra=1",
        "extra, empty": f"{query}&extra=",
        "repeated": f"{query}&amount={params['amount']}",
        "repeated, another": f"{query}&amount=1",
        "repeated in front": f"amount=1&{query}",
        "encoded twice": query.replace("r+", "r%2520"),
        "split off": urlencode(signed(order(x="1&num=9"))).replace("x=1%26num%3D9", "x=1&z=9"),
    }
    for name, attack in attacks.items():
        assert await sent(front, attack) in REFUSED, name
    assert ordered(front) == []


async def test_the_same_call_written_otherwise_is_the_same_call(front: Any) -> None:
    for write in (
        lambda p: urlencode(p, quote_via=quote),
        lambda p: urlencode(p, quote_via=quote_plus),
        lambda p: urlencode(dict(reversed(p.items()))),
        lambda p: "&".join(
            f"{n}=" + "".join(f"%{b:02x}" for b in v.encode()) for n, v in p.items()
        ),
    ):
        assert await sent(front, write(signed(order()))) == 200
    assert {one.request_no[:2] for one in front.order.taken} == {"r "}


async def test_path_and_method_are_covered(front: Any) -> None:
    refund = {"refund_no": "f1", "refund_num": "1", "notify_url": "http://127.0.0.1/"}
    params = signed(order(**refund))
    for path in ("/refund/general", "/refund/mandatory", "/order/query"):
        assert await sent(front, urlencode(params), path) == 403, path
    assert await sent(front, urlencode(params), method="POST") == 403
    for path in ("/order//request", "/order/./request", "/order/request/", "/ORDER/request"):
        assert await sent(front, urlencode(params), path) in REFUSED | {404}, path
    assert ordered(front) == []


async def test_another_channels_key_signs_for_that_channel_alone(front: Any) -> None:
    assert await sent(front, urlencode(signed(order(), OTHER_KEY))) == 403
    stolen = signed(order(channel_no="other"), OTHER_KEY) | {"channel_no": "signed"}
    assert await sent(front, urlencode(stolen)) == 403
    assert ordered(front) == []


async def test_an_address_is_not_what_a_header_says(front: Any) -> None:
    spoofs = [
        {},
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "203.0.113.7, 203.0.113.7"},
        {"X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7"},
    ]
    for headers in spoofs:
        right = urlencode(signed(order(channel_no="far")))
        assert await sent(front, right, headers=headers) == 403
        unsigned = urlencode(order(channel_no="legacy", sign_type=""))
        assert await sent(front, unsigned, headers=headers) == 403
    assert ordered(front) == []


async def test_a_body_is_covered_byte_by_byte(front: Any) -> None:
    facts = order()
    body = urlencode({n: v for n, v in facts.items() if n not in {"nonce", "timestamp"}}).encode()
    asked = signed(facts, method="POST", body=body)
    query = urlencode({n: asked[n] for n in ("nonce", "timestamp", "sign")})
    for at in range(len(body)):
        flipped = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        await sent(front, query, method="POST", data=flipped, headers=FORM)
        assert ordered(front) == [], flipped
    for other in (b"", body + b"&", body + b"&extra=1", b"&" + body):
        assert await sent(front, query, method="POST", data=other, headers=FORM) in REFUSED
    assert ordered(front) == []
    assert await sent(front, query, method="POST", data=body, headers=FORM) == 200


async def test_json_is_signed_by_its_texts_and_its_bytes(front: Any) -> None:
    facts = order(num="1")
    members = {n: v for n, v in facts.items() if n != "num"} | {"num": 1}
    body = json.dumps(members).encode()
    query = urlencode({"sign": signed(facts, method="POST", body=body)["sign"]})
    headers = {"Content-Type": "application/json"}
    respaced = json.dumps(members, separators=(",", ":")).encode()
    assert await sent(front, query, method="POST", data=respaced, headers=headers) == 403
    assert await sent(front, query, method="POST", data=body, headers=headers) == 200


def test_openssls_vectors_are_ours() -> None:
    for one in vectors():
        given = (one["method"], one["path"], one["params"], one["body"].encode())
        assert signing.hmac_v2_text(*given).decode() == one["text"], one["name"]
        assert signing.hmac_v2_sign(*given, one["key"].encode()) == one["sign"], one["name"]


def test_openssls_vectors_of_notifies_are_ours() -> None:
    for one in notifies():
        names = (webhooks.ID, webhooks.TIMESTAMP, webhooks.SIGNATURE)
        given = dict(zip(names, (one["id"], one["timestamp"], one["signature"]), strict=True))
        try:
            webhooks.verify(one["secrets"].split(), given, one["body"].encode(), one["now"])
            ours = True
        except webhooks.NotVerified:
            ours = False
        assert ours == one["ours"], one["name"]
    assert {one["ours"] for one in notifies()} == {True, False}


def test_no_two_vectors_have_the_same_text() -> None:
    texts = [one["text"] for one in vectors()]
    assert len(set(texts)) == len(texts) >= 15


def test_clients_agree_in_every_language_that_is_installed() -> None:
    found = dict(outcomes())
    assert set(found) == set(CLIENTS) == {"Python", "Node.js", "Java", "PHP", "Go", "C#"}
    agreed = {language for language, verdict in found.items() if verdict.startswith("agrees")}
    assert "Python" in agreed
    missing = {language for language, verdict in found.items() if verdict.startswith("not run")}
    assert agreed | missing == set(found), found


def test_the_page_shows_the_first_vector() -> None:
    page = (FOLDER.parent / "signing.md").read_text("utf-8")
    first = vectors()[0]
    assert first["text"] in page
    assert first["sign"] in page


@pytest.mark.parametrize("chars", [1, 8, 63])
async def test_a_part_of_a_signature_is_none(front: Any, chars: int) -> None:
    params = signed(order())
    params["sign"] = params["sign"][:chars]
    assert await sent(front, urlencode(params, quote_via=quote)) in REFUSED
    assert ordered(front) == []


@pytest.mark.parametrize("off_s", [-301, 301, 86_400])
async def test_a_time_that_is_not_about_now_is_refused(front: Any, off_s: int) -> None:
    params = signed(order(timestamp=str(int(time.time()) + off_s)))
    assert await sent(front, urlencode(params, quote_via=quote)) in REFUSED
    assert ordered(front) == []
