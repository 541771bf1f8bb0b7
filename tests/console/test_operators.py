"""Promises of the pages of operators: made once, given roles, taken out; tokens made and revoked."""

from __future__ import annotations

import re

import pytest

from tests.console.harness import Desk

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

SECRET = re.compile(r'class="secret">.*?data-copy="([^"]+)"', re.DOTALL)


async def test_an_operator_is_made_once_invited_and_begins_with_its_roles(desk: Desk) -> None:
    admin = await desk.logged_in("boss", "admin")
    fields = {"name": "fresh", "display_name": "新人", "role": "support"}
    made = await admin.post("/operators", fields)
    password = SECRET.search(made.text)
    assert password is not None, made.text
    again = await admin.post("/operators", fields)  # the same form, a second time
    assert "This name is taken" in again.text
    assert SECRET.search(again.text) is None
    desk.people["fresh"] = await desk.begin("fresh", password[1])
    fresh = await desk.logged_in("fresh")
    assert (await fresh.get("/orders")).status == 200
    page = await admin.get("/operators/fresh")
    assert "support" in page.text
    assert SECRET.search(page.text) is None
    done = await admin.post("/operators/fresh/change", {"do": "roles", "role": "ops"})
    assert done.location == "/operators/fresh?done=yes"
    kept = "SELECT roles FROM operator WHERE name = 'fresh'"
    assert await desk.partner.sql("identity", kept) == ["ops"]
    await admin.post("/operators/fresh/change", {"do": "disable"})
    assert 'value="enable"' in (await admin.get("/operators/fresh")).text
    await admin.post("/operators/fresh/change", {"do": "enable"})
    assert 'value="disable"' in (await admin.get("/operators/fresh")).text
    assert (await admin.post("/operators/fresh/change", {"do": "anything"})).status == 404


async def test_who_is_no_admin_changes_no_operator_and_an_admin_proves_itself_first(
    desk: Desk,
) -> None:
    support = await desk.logged_in("is-support", "support")
    assert 'name="display_name"' not in (await support.get("/operators")).text
    assert (await support.post("/operators", {"name": "sneaked"})).status == 403
    assert (await support.post("/operators/boss/change", {"do": "disable"})).status == 403
    admin = await desk.logged_in("boss", "admin")
    await desk.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour' WHERE operator = 'boss'"
    )
    assert (await admin.post("/operators", {"name": "later"})).location.startswith("/prove?")
    assert 'name="display_name"' not in (await admin.get("/operators")).text


async def test_a_token_is_made_with_roles_of_its_owner_and_revoked_by_it_or_an_admin(
    desk: Desk,
) -> None:
    owner = await desk.logged_in("programs", "support", "ops")
    page = await owner.get("/me")
    assert 'name="role" value="ops"' in page.text
    assert 'name="role" value="admin"' not in page.text
    fields = {"do": "add", "token": "nightly", "role": "ops", "days": "7"}
    made = await owner.post("/me/tokens", fields)
    assert SECRET.search(made.text) is not None
    again = await owner.post("/me/tokens", fields)
    assert again.status == 400
    assert "This name is taken" in again.text
    assert (await owner.post("/me/tokens", {**fields, "token": "x", "days": "999"})).status == 400
    beyond = await owner.post("/me/tokens", {**fields, "token": "more", "role": "admin"})
    assert SECRET.search(beyond.text) is None or ">admin<" not in beyond.text
    assert "nightly" in (await owner.get("/me")).text
    admin = await desk.logged_in("boss", "admin")
    page = await admin.get("/operators/programs")
    assert "nightly" in page.text
    done = await admin.post("/operators/programs/tokens", {"do": "revoke", "token": "nightly"})
    assert done.location == "/operators/programs?done=yes"
    assert "nightly" not in (await owner.get("/me")).text
    other = await desk.logged_in("is-support", "support")
    refused = await other.post("/operators/programs/tokens", {"do": "revoke", "token": "more"})
    assert refused.status in {403, 404}
