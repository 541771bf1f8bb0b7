"""Promises: the published vectors hold, and a sender told to sign or to call from home must."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from shoudan_erp_ingest import signatures
from shoudan_erp_ingest.config import ErpSettings
from shoudan_erp_ingest.refusals import SenderUnknown, SenderUnverified
from shoudan_erp_ingest.senders import Senders
from shoudan_erp_ingest.signatures import Scheme
from shoudan_erp_ingest.tables.schema import REFUND, TRADE
from shoudan_kit.clock import SystemClock
from shoudan_kit.config import ConfigError, Secret
from shoudan_kit.credentials.live import LiveSecrets

WDT = {
    "appkey": "test2-xx",
    "page_no": "0",
    "end_time": "2016-08-01 13:00:00",
    "start_time": "2016-08-01 12:00:00",
    "page_size": "40",
    "sid": "test2",
    "timestamp": "1470042310",
}
TOP = {
    "method": "taobao.item.seller.get",
    "app_key": "12345678",
    "session": "test",
    "timestamp": "2016-01-01 12:00:00",
    "format": "json",
    "v": "2.0",
    "sign_method": "md5",
    "fields": "num_iid,title,nick,price,num",
    "num_iid": "11223344",
}


def test_the_published_vectors_hold() -> None:
    assert signatures.wdt_md5(WDT, "12345") == "ad4e6fe037ea6e3ba4768317be9d1309"
    assert signatures.top_md5(TOP, "helloworld") == "66987CB115214E59E6EC978214934FB8"


def test_lengths_count_characters_or_bytes() -> None:
    assert signatures.wdt_text({"name": "中文"}) == "04-name:0002-中文"
    assert signatures.wdt_text({"name": "中文"}, utf8_lengths=True) == "04-name:0006-中文"


def made(rules: object) -> Senders:
    settings = ErpSettings(
        database_url=Secret("postgresql://x"), sender_rules=Secret(json.dumps(rules))
    )
    return Senders(settings, LiveSecrets(SystemClock()))


BODY = b'{"data": 1}'


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_signed_push_is_taken_and_a_changed_one_is_not(scheme: Scheme) -> None:
    senders = made({"24647807": {"scheme": scheme.value, "secret": "s3cret"}})
    params = {"app_key": "24647807", "timestamp": "2026-11-20 12:00:00"}
    (sign, *_) = signatures._MAKERS[scheme](params, "s3cret", BODY)

    def refusal(body: bytes = BODY, **more: str) -> object:
        query = urlencode({**params, "sign": sign, **more})
        return senders.refuse(REFUND, "24647807", remote_ip="", query=query, body=body)

    assert refusal() is None
    assert refusal(sign=sign.swapcase()) is None
    changed = [refusal(BODY + b" "), refusal(timestamp="x"), refusal(more="1"), refusal(sign="")]
    assert all(isinstance(one, SenderUnverified) for one in changed)
    doubled = urlencode({**params, "sign": sign}) + "&timestamp=x"
    twice = senders.refuse(REFUND, "24647807", remote_ip="", query=doubled, body=BODY)
    assert isinstance(twice, SenderUnverified)


def test_a_sender_with_networks_must_call_from_one() -> None:
    senders = made({"BudweiserTmall": {"networks": ["10.1.0.0/16"]}})
    answers = [
        senders.refuse(TRADE, "BudweiserTmall", remote_ip=ip, query="", body=BODY)
        for ip in ("10.1.2.3", "10.2.0.1", "", "2001:db8::1")
    ]
    assert answers[0] is None
    assert all(isinstance(one, SenderUnverified) for one in answers[1:])


def test_in_prod_a_sender_proves_itself() -> None:
    rules = {"BudweiserTmall": {"networks": ["10.1.0.0/16"]}}
    settings = ErpSettings(
        profile="prod",
        database_url=Secret("postgresql://x"),
        sender_rules=Secret(json.dumps(rules)),
    )
    senders = Senders(settings, LiveSecrets(SystemClock()))
    (app_key, *_) = settings.app_keys
    unproved = senders.refuse(REFUND, app_key, remote_ip="10.1.2.3", query="", body=BODY)
    assert isinstance(unproved, SenderUnverified)
    assert (
        senders.refuse(TRADE, "BudweiserTmall", remote_ip="10.1.2.3", query="", body=BODY) is None
    )


def test_customers_and_app_keys_are_two_lists() -> None:
    senders = made({})
    args = {"remote_ip": "", "query": "", "body": BODY}
    assert senders.refuse(TRADE, "BudweiserTmall", **args) is None
    assert isinstance(senders.refuse(REFUND, "BudweiserTmall", **args), SenderUnknown)


@pytest.mark.parametrize(
    "rules",
    ["{", '{"x": {"scheme": "md5"}}', '{"x": {"secret": "s"}}', '{"x": {"networks": ["n"]}}'],
)
def test_rules_nobody_can_follow_are_told_at_start(rules: str) -> None:
    environ = {
        "SHOUDAN_ERP_INGEST_DATABASE_URL": "postgresql://x",
        "SHOUDAN_ERP_INGEST_SENDER_RULES": rules,
    }
    with pytest.raises(ConfigError, match="sender_rules"):
        ErpSettings.load("erp_ingest", environ=environ)


def test_prod_refuses_the_demo_keys() -> None:
    environ = {
        "SHOUDAN_ERP_INGEST_DATABASE_URL": "postgresql://x",
        "SHOUDAN_PROFILE": "prod",
    }
    with pytest.raises(ConfigError, match=r"personal_keys(.|\n)*index_key"):
        ErpSettings.load("erp_ingest", environ=environ)
