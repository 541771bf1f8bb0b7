"""Promises of the finance pages: days with their proof, bills as files, differences decided."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from datetime import timedelta
from typing import Any

import openpyxl
import pytest

from tests.console.books import DAY, DIFFERS, FINANCE_DAY, HEAD, SOURCE, STATUS, Books, made
from tests.console.harness import Answer, Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

PAGES = (
    "/finance/days",
    "/finance/bills",
    "/finance/statements",
    "/finance/runs",
    "/finance/exceptions",
    "/finance/disputes",
    "/finance/periods",
)


@pytest.fixture(scope="session")
async def books(desk: Desk) -> Books:
    return await made(desk)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Proved", "Differs", "Shortage", "In force")),
        ("zh", ("已证明", "不符", "短款", "有效")),
    ],
)
async def test_every_page_shows_what_is_there_in_both_languages(
    books: Books, language: str, words: tuple[str, ...]
) -> None:
    browser = await books.desk.logged_in(f"finance-{language}", "finance-maker", language=language)
    days = await browser.get("/finance/days")
    assert f'data-href="/finance/days/{DAY}"' in days.text
    assert days.text.count('class="state good" title=') >= 1  # the calendar
    assert words[0] in days.text
    assert words[1] in days.text
    day = await browser.get(f"/finance/days/{DAY}")
    assert "01" * 32 in day.text
    assert "the bookshop" in day.text
    assert "¥303.00" in day.text
    assert "2 records, not 3" in (await browser.get(f"/finance/days/{DIFFERS}")).text
    statements = await browser.get(f"/finance/statements?source={SOURCE}")
    assert "books.csv" in statements.text
    assert words[3] in statements.text
    exceptions = await browser.get(f"/finance/exceptions?source={SOURCE}&state=open")
    assert re.findall(r'data-href="/finance/exceptions/(\d+)"', exceptions.text)
    one = await browser.get(f"/finance/exceptions/{books.exceptions[0]}")
    assert words[2] in one.text
    assert "-¥198.00" in one.text
    assert (await browser.get("/finance/days/yesterday")).status == 404
    assert (await browser.get("/finance/days/1999-01-01")).status == 404
    assert (await browser.get("/finance/exceptions/1")).status == 404


@pytest.mark.parametrize("path", PAGES)
async def test_an_export_is_the_list(books: Books, path: str) -> None:
    browser = await books.desk.logged_in("finance-exports", "finance-maker")
    query = f"?source={SOURCE}" if "statements" in path or "exceptions" in path else ""
    shown = await browser.get(path + query)
    answer = await browser.get(f"{path}.csv{query}")
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))[1:]
    firsts = re.findall(
        r'<tr(?: data-href="[^"]*")?>(?:<td class="tick">.*?</td>)?<td class="k-code">'
        r'.*?data-copy="([^"]+)"',
        shown.text,
    )
    assert [row[0] for row in rows] == firsts
    assert rows or path.rpartition("/")[2] in {"bills", "disputes", "periods"}


async def test_a_bill_is_made_once_downloaded_whole_and_counted_again(books: Books) -> None:
    browser = await books.desk.logged_in("bills", "finance-maker")
    await browser.get("/finance/new-bill")
    fields = {"kind": "trade", "eid": "test", "first": DAY.isoformat(), "format": "csv"}
    wrong = await browser.post("/finance/new-bill", {**fields, "first": "soon"})
    assert wrong.status == 400
    assert 'value="test"' in wrong.text  # what was typed is still there
    first = await browser.post("/finance/new-bill", fields)
    assert first.status == 303, first.text
    assert (await browser.post("/finance/new-bill", fields)).location == first.location

    async def published() -> bool:
        return (
            "Published" in (await browser.get(first.location)).text
            and (await browser.get(first.location + "/file")).status == 200
        )

    await eventually(published, 30, every_s=0.3)
    page = await browser.get(first.location)
    file = await browser.get(first.location + "/file")
    assert "attachment" in file.headers["content-disposition"]
    assert hashlib.sha256(file.text.encode()).hexdigest() in page.text
    again = await browser.post(first.location)
    assert again.location.endswith("same=yes")
    assert "every byte is the same" in (await browser.get(again.location)).text


async def test_a_difference_is_taken_noted_and_decided_once(books: Books) -> None:
    browser = await books.desk.logged_in("decides-books", "finance-maker")
    number = books.exceptions[0]
    path = f"/finance/exceptions/{number}"
    page = await browser.get(path)
    assert (await browser.post(path, {"do": "take"})).status == 303
    assert (await browser.post(path, {"do": "comment", "text": "<b>seen</b>"})).status == 303
    assert "&lt;b&gt;seen&lt;/b&gt;" in (await browser.get(path)).text
    assert await books.sql("SELECT assignee FROM exception WHERE exception_id = $1", number) == (
        "decides-books"
    )
    fields = {"do": "decide", "decision": "2", "remark": "too small", "once": page.field("once")}
    assert (await browser.post(path, {**fields, "decision": "9"})).status == 400
    answers = [await browser.post(path, fields) for _ in range(2)]
    assert [one.status for one in answers] == [303, 303]
    other = await browser.post(path, {**fields, "decision": "1"})
    assert (other.status, "DECIDED" in other.text) == (400, True)

    async def settled() -> bool:
        return await books.sql(STATUS, number) == 50

    await eventually(settled, 30, every_s=0.2)
    query = "SELECT count(*) FROM account_record WHERE trade_no = $1"
    assert await books.desk.partner.sql("pay", query, f"EX{number}") == 1
    assert "Settled" in (await browser.get(path)).text


async def test_a_decision_is_looked_at_before_it_is_made(books: Books) -> None:
    browser = await books.desk.logged_in("looks-books", "finance-maker")
    path = f"/finance/exceptions/{books.exceptions[1]}"
    page = await browser.get(path)
    fields = {"decision": "3", "remark": "as agreed <5%>", "once": page.field("once")}
    look = await browser.post(path, {"do": "look", **fields})
    assert look.status == 200
    assert "What would be booked" in look.text
    assert "to the supplier's own account" in look.text
    assert "-¥198.00" in look.text
    assert f"EX{books.exceptions[1]}" in look.text
    assert (look.field("remark"), look.field("once")) == ("as agreed <5%>", fields["once"])
    assert await books.sql(STATUS, books.exceptions[1]) == 10  # a look changes nothing


async def test_several_are_ticked_looked_at_and_decided_as_one(books: Books) -> None:
    browser = await books.desk.logged_in("several-books", "finance-maker")
    gone, first, second = books.exceptions[5:8]
    page = await browser.get(f"/finance/exceptions?source={SOURCE}")
    for number in (gone, first, second):
        assert f'form="together" name="item" value="{number}"' in page.text
    # A refund has a reason of its own, and is decided alone.
    assert re.findall(r'<option value="(\d)">', page.text) == ["1", "2", "3"]
    path = "/finance/decide-several"
    alone = {"decision": "2", "remark": "gone", "item": str(gone)}
    assert (await browser.post(path, alone)).status == 303
    ticked = "&".join(f"item={one}" for one in (first, gone, second, 1))
    unsaid = await browser.get(f"{path}?{ticked}&decision=2")
    assert "choose a decision and say why" in unsaid.text
    assert (await browser.get(f"{path}?item=all&decision=2&remark=x")).status == 404
    assert f"EX{first}" not in (await browser.get(f"{path}?{ticked}&decision=4&remark=x")).text
    look = await browser.get(f"{path}?{ticked}&decision=2&remark=small+%3Cchange%3E")
    assert look.status == 200
    for number in (first, second):
        assert f"EX{number}" in look.text
    left_out, booked = look.text.split("What would be booked", 1)
    assert "It is decided by now" in left_out
    assert "There is no such difference" in left_out
    assert f"EX{gone}" not in booked
    assert f"oms/write_off/{SOURCE}" in booked
    assert "-¥396.00" in booked  # in sum
    assert "small &lt;change&gt;" in booked
    assert await books.sql(STATUS, first) == 10  # a look changes nothing
    assert re.findall(r'name="item" value="(\d+)"', booked) == [str(first), str(second)]
    await books.desk.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour'"
        " WHERE operator = 'several-books'"
    )
    # Password and code lead back to the same look.
    unproved = await browser.get(f"{path}?{ticked}&decision=2&remark=small")
    (where,) = re.findall(r'href="(/prove\?next=[^"]+)"', unproved.text)
    assert "decision%3D2" in where
    assert 'name="once"' not in unproved.text
    assert (await browser.post(path, alone)).location.startswith("/prove?")
    await books.desk.sql(
        "UPDATE console_session SET prove_time = now() WHERE operator = 'several-books'"
    )
    fields = [("csrf", browser.csrf), ("decision", "2"), ("remark", "small"), ("once", "0123")]
    both = [*fields, ("item", str(first)), ("item", str(second))]
    late = await browser._ask("POST", path, data=[*both, ("item", "1")])
    assert (late.status, "nothing was decided" in late.text) == (400, True)
    assert await books.sql(STATUS, first) == 10
    answers = [await browser._ask("POST", path, data=both) for _ in range(2)]
    assert [(one.status, "done=decided" in one.location) for one in answers] == [(303, True)] * 2

    async def settled() -> bool:
        return [await books.sql(STATUS, one) for one in (first, second)] == [50, 50]

    await eventually(settled, 30, every_s=0.2)
    query = "SELECT count(*) FROM account_record WHERE trade_no = ANY($1::text[])"
    count = await books.desk.partner.sql("pay", query, [f"EX{first}", f"EX{second}"])
    assert count == 2
    other = await books.desk.logged_in("sees-several", "viewer")
    assert 'name="item"' not in (await other.get("/finance/exceptions")).text
    assert "NOT_ALLOWED" in (await other.get(f"{path}?{ticked}&decision=2&remark=x")).text


async def test_a_supplier_is_asked_and_its_dispute_answered_with_a_file(books: Books) -> None:
    browser = await books.desk.logged_in("asks-books", "finance-maker")
    number = books.exceptions[3]
    path = f"/finance/exceptions/{number}"
    page = await browser.get(path)
    assert "was not asked yet" in page.text
    assert "The other book has nothing of it" in page.text
    assert (await browser.post(path, {"do": "ask", "text": " "})).status == 400
    assert (await browser.post(path, {"do": "ask", "text": "which order?"})).status == 303
    assert "which order?" in (await browser.get(path)).text
    # It is about no delivery of ours: the service says so, and the page shows it.
    refused = await browser.post(path, {"do": "resend"})
    assert (refused.status, "FIELD_INVALID" in refused.text) == (400, True)
    mail = b"their mail"
    assert (
        await browser.send(path, {"do": "comment", "text": "see"}, "a/mail.txt", mail)
    ).status == 303
    noted = await browser.get(path)
    assert "mail.txt" in noted.text
    assert "a/mail.txt" not in noted.text
    assert (
        await browser.post(path, {"do": "dispute", "letter": "!", "deadline": "soon"})
    ).status == 400
    letter = {"do": "dispute", "letter": "We know no such <delivery>.", "deadline": "2026-01-05"}
    answers = [await browser.post(path, letter) for _ in range(2)]
    assert [one.status for one in answers] == [303, 303]  # it is one dispute
    assert "Disputed" in (await browser.get(path)).text
    disputes = await browser.get("/finance/disputes")
    (where,) = set(re.findall(r'data-href="(/finance/disputes/\d+)"', disputes.text))
    assert "Overdue" in disputes.text
    assert "We know no such &lt;delivery&gt;." in (await browser.get(where)).text
    assert (await browser.post(where, {"answer": ""})).status == 400
    fields = {"answer": "it will be returned"}
    assert (await browser.send(where, fields, "answer.pdf", b"%PDF")).status == 303
    answered = await browser.get(where)
    assert "it will be returned" in answered.text
    assert hashlib.sha256(b"%PDF").hexdigest() in answered.text
    assert await books.sql(STATUS, number) == 10
    assert f'href="/finance/exceptions/{number}"' in answered.text
    assert f'data-href="{where}"' in (await browser.get(path)).text
    listed = await browser.get(f"/finance/exceptions?dispute={where.rpartition('/')[2]}")
    assert set(re.findall(r'data-href="/finance/exceptions/(\d+)"', listed.text)) == {str(number)}
    odd = await browser.get("/finance/exceptions?dispute=the-last")
    assert (odd.status, "Not a number" in odd.text) == (400, True)
    assert (await browser.get("/finance/disputes/1")).status == 404


async def test_a_statement_is_read_then_imported_once(books: Books) -> None:
    browser = await books.desk.logged_in("sends-books", "finance-maker")
    page = await browser.get("/finance/import")
    assert "plain-csv" in page.text
    fields = {"do": "read", "template": "plain-csv", "source": "stall"}
    rows = [f",C{one},,,,{one + 1}.00,{DAY} 12:00:00,发货,成功" for one in range(2)]

    def file(*lines: str) -> bytes:
        return "\r\n".join([HEAD, *lines, ""]).encode("utf-8-sig")

    wrong = file(rows[0], rows[1].replace("2.00", "1e3"), "合计,2,3.00")
    read = await browser.send("/finance/import", fields, "stall.csv", wrong)
    assert (read.status, "Mistakes: 3." in read.text) == (200, True)
    assert "is no amount in yuan" in read.text
    assert "AMOUNT_NOT_YUAN" in read.text
    await browser.speak("zh")
    chinese = await browser.send("/finance/import", fields, "stall.csv", wrong)
    assert "“1e3”不是以元为单位的金额" in chinese.text
    assert "is no amount" not in chinese.text
    await browser.speak("en")
    assert "Import these rows" not in read.text
    assert (await browser.send("/finance/import", fields, "none.csv", b"")).status == 400
    odd = {**fields, "supersedes": "the last one"}
    assert (await browser.send("/finance/import", odd, "stall.csv", wrong)).status == 400
    good = file(*rows, "合计,2,3.00")
    read = await browser.send("/finance/import", fields, "stall.csv", good)
    assert "¥3.00" in read.text
    names = ("sha256", "parts", "file_name", "template", "source", "supersedes", "reason")
    again = {"do": "import", **{name: read.field(name) for name in names}}
    assert again["file_name"] == "stall.csv"
    count = "SELECT count(*) FROM statement WHERE source = 'stall'"
    assert await books.sql(count) == 0  # what was read is not imported
    first, second = [await browser.post("/finance/import", again) for _ in range(2)]
    assert "before=yes" in second.location
    done = await browser.get(first.location)
    assert "A reconciliation run follows" in done.text
    assert await books.sql(count) == 1
    third = await browser.send("/finance/import", fields, "renamed.csv", good)
    assert "nothing was imported twice" in (await browser.get(third.location)).text
    forged = {**again, "sha256": "00" * 32}
    assert (await browser.post("/finance/import", forged)).status == 400


async def test_a_workbook_is_read_looked_at_and_decided_as_one(books: Books) -> None:
    browser = await books.desk.logged_in("fills-books", "finance-maker")
    assert (
        "sheets/exceptions.xlsx" in (await browser.get(f"/finance/exceptions?source={SOURCE}")).text
    )
    data = await browser.data(f"/finance/sheets/exceptions.xlsx?source={SOURCE}")
    book: Any = openpyxl.load_workbook(io.BytesIO(data))
    (row,) = [one for one in book.active.iter_rows() if one[0].value == str(books.exceptions[4])]
    row[10].value, row[11].value = "核销", "<month end>"
    await browser.get("/finance/decide")

    async def read() -> Answer:
        made = io.BytesIO()
        book.save(made)
        return await browser.send("/finance/decide", {"do": "read"}, "filled.xlsx", made.getvalue())

    shown = await read()
    assert "&lt;month end&gt;" in shown.text
    assert "Write it off" in shown.text
    assert "-¥198.00" in shown.text
    assert await books.sql(STATUS, books.exceptions[4]) == 10
    names = ("sha256", "parts", "file_name", "once")
    again = {"do": "decide", "reason": "month end", **{name: shown.field(name) for name in names}}
    assert (await browser.post("/finance/decide", {**again, "reason": ""})).status == 400
    assert (await browser.post("/finance/decide", {**again, "sha256": "no"})).status == 400
    first, second = [await browser.post("/finance/decide", again) for _ in range(2)]
    assert (first.status, second.status) == (303, 200)
    assert "is decided by now" in second.text
    assert "Yes, decide" not in second.text
    row[10].value = "hope"
    mistaken = await read()
    assert "Mistakes: 1." in mistaken.text
    assert "DECISION_UNKNOWN" in mistaken.text
    assert (await browser.send("/finance/decide", {"do": "read"}, "no.xlsx", b"")).status == 400
    assert (await browser.get("/finance/sheets/others.xlsx")).status == 404


async def test_a_file_is_taken_by_its_own_page_with_its_token_alone(books: Books) -> None:
    browser = await books.desk.logged_in("large-books", "finance-maker")
    await browser.get("/finance/import")
    assert (await browser.send("/finance/new-bill", {}, "no.csv", b"x")).status == 403
    browser.csrf = "another"
    assert (await browser.send("/finance/import", {"do": "read"}, "no.csv", b"x")).status == 403


async def test_a_period_is_closed_once_and_opened_again(books: Books) -> None:
    desk, day = books.desk, DAY - timedelta(days=1)
    await desk.partner.sql("finance", FINANCE_DAY, day, 20, b"\x02" * 32, "")
    maker = await desk.logged_in("opens-books", "finance-maker")
    assert 'name="what"' not in (await maker.get("/finance/periods")).text
    assert (await maker.post("/finance/periods", {"day": str(day)})).status == 403
    checker = await desk.logged_in("closes-books", "finance-checker")
    assert 'name="what"' in (await checker.get("/finance/periods")).text
    assert (await checker.post("/finance/periods", {"day": "yesterday"})).status == 400
    waits = await checker.post("/finance/periods", {"day": str(DAY), "what": "day"})
    assert (waits.status, "EXCEPTIONS_OPEN" in waits.text) == (400, True)
    assert "/finance/exceptions?state=open" in waits.text
    for _ in range(2):
        closed = await checker.post("/finance/periods", {"day": str(day), "what": "day"})
        assert closed.status == 303
    assert f"/finance/periods/{day}/{day}" in (await checker.get("/finance/periods")).text
    path = f"/finance/periods/{day}/{day}"
    assert 'name="reason"' not in (await checker.get(path)).text
    page = await maker.get(path)
    assert (await maker.post(path, {"reason": ""})).status == 400
    fields = {"reason": "one was late", "once": page.field("once")}
    answers = [await maker.post(path, fields) for _ in range(2)]
    assert [one.status for one in answers] == [303, 400]
    after = (await maker.get("/finance/periods")).text
    assert "one was late" in after
    assert f'data-href="{path}"' not in after
    assert (await maker.get("/finance/periods/then/now")).status == 404


async def test_a_decision_asks_again_who_one_is(books: Books) -> None:
    browser = await books.desk.logged_in("proves-books", "finance-maker")
    await books.desk.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour'"
        " WHERE operator = 'proves-books'"
    )
    path = f"/finance/exceptions/{books.exceptions[1]}"
    assert 'name="decision"' not in (await browser.get(path)).text
    fields = {"do": "decide", "decision": "2", "remark": "at once"}
    assert (await browser.post(path, fields)).location.startswith("/prove?")


@pytest.mark.parametrize(
    ("role", "decides", "takes"),
    [
        ("viewer", False, False),
        ("support", False, False),
        ("ops", False, True),
        ("finance-maker", True, True),
        ("finance-checker", False, True),
        ("admin", False, False),
    ],
)
async def test_a_role_has_the_buttons_it_may_use_and_the_service_refuses_the_rest(
    books: Books, role: str, decides: bool, takes: bool
) -> None:
    browser = await books.desk.logged_in(f"books-{role}", role)
    path = f"/finance/exceptions/{books.exceptions[2]}"
    page = await browser.get(path)
    assert ('name="decision"' in page.text) == decides
    assert ('value="take"' in page.text) == takes
    day = f"/finance/days/{DIFFERS}"
    assert ("Count it again" in (await browser.get(day)).text) == takes
    assert ("Make a bill" in (await browser.get("/finance/bills")).text) == takes
    if not decides:
        fields = {"do": "decide", "decision": "2", "remark": "no right to"}
        refused = await browser.post(path, fields)
        assert refused.status == 403
        assert "NOT_ALLOWED" in refused.text
    if not takes:
        for where, fields in (
            (path, {"do": "take"}),
            (day, {}),
            (
                "/finance/new-bill",
                {"kind": "trade", "eid": "test", "first": DAY.isoformat()},
            ),
        ):
            assert (await browser.post(where, fields)).status == 403


async def test_without_finance_its_lists_say_so(books: Books) -> None:
    browser = await books.desk.logged_in("waits-books", "viewer")
    books.desk.system.pause("finance")
    try:
        for path in PAGES:
            page = await browser.get(path)
            assert page.status == 200
            assert "finance does not answer" in page.text
        assert (await browser.get(f"/finance/days/{DAY}")).status == 503
        assert (await browser.get("/orders")).status == 200
    finally:
        books.desk.system.resume("finance")

    async def back() -> bool:
        return "does not answer" not in (await browser.get(PAGES[0])).text

    await eventually(back, 30, every_s=0.2)
