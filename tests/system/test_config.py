"""The configuration of a running system: applied again it changes nothing, exported it is the same."""

from __future__ import annotations

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


async def test_an_opening_cannot_be_changed(partner) -> None:
    with pytest.raises(Failed, match="was opened with 100000"):
        await apply(partner.clients, parse(OPENED, "x.yaml", {}), "test", dry_run=True)
