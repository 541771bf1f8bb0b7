"""Dingdang, both sides: platform and partner talk to each other over HTTP, and the money ends right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_pay.payserver.store.modes import Mode
from shoudan_signing import tsk_hmac, tsk_rsa2
from tests.pay.payserver.harness import body, by_code, number
from tests.pay.platforms.harness import DOMAIN, SKILL_SECRET, PlatformsHarness, encoded
from tests.poll import eventually
from tests.stored import Stored

FAIL_SIGN = (200, {"retCode": "FAIL", "retMsg": "签名错误"})
DESK = {"notice_count_max": 3}
LINKS = {"pay_url": "dingdang:", "refund_url": "dingdang:", "query_url": "dingdang:"}


@dataclass
class Sides:
    """Both merchants: whose users pay at the platform, and whose orders are paid there."""

    harness: PlatformsHarness
    platform: Mode
    partner: Mode

    async def order(self, fen: int = 100) -> str:
        """A pay of the partner that its user is to make at the platform; its tractionNo."""
        _, answer = await self.harness.payserver.post("pay", body(self.partner, payAmount=fen))
        assert answer["data"]["status"] == "paying", answer
        return answer["data"]["tractionNo"]

    async def user_pays(self, trade_no: str, fen: int = 100, tail: str = "0000") -> dict[str, Any]:
        """The platform's user pays the order."""
        asked = by_code(self.platform, tail, clientPayNo=trade_no, payAmount=fen)
        _, answer = await self.harness.payserver.post("pay", asked)
        return answer["data"]

    async def paid(self, fen: int = 100, tail: str = "0000") -> tuple[str, str]:
        """An order whose pay has reached the partner: its tractionNo there and at the platform."""
        trade_no = await self.order(fen)
        pay = await self.user_pays(trade_no, fen, tail)
        await self.harness.becomes("pay_order", "traction_no", trade_no, "payed")
        # The trade follows the pay in a transaction of its own.
        await self.harness.becomes("dingdang_trade", "trade_no", trade_no, "success")
        return trade_no, pay["tractionNo"]

    async def notices(self, traction_no: str) -> list[Any]:
        """The notices about a number, with their attempts."""
        return await self.harness.payserver.sql(
            "SELECT n.kind, n.status, n.count, n.http_status, n.answer, (SELECT count(*) FROM"
            " dingdang_notice_attempt a WHERE a.notice_id = n.notice_id) FROM dingdang_notice n"
            " WHERE n.traction_no = :number ORDER BY n.notice_id",
            number=traction_no,
        )


@pytest.fixture
async def sides(harness: PlatformsHarness) -> Sides:
    """Merchants of their own; the domain's number is the same on both sides."""
    platform = await harness.payserver.component_mode()
    partner = await harness.payserver.mode(None, name="叮当", **LINKS)
    await harness.domain(pb.ROLE_PLATFORM, platform.merchant_uuid)
    await harness.domain(pb.ROLE_PARTNER, partner.merchant_uuid)
    return Sides(harness, platform, partner)


@dataclass
class Partner:
    """A partner's receiver that answers as it is told."""

    answers: list[Any] = field(default_factory=list[Any])
    seen: list[tuple[bytes, str]] = field(default_factory=list[tuple[bytes, str]])
    url: str = ""

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        self.seen.append((await http.read(), http.headers.get("Authorization", "")))
        answer = self.answers.pop(0) if self.answers else {"retCode": "SUCCESS"}
        if answer == "hang":
            await asyncio.Event().wait()
        if isinstance(answer, int):
            return web.Response(status=answer)
        return web.json_response(answer)


@pytest.fixture
async def receiver() -> AsyncIterator[Partner]:
    made = Partner()
    runner = web.ServerRunner(web.Server(made.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/notify"
    yield made
    await runner.cleanup()


# ---------------------------------------------------------------- both sides
async def test_a_pay_at_the_platform_pays_the_partners_order_once(sides: Sides) -> None:
    trade_no, transaction_id = await sides.paid()
    trade = (
        await sides.harness.platform.GetTrade(
            pb.GetTradeRequest(domain_id=DOMAIN, trade_no=trade_no)
        )
    ).trade
    assert (trade.state, trade.transaction_id) == (pb.TRADE_STATE_SUCCESS, transaction_id)

    async def told() -> bool:
        return [row[:2] for row in await sides.notices(transaction_id)] == [("paid", "done")]

    await eventually(told)
    events = await sides.harness.payserver.sql(
        "SELECT count(*) FROM event WHERE key = :key AND subject = 'shoudan.events.pay.dingdang.paid'",
        key=trade_no,
    )
    assert events == [(1,)]


@pytest.mark.parametrize(
    ("tail", "partner_refund", "platform_pay"),
    [
        ("0000", "refunded", "partRefunded"),
        ("2002", "refunded", "partRefunded"),  # runs, then succeeds when asked
        ("2003", "refunded", "partRefunded"),  # made and not answered
        ("2001", "refundFailed", "payed"),
    ],
)
async def test_a_refund_ends_alike_on_both_sides(
    sides: Sides, tail: str, partner_refund: str, platform_pay: str
) -> None:
    harness = sides.harness
    trade_no, transaction_id = await sides.paid(tail=tail)
    pay = {"tractionNo": trade_no}
    refund = await harness.refund(pay, refundAmount=40)
    await harness.becomes("refund_order", "traction_no", refund["tractionNo"], partner_refund)
    assert await harness.status("pay_order", "traction_no", transaction_id) == platform_pay
    assert await harness.status("pay_order", "traction_no", trade_no) == platform_pay
    rows = await harness.payserver.sql(
        "SELECT status, amount_micros FROM refund_order WHERE client_refund_no = :number",
        number=refund["tractionNo"],  # refundTradeNo is the partner's tractionNo
    )
    assert rows == [(partner_refund, 400_000)]


async def test_when_no_notice_comes_the_partner_asks(sides: Sides) -> None:
    await sides.harness.domain(pb.ROLE_PLATFORM, sides.platform.merchant_uuid, paid_url="")
    trade_no, transaction_id = await sides.paid()
    assert await sides.notices(transaction_id) == []
    assert await sides.harness.status("dingdang_trade", "trade_no", trade_no) == "success"


async def test_a_pay_that_fails_at_the_platform_fails_here(sides: Sides) -> None:
    trade_no = await sides.order()
    asked = by_code(sides.platform, "1003", clientPayNo=trade_no, payAmount=100)
    await sides.harness.payserver.post("pay", asked)
    await sides.harness.becomes("pay_order", "traction_no", trade_no, "payFailed")


# ---------------------------------------------------------------- the platform
async def asked(sides: Sides, path: str, **given: Any) -> tuple[int, Any]:
    return await sides.harness.skill(f"/paycgi/{path}", given)


async def test_the_platform_tells_how_an_order_stands(sides: Sides) -> None:
    waiting = await sides.user_pays(number("t"), tail="1006")
    paid = await sides.user_pays(number("t"))
    expected = {waiting["tractionNo"]: "PROCESSING", paid["tractionNo"]: "SUCCESS"}
    for transaction_id, word in expected.items():
        _, answer = await asked(sides, "orderquery", transactionId=transaction_id)
        assert (answer["retCode"], answer["tradeStatus"]) == ("SUCCESS", word)
    both = {"transactionId": paid["tractionNo"], "tradeNo": paid["clientPayNo"]}
    assert (await asked(sides, "orderquery", **both))[1]["retCode"] == "SUCCESS"


async def test_the_later_name_of_a_domain_is_answered_with(sides: Sides) -> None:
    paid = await sides.user_pays(number("t"))
    raw = encoded({"skillId": DOMAIN, "tradeNo": paid["clientPayNo"], "nonceStr": number("n")})
    stamp = tsk_hmac.stamp(sides.harness.payserver.pay.app.clock.now())
    header = tsk_hmac.header(SKILL_SECRET, stamp, raw)
    _, answer = await sides.harness.send("/paycgi/orderquery", raw, header)
    assert answer["skillId"] == DOMAIN
    assert "domainId" not in answer


async def test_refused_refunds_say_why_and_move_nothing(sides: Sides) -> None:
    paid = await sides.user_pays(number("t"))
    other = await sides.user_pays(number("t"))
    good = {
        "tradeNo": paid["clientPayNo"],
        "refundTradeNo": number("r"),
        "totalAmt": 100,
        "refundAmt": 40,
    }
    refused = {
        "金额不一致:totalAmt": {"totalAmt": 101},
        "退款金额超出可退金额": {"refundAmt": 101},
        "订单不存在": {"tradeNo": "nobody"},
        "订单号不一致": {"transactionId": other["tractionNo"]},
        "参数错误:refundAmt": {"refundAmt": 0},
        "参数错误:refundTradeNo": {"refundTradeNo": ""},
        "参数错误:transactionId": {"tradeNo": ""},
    }
    for text, changed in refused.items():
        answer = (await asked(sides, "refund", **(good | changed)))[1]
        assert answer == {"retCode": "FAIL", "retMsg": text}
    assert await sides.harness.status("pay_order", "traction_no", paid["tractionNo"]) == "payed"


async def test_a_refund_comes_once_however_often_it_is_asked_for(sides: Sides) -> None:
    paid = await sides.user_pays(number("t"))
    refund = {
        "tradeNo": paid["clientPayNo"],
        "refundTradeNo": number("r"),
        "totalAmt": 100,
        "refundAmt": 60,
    }
    answers = await asyncio.gather(*(asked(sides, "refund", **refund) for _ in range(10)))
    assert len({answer["refundTransactionId"] for _, answer in answers}) == 1
    differs = (await asked(sides, "refund", **(refund | {"refundAmt": 40})))[1]
    assert differs["retMsg"] == "退款单号重复且内容不一致"
    above = refund | {"refundTradeNo": number("r"), "refundAmt": 41}
    assert (await asked(sides, "refund", **above))[1]["retMsg"] == "退款金额超出可退金额"
    rest = refund | {"refundTradeNo": number("r"), "refundAmt": 40}
    assert (await asked(sides, "refund", **rest))[1]["retCode"] == "SUCCESS"
    again = refund | {"refundTradeNo": number("r"), "refundAmt": 1}
    assert (await asked(sides, "refund", **again))[1]["retCode"] == "FAIL"


async def test_refunds_of_others_are_like_none(sides: Sides) -> None:
    stranger = await sides.harness.payserver.component_mode()
    pay = await sides.harness.paid(stranger, payAmount=100)
    refund = await sides.harness.refund(pay)
    for path, given in (
        ("orderquery", {"transactionId": pay["tractionNo"]}),
        ("orderquery", {"tradeNo": pay["clientPayNo"]}),
        ("refundquery", {"refundTransactionId": refund["tractionNo"]}),
        ("refundquery", {"refundTradeNo": refund["clientRefundNo"]}),
    ):
        told = await asked(sides, path, **given)
        none = await asked(sides, path, **dict.fromkeys(given, "nobody"))
        assert told == none


# ---------------------------------------------------------------- proofs, either way
PATHS = (
    "/paycgi/orderquery",
    "/paycgi/refund",
    "/paycgi/refundquery",
    "/dingdang/pay/notify",
    "/dingdang/refund/notify",
)


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_proof_is_fail_and_nothing_more(sides: Sides, path: str) -> None:
    now = sides.harness.payserver.pay.app.clock.now()
    raw = encoded({"domainId": DOMAIN, "nonceStr": number("n"), "tradeNo": "t"})
    stamp = tsk_hmac.stamp(now)
    right = tsk_hmac.header(SKILL_SECRET, stamp, raw)
    wrong = [
        None,
        "x",
        right.replace("TSK-HMAC", "TVS-HMAC"),
        right[:-1] + ("0" if right[-1] != "0" else "1"),
        right.replace(stamp, "20170720T193559Z"),
        tsk_hmac.header("no", stamp, raw),
        tsk_hmac.header("another-secret", stamp, raw),
        tsk_hmac.header(SKILL_SECRET, stamp, raw + b" "),
        tsk_hmac.header(SKILL_SECRET, "yesterday", raw),
    ]
    for header in wrong:
        assert await sides.harness.send(path, raw, header) == FAIL_SIGN
    for late_s in (181, -200):  # a moment ahead comes nearer while the call is under way
        assert await sides.harness.skill(path, {"tradeNo": "t"}, late_s=late_s) == FAIL_SIGN
    stranger = {"domainId": "9999", "tradeNo": "t"}
    assert await sides.harness.skill(path, stranger) == FAIL_SIGN
    for garbage in (b"", b"[]", b"{", b"\xff"):
        signed = tsk_hmac.header(SKILL_SECRET, stamp, garbage)
        assert await sides.harness.send(path, garbage, signed) == FAIL_SIGN


async def test_a_secret_may_be_replaced_without_a_gap(sides: Sides) -> None:
    paid = await sides.user_pays(number("t"))
    members = {"tradeNo": paid["clientPayNo"]}
    _, answer = await sides.harness.skill("/paycgi/orderquery", members, secret="older-secret")
    assert answer["retCode"] == "SUCCESS"


async def test_a_nonce_may_come_again_with_the_same_bytes_only(sides: Sides) -> None:
    first, second = await sides.user_pays(number("t")), await sides.user_pays(number("t"))
    nonce = number("n")
    same = {"tradeNo": first["clientPayNo"], "nonceStr": nonce}
    for _ in range(2):
        assert (await asked(sides, "orderquery", **same))[1]["retCode"] == "SUCCESS"
    other = {"tradeNo": second["clientPayNo"], "nonceStr": nonce}
    assert await asked(sides, "orderquery", **other) == FAIL_SIGN


async def test_a_domain_that_moved_to_rsa_is_verified_with_its_public_key(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(65_537, 2048)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    monkeypatch.setenv("SHOUDAN_SECRET_RSA", key.public_key().public_bytes(encoding, form).decode())
    await sides.harness.domain(
        pb.ROLE_PLATFORM,
        sides.platform.merchant_uuid,
        domain_id="rsa",
        scheme=pb.SCHEME_TSK_RSA2,
        secret_name="rsa",
        paid_url="",
    )
    paid = await sides.user_pays(number("t"))
    raw = encoded({"domainId": "rsa", "nonceStr": number("n"), "tradeNo": paid["clientPayNo"]})
    stamp = tsk_hmac.stamp(sides.harness.payserver.pay.app.clock.now())
    header = tsk_rsa2.header(private, stamp, raw)
    assert (await sides.harness.send("/paycgi/orderquery", raw, header))[1]["retCode"] == "SUCCESS"
    hmac_header = tsk_hmac.header(SKILL_SECRET, stamp, raw)
    assert await sides.harness.send("/paycgi/orderquery", raw, hmac_header) == FAIL_SIGN


# ---------------------------------------------------------------- the partner
async def paid_notice(sides: Sides, trade_no: str, **given: Any) -> tuple[int, Any]:
    members = {"transactionId": "DD1", "tradeNo": trade_no, "totalAmt": 100, **given}
    return await sides.harness.skill("/dingdang/pay/notify", members)


async def test_wrong_paid_notices_move_nothing(sides: Sides) -> None:
    trade_no = await sides.order()
    wrong = {
        "金额不一致:totalAmt": {"totalAmt": 99},
        "订单不存在": {"tradeNo": "nobody"},
        "参数错误:transactionId": {"transactionId": ""},
        "参数错误:totalAmt": {"totalAmt": "1.00"},
    }
    for text, changed in wrong.items():
        answer = (await paid_notice(sides, trade_no, **changed))[1]
        assert answer == {"retCode": "FAIL", "retMsg": text}
    assert await sides.harness.status("pay_order", "traction_no", trade_no) == "paying"


async def test_duplicates_are_answered_success_with_one_effect(sides: Sides) -> None:
    trade_no = await sides.order()
    answers = await asyncio.gather(*(paid_notice(sides, trade_no) for _ in range(10)))
    assert {answer["retCode"] for _, answer in answers} == {"SUCCESS"}
    assert await sides.harness.status("pay_order", "traction_no", trade_no) == "payed"
    moved = await sides.harness.payserver.sql(
        "SELECT count(*) FROM trade_record WHERE traction_no = :number AND status = 'payed'",
        number=trade_no,
    )
    assert moved == [(1,)]
    other = (await paid_notice(sides, trade_no, transactionId="DD2"))[1]
    assert other == {"retCode": "FAIL", "retMsg": "订单号不一致"}


# ---------------------------------------------------------------- notices
async def listening(sides: Sides, receiver: Partner) -> tuple[Mode, str]:
    """A merchant whose domain is told at the receiver."""
    mode, domain = await sides.harness.payserver.component_mode(), number("d")
    urls = {"paid_url": receiver.url, "refunded_url": receiver.url}
    await sides.harness.domain(pb.ROLE_PLATFORM, mode.merchant_uuid, domain_id=domain, **urls)
    return mode, domain


async def test_a_notice_is_repeated_until_it_is_acknowledged(
    sides: Sides, receiver: Partner
) -> None:
    receiver.answers = [500, {"retCode": "FAIL", "retMsg": "later"}]
    mode, domain = await listening(sides, receiver)
    pay = await sides.harness.paid(mode, payAmount=100)

    async def done() -> bool:
        rows = await sides.notices(pay["tractionNo"])
        return bool(rows) and rows[0][1] == "done"

    await eventually(done, 15, every_s=0.1)
    rows = await sides.notices(pay["tractionNo"])
    assert rows[0][0] == "paid"
    assert (rows[0][2], rows[0][3], rows[0][5]) == (3, 200, 3)
    for raw, header in receiver.seen:
        given = tsk_hmac.read(header)
        assert given is not None
        assert tsk_hmac.right(given, SKILL_SECRET, raw)
    listed = await sides.harness.platform.ListNotices(pb.ListNoticesRequest(domain_id=domain))
    assert [one.status for one in listed.notices] == ["done"]


async def test_a_notice_nobody_takes_is_given_up_and_listed(
    sides: Sides, receiver: Partner
) -> None:
    receiver.answers = [500] * 10
    mode, _ = await listening(sides, receiver)
    pay = await sides.harness.paid(mode, payAmount=100)

    async def given_up() -> bool:
        rows = await sides.notices(pay["tractionNo"])
        return bool(rows) and rows[0][1:3] == ("given_up", 3)

    await eventually(given_up, 15, every_s=0.1)
    assert len(receiver.seen) == 3


async def test_a_refund_is_told_when_it_has_ended_and_not_before(
    sides: Sides, receiver: Partner
) -> None:
    mode, domain = await listening(sides, receiver)
    pay = await sides.harness.paid(mode, payAmount=100)
    refund = await sides.harness.refund(pay, refundAmount=30)

    async def told() -> bool:
        return len(receiver.seen) == 2

    await eventually(told)
    members = json.loads(next(raw for raw, _ in receiver.seen if b"refundStatus" in raw))
    members.pop("nonceStr")
    assert members == {
        "domainId": domain,
        "transactionId": pay["tractionNo"],
        "tradeNo": pay["clientPayNo"],
        "refundTransactionId": refund["tractionNo"],
        "refundTradeNo": refund["clientRefundNo"],
        "totalAmt": 100,
        "refundAmt": 30,
        "refundStatus": "SUCCESS",
        "refundStatusDesc": "退款成功",
    }


async def asking(sides: Sides, domain_id: str, secret_name: str) -> Callable[[str], Awaitable[Any]]:
    """A domain of the platform with this named secret, and a call of its partner signed with a key."""
    await sides.harness.domain(
        pb.ROLE_PLATFORM,
        sides.platform.merchant_uuid,
        domain_id=domain_id,
        secret_name=secret_name,
        paid_url="",
    )
    paid = await sides.user_pays(number("t"))

    async def answer(secret: str) -> Any:
        members = {"domainId": domain_id, "tradeNo": paid["clientPayNo"]}
        return await sides.harness.skill("/paycgi/orderquery", members, secret=secret)

    return answer


async def test_a_stored_secret_of_a_domain_signs_until_it_is_revoked(sides: Sides) -> None:
    stored = Stored(sides.harness.payserver.pay.port)
    answer = await asking(sides, "stored", "nowhere")
    made = await stored.issue("dingdang", "platform/stored")
    new = await stored.rotate("dingdang", "platform/stored")
    for secret in (made.secret, new.secret):
        assert (await answer(secret))[1]["retCode"] == "SUCCESS"
    await stored.revoke(made)
    assert await answer(made.secret) == FAIL_SIGN
    assert (await answer(new.secret))[1]["retCode"] == "SUCCESS"


async def test_a_domain_without_a_named_secret_takes_its_stored_one_alone(sides: Sides) -> None:
    stored = Stored(sides.harness.payserver.pay.port)
    answer = await asking(sides, "unnamed", "")
    for none_of_it in ("", SKILL_SECRET):
        assert await answer(none_of_it) == FAIL_SIGN
    made = await stored.issue("dingdang", "platform/unnamed")
    assert (await answer(made.secret))[1]["retCode"] == "SUCCESS"
    assert await answer("") == FAIL_SIGN
    await stored.revoke(made)
    assert await answer(made.secret) == FAIL_SIGN
