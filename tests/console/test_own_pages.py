"""Promises of the partner's entrance: its own rows on every page, nobody else's by any page or call."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

from shoudan.core.v1 import credential_service_pb2 as credential_pb
from shoudan.core.v1.credential_service_pb2_grpc import CredentialServiceStub
from shoudan_console.pages import PAGES
from shoudan_console.security import POLICY
from shoudan_kit.rpc import client
from shoudan_kit.rpc.rights import methods
from tests.console.harness import PASSWORD, Answer, Browser, Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

OWN = sorted(page.path for page in PAGES if page.whose == "partner" and page.show is not None)
STAFF = sorted(
    (page.path, page.show is not None)
    for page in PAGES
    if page.whose == "staff" and not page.open and page.path != "/"
)
OTHER = "ycdown"
# Which services serve the packages of the contract.
SERVED = {
    "order": (
        "shoudan.order.v1.ChannelService",
        "shoudan.order.v1.EndpointService",
        "shoudan.order.v1.CatalogueService",
        "shoudan.order.v1.RequestLogService",
        "shoudan.order.v1.OrderService",
        "shoudan.order.v1.AuditService",
        "shoudan.core.v1.CredentialService",
        "shoudan.core.v1.OperationsService",
        "shoudan.core.v1.AuditLogService",
    ),
    "finance": ("shoudan.finance.v1.BillService", "shoudan.core.v1.AuditLogService"),
    "pay": ("shoudan.pay.v1.LedgerService", "shoudan.core.v1.CredentialService"),
    "delivery": (
        "shoudan.delivery.v1.SupplierService",
        "shoudan.delivery.v1.DeliveryService",
        "shoudan.core.v1.CredentialService",
    ),
    "erp_ingest": ("shoudan.erp.v1.ErpService",),
    "identity": ("shoudan.identity.v1.IdentityService",),
}
ITSELF = {
    "WhoAmI", "ChangePassword", "EnrolTotp", "ConfirmTotp", "ListSessions", "EndSession",
    "GetClock",
}  # fmt: skip


async def partner(desk: Desk, language: str = "en") -> Browser:
    await desk.account("own-test", "test")
    return await desk.logged_in("own-test", language=language)


async def visited(browser: Browser, path: str, query: str = "") -> Answer:
    return await browser.get(f"{path}?{query}" if query else path)


async def test_staff_invite_a_person_who_sets_password_and_authenticator_itself(desk: Desk) -> None:
    admin = await desk.logged_in("invites", "admin")
    await admin.get("/partners/test")  # until the order service knows the key of its token
    page = await admin.get("/partners/test/accounts")
    assert page.status == 200, page.text
    made = await admin.post("/partners/test/accounts", {"do": "invite", "name": "zhou"})
    found = re.search(r'class="secret">.*?data-copy="([^"]+)"', made.text, re.DOTALL)
    assert found is not None, made.text
    assert found[1] not in (await admin.get("/partners/test/accounts")).text
    again = await admin.post("/partners/test/accounts", {"do": "invite", "name": "zhou"})
    assert "is taken" in again.text
    browser = desk.browser()
    await browser.get("/login")
    await browser.speak("en")
    await browser.get("/login")
    given = {"name": "zhou", "password": found[1], "new_password": PASSWORD, "repeated": PASSWORD}
    assert (await browser.post("/login", given)).location == "/enrol"
    assert (await browser.get("/own/orders")).location == "/enrol"
    await browser.get("/enrol")
    enrolling = await browser.post("/enrol")
    person = await desk.met("zhou", enrolling.field("secret"))
    done = await browser.post("/enrol", {"code": desk.code(person), "secret": person.secret})
    assert done.status == 200
    assert (await browser.get("/")).location == "/own/orders"
    assert "desk-0" in (await browser.get("/own/orders")).text
    # Of another channel it is no account, and taken back it is out with its next tokens.
    other = {"do": "disable", "name": "zhou"}
    assert (await admin.post(f"/partners/{OTHER}/accounts", other)).status == 404
    assert (await admin.post("/partners/test/accounts", other)).status == 303
    assert (await browser.get("/own/orders")).location.startswith("/login")


@pytest.mark.parametrize("role", ["viewer", "ops", "finance-maker"])
async def test_none_but_an_administrator_invites(desk: Desk, role: str) -> None:
    browser = await desk.logged_in(f"no-invites-{role}", role)
    await browser.get("/partners/test")  # until the order service knows the key of its token
    assert (await browser.get("/partners/test/accounts")).status == 403
    given = {"do": "invite", "name": "li"}
    assert (await browser.post("/partners/test/accounts", given)).status == 403


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_every_page_is_there_for_a_partner_in_both_languages(
    desk: Desk, language: str
) -> None:
    browser = await partner(desk, language)
    for path in OWN:
        query = "no=desk-0" if path == "/own/order" else ""
        answer = await visited(browser, path, query)
        if path == "/own/search":
            assert answer.status == 303
            continue
        assert answer.status == 200, (path, answer.text)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        if not path.endswith(".csv"):
            assert f'lang="{"zh-CN" if language == "zh" else "en"}"' in answer.text
            assert not re.search(r"<script(?! src)|<style| style=| on\w+=", answer.text), path
            assert "does not answer" not in answer.text
            assert "/ledger" not in answer.text


async def test_an_order_is_shown_as_a_partner_may_know_it(desk: Desk) -> None:
    browser = await partner(desk)
    page = await browser.get("/own/order?no=desk-0")
    for shown in ("The order was taken", "The order ended", "Succeeded", "I pay"):
        assert shown in page.text
    supplier = await desk.partner.sql(
        "order", "SELECT up_channel_no FROM oms_order_delivery ORDER BY delivery_id LIMIT 1"
    )
    for hidden in (supplier, "Profit", "Cost", "upplier"):
        assert hidden not in page.text
    found = await browser.get("/own/search?q=desk-0")
    assert (await browser.get(found.location)).text.count("<tr") == 2
    assert (await browser.get("/own/order?no=none")).status == 404
    listed = await browser.get("/own/orders?status=0&size=100")
    assert "desk-0" in listed.text
    assert "lost-" not in listed.text
    assert "lost-" in (await browser.get("/own/orders?status=30")).text


async def test_no_page_shows_another_channel(desk: Desk) -> None:
    browser = await partner(desk)
    for path in OWN:
        if path == "/own/search":
            continue
        query = {
            "/own/order": "no=desk-0",
            "/own/sent": "endpoint=yc-1",
            "/own/sent.csv": "endpoint=yc-1",
            "/own/bill": "date=2026-11-29&kind=trade&format=csv",
        }.get(path, "")
        answer = await visited(browser, path, f"{query}&channel={OTHER}".lstrip("&"))
        refused = answer.status == 403 or "Your roles do not show this" in answer.text
        assert refused, (path, answer.text)
        assert "yc-1" not in re.sub(r'value="yc-1"|endpoint=yc-1', "", answer.text)
    for path, fields in (
        ("/own/order/resend", {"no": "desk-0"}),
        ("/own/endpoints", {"endpoint": "yc-1", "do": "test"}),
        ("/own/endpoints", {"endpoint": "yc-1", "do": "pause", "reason": "x"}),
        ("/own/endpoints", {"endpoint": "yc-1", "do": "resend"}),
        ("/own/keys", {"kind": "channel", "overlap": "3600", "reason": "x", "once": "y"}),
    ):
        answer = await browser.post(path, {**fields, "channel": OTHER})
        assert answer.status == 403, (path, answer.text)


async def test_pages_of_staff_are_not_there_for_a_partner_nor_its_pages_for_staff(
    desk: Desk,
) -> None:
    browser = await partner(desk)
    staff = await desk.logged_in("all-en", "support", "ops", "finance-maker", "admin")
    for path, shown in STAFF:
        real = re.sub(r"\{[^}]+\}", "1", path)
        if shown:
            assert (await browser.get(real)).status == 404, path
        assert (await browser.post(real)).status in {404, 405}, path
    for path in OWN:
        assert (await staff.get(path)).status == 404, path
    page = await browser.get("/own/orders")
    links = set(re.findall(r'<li><a href="([^"]+)"', page.text))
    assert links
    assert all(one.startswith("/own/") or one == "/me" for one in links)


async def code_of(stub: Any, request: Any, token: str) -> str:
    call = stub(request, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                break
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


def asking(method: Any, right: Any, channel: str) -> Any:
    """A request of a method that names this channel."""
    request = GetMessageClass(method.input_type)()
    if right.partners is not None and right.partners.channel:
        setattr(request, right.partners.channel, right.partners.prefix + channel)
        for name, values in right.partners.limits:
            setattr(request, name, min(values))
    return request


@pytest.mark.parametrize("service", SERVED)
async def test_no_call_of_a_partner_reaches_another_channel(desk: Desk, service: str) -> None:
    """Every method of the services, with a partner's own token: only its own rows, else refused."""
    await desk.account("own-test", "test")
    token = await desk.token("own-test")
    target = desk.system.target(service)
    async with client.connect(target, service, desk.system.identity) as channel:
        opened: set[str] = set()

        async def code(path: str, request: Any, method: Any) -> str:
            kind = channel.unary_stream if method.server_streaming else channel.unary_unary
            answer = GetMessageClass(method.output_type)
            stub = kind(path, type(request).SerializeToString, answer.FromString)

            async def fetched() -> bool:
                return await code_of(stub, request, token) != "UNAUTHENTICATED"

            await eventually(fetched, 30, every_s=0.5)
            return await code_of(stub, request, token)

        for name, method_name, right in methods(*SERVED[service]):
            found: Any = Default().FindServiceByName(name)
            method = found.methods_by_name[method_name]
            path = f"/{name}/{method_name}"
            if right.anyone or method_name in ITSELF:
                continue
            for other in (OTHER, "", "test ", "TEST"):
                request = asking(method, right, other)
                assert await code(path, request, method) == "PERMISSION_DENIED", (path, other)
            if right.partners is not None and method_name.startswith(("List", "Get")):
                own = await code(path, asking(method, right, "test"), method)
                assert own != "PERMISSION_DENIED" or service in {"pay", "delivery"}, path
                opened.add(method_name)
    assert opened or service in {"erp_ingest", "identity"}


async def test_a_key_of_another_kind_with_the_same_owner_is_not_shown(desk: Desk) -> None:
    """A supplier, or a notify endpoint, may have the number of a channel."""
    await desk.account("own-test", "test")
    token = await desk.token("own-test")
    for service, kind in (("order", "endpoint"), ("order", ""), ("delivery", "supplier")):
        request = credential_pb.ListCredentialsRequest(kind=kind, owner="test")
        with pytest.raises(Exception, match="NOT_ALLOWED"):
            await desk.clients.call(
                service, CredentialServiceStub, "ListCredentials", request, token=token
            )


async def keys_of(desk: Desk, token: str, channel: str) -> list[tuple[str, str]]:
    """Who stored each key of a channel and why, as who has the token reads it."""
    request = credential_pb.ListCredentialsRequest(kind="channel", owner=channel)
    found = await desk.clients.call(
        "order", CredentialServiceStub, "ListCredentials", request, token=token
    )
    return [(one.created_by, one.reason) for one in found.credentials]


async def test_a_partner_replaces_its_key_once_and_is_shown_the_secret_once(desk: Desk) -> None:
    await desk.account("own-yc", OTHER)
    ops = await desk.logged_in("gives-keys", "ops")
    page = await ops.get(f"/partners/{OTHER}")
    first = {"do": "rotate", "kind": "channel", "once": page.field("once"), "reason": "first"}
    await ops.post(f"/partners/{OTHER}", first)
    assert ("gives-keys", "first") in await keys_of(desk, await desk.token("gives-keys"), OTHER)
    token = await desk.token("own-yc")
    seen = await keys_of(desk, token, OTHER)
    assert set(seen) == {("", "")}, "not who of ours did it, nor why"
    browser = await desk.logged_in("own-yc")
    page = await browser.get("/own/keys")
    fields = {"kind": "channel", "overlap": "86400", "once": page.field("once")}
    assert (await browser.post("/own/keys", fields)).status == 400  # without a reason
    made = await browser.post("/own/keys", {**fields, "reason": "it is old"})
    secret = re.search(r'class="secret">.*?data-copy="([^"]+)"', made.text, re.DOTALL)
    assert secret is not None, made.text
    again = await browser.post("/own/keys", {**fields, "reason": "it is old"})
    assert again.status == 303
    page = await browser.get("/own/keys")
    assert secret[1] not in page.text
    assert ("own-yc", "it is old") in await keys_of(desk, token, OTHER), "what it did itself"
    assert "Replaced, still good" in page.text
    row = "SELECT caller_ref FROM audit_log WHERE action LIKE '%RotateCredential' ORDER BY id DESC LIMIT 1"
    number = "SELECT operator_id::text FROM operator WHERE name = 'own-yc'"
    assert await desk.partner.sql("order", row) == await desk.partner.sql("identity", number)
    await desk.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour' WHERE operator = 'own-yc'"
    )
    assert (await browser.post("/own/keys", fields)).location.startswith("/prove?")


async def test_a_partner_s_session_ends_idle_and_its_forms_are_its_own(desk: Desk) -> None:
    browser = await partner(desk)
    await browser.get("/own/orders")
    elsewhere = await browser.post("/own/order/resend", {"csrf": "other", "no": "desk-0"})
    assert elsewhere.status == 403
    await desk.sql(
        "UPDATE console_session SET use_time = now() - interval '1 hour' WHERE operator = 'own-test'"
    )
    assert (await browser.get("/own/orders")).location.startswith("/login")
