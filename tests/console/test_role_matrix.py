"""Who may do what: what a role may not do has no button on any page, and is refused when it is sent anyway.

Derived from the pages themselves: what somebody with every role is offered is what there is.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import shoudan_console
from shoudan_console import calls, finance_calls
from shoudan_console.backend import Rpc
from shoudan_console.pages import erp, operator_accounts, partner_accounts
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.rights import ROLES, changes, right_of
from tests.console.harness import Answer, Browser, Desk
from tests.console.visited import SHOWN, STAFF, Form, Places, forms_of, page_of

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

# What is a person's own: no role is needed, nobody else's things are touched.
PERSONAL = {"/preferences", "/logout", "/prove", "/enrol", "/login", "/me/end", "/me/password"}
DETAIL = re.compile(r"<code>(.*?)</code>|role=\"alert\">(.*?)</div>", re.DOTALL)
# Pages whose objects take days or a fault to come about.
ELSEWHERE = dict.fromkeys(
    (
        "/finance/bills/{bill_id}",
        "/finance/bills/{bill_id}/file",
        "/finance/exceptions/{exception_id}",
        "/finance/disputes/{dispute_id}",
        "/finance/periods/{first}/{last}",
    ),
    "tests/console/test_finance_pages.py",
)
EXCEPTION = "/finance/exceptions/1"
ACCOUNTS = "/partners/closed/accounts"


def form(action: str, **fields: str) -> Form:
    return Form(action, tuple(sorted(fields.items())))


# Forms that no page shows now, and what they are in the contract.
UNOFFERED: tuple[tuple[Form, Rpc], ...] = (
    (form("/notifies/resend", notify_id="1"), calls.RESEND_NOTIFIES),
    (form("/tasks/retry", service="order", task_id="1"), calls.retry_tasks("order")),
    (form("/erp/erase", do="erase", phone="13900000000", reason="x"), erp.ERASE),
    (form("/ledger/alerts/remove", ident="i", groups="g", eid="e", threshold="1"), calls.SET_ALERT),
    (form("/operators/admin/tokens", do="revoke", token="x"), operator_accounts.REVOKE_TOKEN),
    (form("/finance/bills/1"), finance_calls.VERIFY_BILL),
    (form(EXCEPTION, do="take"), finance_calls.ASSIGN_EXCEPTIONS),
    (form(EXCEPTION, do="comment", text="a word"), finance_calls.COMMENT_EXCEPTION),
    (form(EXCEPTION, do="ask", text="a word"), finance_calls.ASK_ABOUT_EXCEPTIONS),
    (form(EXCEPTION, do="resend", reason="a word"), finance_calls.RESEND_EXCEPTION_NOTIFIES),
    (form(EXCEPTION, do="decide", decision="1", remark="x"), finance_calls.DECIDE_EXCEPTIONS),
    (
        form("/finance/decide-several", item="1", decision="1", remark="x"),
        finance_calls.DECIDE_EXCEPTIONS,
    ),
    (form("/finance/disputes/1", answer="a word"), finance_calls.ANSWER_DISPUTE),
    (form("/finance/periods/2026-11-30/2026-11-30", reason="x"), finance_calls.REOPEN_PERIOD),
    (form(ACCOUNTS, do="enable", name="of-closed"), partner_accounts.ENABLE),
)
# Methods that a page calls only after others that were refused.
UNTRIED = {
    "shoudan.core.v1.CredentialService/RotateCredential": "ListCredentials is refused before",
    "shoudan.delivery.v1.SupplierService/ApplySuppliers": "ApplyCatalogue is refused before",
    "shoudan.finance.v1.ExceptionService/OpenDispute": "of a difference that there is",
    "shoudan.finance.v1.StatementService/ImportStatement": "StorePart is refused before",
    "shoudan.identity.v1.IdentityService/DisableOperator": "ListOperators is refused before",
    "shoudan.identity.v1.IdentityService/EnableOperator": "ListOperators is refused before",
    "shoudan.identity.v1.IdentityService/ResetOperator": "ListOperators is refused before",
}
# Buttons that some do not see and whose forms change nothing by themselves.
READING = {("/finance/decide", (("do", "read"),)): "the workbook is read, nothing is decided"}
REFUSED_METHOD = re.compile(r"method=/?([\w.]+/\w+)")


def rpcs() -> Iterator[Rpc]:
    """Every method that the console's modules name."""
    for found in pkgutil.walk_packages(shoudan_console.__path__, "shoudan_console."):
        if "migrations" in found.name or found.name.rpartition(".")[2].startswith("own"):
            continue  # what is a partner's own: tests/console/test_own_pages.py
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if isinstance(value, Rpc):
                yield value


def personal(path: str) -> bool:
    return path in PERSONAL or path.endswith("/views")


def offered(places: Places) -> dict[object, Form]:
    """What a person is offered on all pages, by what makes it the same for two persons."""
    found: dict[object, Form] = {}
    for pattern, html in places.html.items():
        for form in forms_of(places.found[pattern], html):
            page = page_of(form.action, acts=True)
            assert page is not None, f"{pattern} has a form for {form.action}, which is no page"
            if not personal(page.path):
                found.setdefault(form.key, form)
    return found


async def test_every_page_was_found_with_something_in_it(everything: Places) -> None:
    missing = {one.path for one in SHOWN} - everything.found.keys()
    assert missing <= ELSEWHERE.keys()


async def test_what_a_role_may_not_do_has_no_button_and_is_refused(
    desk: Desk, everything: Places
) -> None:
    """For every role and every button: shown, or absent and refused by the service."""
    whole = offered(everything)
    doing = [pattern for pattern in everything.html if offered(everything.only(pattern))]
    wrong: list[str] = []
    refused: set[str] = set()
    for role in ROLES:
        browser = await desk.logged_in(f"is-{role}", role)
        seen = Places(found=everything.found)
        for pattern in doing:
            answer = await browser.get(everything.found[pattern])
            if answer.status == 200:
                seen.html[pattern] = answer.text
        forms = [
            form for key, form in whole.items() if key not in offered(seen) and key not in READING
        ]
        forms += [form for form, rpc in UNOFFERED if not rpc.allows(frozenset({role}))]
        for form in forms:
            answer = await sent(browser, form)
            refused |= set(REFUSED_METHOD.findall(answer.text))
            if answer.status != 403 or "NOT_ALLOWED" not in answer.text:
                wrong.append(f"{role}: {form} gave {answer.status} {DETAIL.findall(answer.text)}")
    assert wrong == [], "\n".join(wrong)
    there = {page_of(form.action, acts=True) for form in whole.values()}
    tried = {page.path for one, _ in UNOFFERED if (page := page_of(one.action, acts=True))}
    acts = {one.path for one in STAFF if one.act and one not in there and not personal(one.path)}
    assert acts <= tried, "pages that do something which nothing here tries"
    # Every method of the contract that changes something and that a page calls was among them.
    named = {one.path for one in rpcs() if changes(one.method) and not open_to_all(one)}
    assert named - refused <= UNTRIED.keys()


async def sent(browser: Browser, form: Form) -> Answer:
    if form.file and "text" not in form.sent:
        return await browser.send(form.action, form.sent, "a.csv", b"a,b\n1,2\n")
    return await browser.post(form.action, form.sent)


def open_to_all(rpc: Rpc) -> bool:
    """Whether every operator may call it: then there is nothing to refuse."""
    service, _, method = rpc.path.partition("/")
    return all(right_of(service, method).allows(Caller("operator", roles={one})) for one in ROLES)
