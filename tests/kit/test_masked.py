"""What names a person is masked in the log of every service that sees it; the gateway sees all."""

from __future__ import annotations

import io
import logging
from typing import Any

import orjson
import pytest

from shoudan_kit import log, metrics, service
from shoudan_kit.service import Service, services

ACCOUNT = {"rechage_account", "recharge_account"}
SEEN = {
    "delivery": ACCOUNT,
    "erp_ingest": {
        "buyer_nick",
        "customer_name",
        "pay_account",
        "receiver_mobile",
        "return_mobile",
    },
    "order": ACCOUNT,
    "pay": {"bankCardNo", "bank_card_no", "payBarCode", "pay_bar_code"},
}


@pytest.mark.parametrize("name", sorted(SEEN))
def test_a_service_masks_the_people_it_sees_and_the_gateway_masks_them_all(name: str) -> None:
    found = services()
    assert SEEN[name] <= found[name].settings.masked
    assert found[name].settings.masked <= found["gateway"].settings.masked


@pytest.mark.parametrize("name", [*sorted(SEEN), "gateway"])
def test_a_started_service_writes_no_name_of_a_person(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, stream, setup = services()[name], io.BytesIO(), log.setup
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    async def nothing(*_: Any) -> None: ...

    def to_stream(service_name: str, at: log.Level, **given: Any) -> None:
        setup(service_name, at, stream, **given)

    monkeypatch.setattr(log, "setup", to_stream)
    monkeypatch.setattr(service, "_serve", nothing)
    monkeypatch.setattr(metrics, "PROCESS_LABELS", {})
    for what in (service.faults, service.named_secret):
        monkeypatch.setattr(what, "arm", lambda _: None)
    monkeypatch.setattr(declared.settings, "load", lambda _: declared.settings.model_construct())
    service.run(Service(name, declared.settings, declared.start))
    log.get_logger("any").info("seen", **dict.fromkeys(declared.settings.masked, "a person"))
    setup(name, "info")
    root.handlers, root.level = handlers, level
    (line,) = [orjson.loads(one) for one in stream.getvalue().splitlines()]
    assert {line[field] for field in declared.settings.masked} == {log.MASK}
