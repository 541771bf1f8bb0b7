"""The configuration of a running system: applied again it changes nothing, exported it is the same."""

from __future__ import annotations

import re

import pytest

from shoudan_cli.apply import apply, export
from shoudan_cli.clients import Failed
from shoudan_cli.system import demo_catalogue
from shoudan_configuration.document import Document, load, parse
from tests.delivery.protocols.speakers import EXAMPLES

pytestmark = pytest.mark.system

OPENED = "accounts: [{groups: down_channel, eid: ycdown, opening_yuan: 5, credit_yuan: 5000}]"


async def test_the_same_file_again_changes_nothing(partner, system) -> None:
    document = load(demo_catalogue(), system.env)
    # The partner of these tests was given more credit.
    accounts = [one for one in document.accounts if one.eid != "test"]
    document = document.model_copy(update={"accounts": accounts})
    assert await apply(partner.clients, document, "test", dry_run=True) == []
    assert await apply(partner.clients, document, "test", dry_run=False) == []


async def test_what_is_exported_is_what_is_there(partner) -> None:
    exported = parse(await export(partner.clients), "export.yaml", {})
    assert {one.channel_no for one in exported.down_channels} >= {"test", "ycdown", "closed"}
    assert await apply(partner.clients, exported, "test", dry_run=True) == []


async def test_a_plan_says_what_would_change_and_changes_nothing(partner) -> None:
    text = "down_channels: [{channel_no: planned, channel_name: planned}]"
    document = parse(text, "x.yaml", {})
    first = await apply(partner.clients, document, "test", dry_run=True)
    assert any("planned" in one for one in first)
    assert await apply(partner.clients, document, "test", dry_run=True) == first


TEMPLATE = """
pay_mode_templates:
  - { template_id: TEST-1, name: 试, online: true, pay_url: "http://127.0.0.1:1/pay", valid_h: 2,
      secret_name: SHOUDAN_COMPONENT_TEST }
"""


async def test_templates_of_paying_are_told_apart_by_what_changes(partner) -> None:
    template = parse(TEMPLATE, "x.yaml", {})
    planned = ["pay mode template TEST-1: new"]
    assert await apply(partner.clients, template, "test", dry_run=True) == planned
    assert await apply(partner.clients, template, "test", dry_run=False) == planned
    assert await apply(partner.clients, template, "test", dry_run=False) == []
    # The secret's name is not exported, and stays when it is left out.
    changed = parse(
        re.sub(r",\s+secret_name: \w+", "", TEMPLATE).replace("h: 2", "h: 3"), "x.yaml", {}
    )
    lines = ["pay mode template TEST-1: valid_h 3"]
    assert await apply(partner.clients, changed, "test", dry_run=False) == lines
    assert await apply(partner.clients, changed, "test", dry_run=True) == []
    exported = parse(await export(partner.clients), "export.yaml", {})
    (found,) = [one for one in exported.pay_mode_templates if one.template_id == "TEST-1"]
    assert (found.valid_h, found.pay_url, found.secret_name) == (3, "http://127.0.0.1:1/pay", None)
    stored = "SELECT secret_name FROM pay_mode_template WHERE template_id = 'TEST-1'"
    assert await partner.sql("pay", stored) == "SHOUDAN_COMPONENT_TEST"


async def test_an_opening_cannot_be_changed(partner) -> None:
    with pytest.raises(Failed, match="was opened with 100000"):
        await apply(partner.clients, parse(OPENED, "x.yaml", {}), "test", dry_run=True)


SUPPLIER = """
suppliers:
  - channel_no: planned
    service_class: 10
    request_url: http://127.0.0.1:1/request
    ext_params: {mer_id: 9527}
    error_codes:
      - { error_code: R_0000, deal_code: 0 }
      - { error_code: R_5124, deal_code: 10 }
      - { error_code: R_9999, deal_code: 90 }
"""


async def test_a_supplier_without_all_three_kinds_of_codes_is_refused_by_the_plan(partner) -> None:
    for code, kind in (("R_0000", "success"), ("R_5124", "failure"), ("R_9999", "unknown")):
        lines = [line for line in SUPPLIER.splitlines() if code not in line]
        document = parse("\n".join(lines), "x.yaml", {})
        with pytest.raises(Failed, match=f"no code means .*{kind}"):
            await apply(partner.clients, document, "test", dry_run=True)


DOCUMENTED = """
lines:
  - { line_id: 77, line_name: xxx产品, can_package_delivery: 1, payment_queue: "oms:order:pay:77" }
down_channels:
  - channel_no: documented
    channel_name: xxx渠道
    status: 1
    ext_channel_no: A-1
    shelves:
      - shelf_id: 770
        shelf_name: xxx下游货架
        order_overtime: 500
        refund_overtime: 700
        status: 0
        extend_info: 备注
        products:
          - { product_id: 7700, line_id: 77, carrier_no: ZSH, province_no: CQ, city_no: "*", invoice_type: 1,
              can_refund: 1, face: 200, sell_discount: 0.9, can_split_order: 1, limit_count: 10, status: 0,
              extend_info: 商品 }
accounts:
  - { account_name: 某账户, groups: down_channel, eid: documented, balance: 9999999, credit: 100, status: 1 }
"""


async def test_the_documents_own_column_names_are_understood_and_all_of_it_is_expressible(
    partner,
) -> None:
    document = parse(DOCUMENTED + SUPPLIER, "x.yaml", {})
    planned = await apply(partner.clients, document, "test", dry_run=True)
    assert await apply(partner.clients, document, "test", dry_run=False) == planned
    assert await apply(partner.clients, document, "test", dry_run=False) == []
    exported = parse(await export(partner.clients), "export.yaml", {})
    (line,) = [one for one in exported.lines if one.line_id == 77]
    assert (line.can_package_delivery, line.queues["payment_queue"]) == (False, "oms:order:pay:77")
    (channel,) = [one for one in exported.down_channels if one.channel_no == "documented"]
    assert (channel.enabled, channel.ext_channel_no) == (False, "A-1")
    (shelf,) = channel.shelves
    assert (shelf.order_overtime_s, shelf.refund_overtime_s, shelf.extend_info) == (
        500,
        700,
        "备注",
    )
    (product,) = shelf.products
    assert (product.can_refund, product.can_split_order, product.enabled) == (False, False, True)
    assert product.extend_info == "商品"
    (account,) = [one for one in exported.accounts if one.eid == "documented" and one.locked]
    assert (account.name, account.opening_yuan, account.credit_yuan) == (
        "某账户", 99_999_990_000, 1_000_000
    )  # fmt: skip
    (supplier,) = [one for one in exported.suppliers if one.channel_no == "planned"]
    assert supplier.ext_params == {"mer_id": "9527"}


async def test_a_template_is_applied_written_down_and_applied_again(partner) -> None:
    """In its order, too: some suppliers' XML has one."""
    document = parse((EXAMPLES / "rsa-xml.yaml").read_text(), "x.yaml", {})
    assert await apply(partner.clients, document, "test", dry_run=False)
    assert await apply(partner.clients, document, "test", dry_run=False) == []
    exported = parse(await export(partner.clients), "export.yaml", {})
    (supplier,) = [one for one in exported.suppliers if one.channel_no == "xmlup"]
    assert supplier.template == document.suppliers[0].template
    assert list(supplier.template["order"]["send"]["fields"])[:2] == ["merchant", "serial"]
    again = Document(suppliers=[supplier])
    assert await apply(partner.clients, again, "test", dry_run=True) == []


async def test_a_mistake_in_one_service_leaves_all_of_them_as_they_were(partner) -> None:
    accounts = """
accounts:
  - { ident: unmade, groups: member, eid: first, opening_yuan: 5 }
  - { ident: unmade, groups: platform, eid: nobodys }
"""
    with pytest.raises(Failed, match="platform"):
        await apply(partner.clients, parse(accounts, "x.yaml", {}), "test", dry_run=False)
    count = "SELECT count(*) FROM account_info WHERE ident = 'unmade'"
    assert await partner.sql("pay", count) == 0
    both = """
lines: [{line_id: 78, line_name: unfinished}]
accounts: [{ident: unmade, groups: member, eid: first, opening_yuan: 5}]
suppliers: [{channel_no: broken, service_class: 10, request_url: "http://127.0.0.1:1/"}]
"""
    with pytest.raises(Failed, match="error_codes"):
        await apply(partner.clients, parse(both, "x.yaml", {}), "test", dry_run=False)
    assert await partner.sql("pay", count) == 0
    lines = "SELECT count(*) FROM oms_product_line WHERE line_id = 78"
    assert await partner.sql("order", lines) == 0


async def test_an_account_is_locked_unlocked_and_renamed_by_the_file(partner) -> None:
    text = "accounts: [{ident: relocked, groups: member, eid: a, name: 甲, opening_yuan: 5, locked: %s}]"

    async def made(locked: str, name: str = "甲") -> list[str]:
        document = parse((text % locked).replace("甲", name), "x.yaml", {})
        planned = await apply(partner.clients, document, "test", dry_run=True)
        assert await apply(partner.clients, document, "test", dry_run=False) == planned
        return [line.partition(": ")[2] for line in planned]

    assert await made("true") == ["new", "opening 5", "locked"]
    assert await made("true") == []
    assert await made("false", "乙") == ["name 乙", "unlocked"]
    assert await made("true", "乙") == ["locked"]
