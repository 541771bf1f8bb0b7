"""The configuration of a running system: applied again it changes nothing, exported it is the same."""

from __future__ import annotations

import re

import pytest

from shoudan_cli.apply import apply, export
from shoudan_cli.clients import Failed
from shoudan_cli.document import load, parse
from shoudan_cli.system import demo_catalogue

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
