"""Promises about number segments: each number finds its own, a file is taken whole or not at all."""

from __future__ import annotations

import asyncio
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan_kit.db.text_statements import watched
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import pricing, segment_commands
from shoudan_order.catalogue import segment_admin, segments
from shoudan_order.store import segments as store
from tests.order.harness import YUAN, OrderHarness, down_product
from tests.order.test_binding import ACCOUNTS, down, market, new

HEADER = "segment,carrier_no,province_no"
NUMBER = "13800138000"
AREAS = [("ZSH", "GD"), ("ZSH", "CQ"), ("CMCC", "GD")]
Row = tuple[str, int, tuple[str, str]]


def file(*rows: str, header: str = HEADER) -> bytes:
    return zlib.compress("\r\n".join([header, *rows]).encode())


def read(*rows: str, header: str = HEADER) -> tuple[segments.Segments, list[tuple[int, str]]]:
    made, problems = segments.read(file(*rows, header=header))
    assert problems.count == len(problems.words)
    return made, problems.words


def csv_of(rows: list[Row]) -> bytes:
    texts = [f"{begin},{carrier},{province},{size}" for begin, size, (carrier, province) in rows]
    return file(*texts, header=f"{HEADER},digits")


def holds(row: Row, number: str) -> bool:
    """Whether a number lies in a row, looked at the slow way."""
    return len(number) == row[1] and number.startswith(row[0])


def meet(one: Row, other: Row) -> bool:
    same = one[0].startswith(other[0]) or other[0].startswith(one[0])
    return one[1] == other[1] and same


@st.composite
def row(draw: st.DrawFn) -> Row:
    size = draw(st.sampled_from([3, 4, 11, 18]))
    begin = draw(st.text("019", min_size=1, max_size=min(size, 5)))
    return begin, size, draw(st.sampled_from(AREAS))


@given(st.lists(row(), max_size=40), st.lists(st.text("0159", min_size=1, max_size=19)))
def test_every_number_finds_the_segment_it_lies_in(drawn: list[Row], others: list[str]) -> None:
    rows: list[Row] = []
    for one in drawn:
        if not any(meet(one, there) for there in rows):
            rows.append(one)
    made, problems = segments.read(csv_of(rows))
    assert (problems.count, made.rows) == (0, len(rows))
    again = segments.unpacked(7, segments.packed(made))
    assert again.version == 7
    asked = set(others)
    for begin, size, _ in rows:
        first = int(begin.ljust(size, "0"))
        last = int(begin.ljust(size, "9"))
        asked |= {str(n).zfill(size) for n in (first - 1, first, last, last + 1) if n >= 0}
    for number in asked:
        (wanted,) = [one[2] for one in rows if holds(one, number)] or [None]
        found = again.find(number)
        assert (found and (found.carrier_no, found.province_no)) == wanted, number
        for carrier_no in ("ZSH", "CMCC"):
            province = wanted[1] if wanted is not None and wanted[0] == carrier_no else ""
            assert again.filled(number, carrier_no, "") == (carrier_no, province)
        assert again.filled(number, "", "") == (wanted or ("", ""))
        assert again.filled(number, "", "BJ") == ((wanted or ("", ""))[0], "BJ")
    assert sum(area.numbers for area in again.areas) == sum(
        10 ** (size - len(begin)) for begin, size, _ in rows
    )


@given(st.lists(row(), max_size=12))
def test_segments_that_have_a_number_in_common_are_refused(rows: list[Row]) -> None:
    _, problems = segments.read(csv_of(rows))
    met = [
        later
        for later in range(len(rows))
        if any(meet(rows[earlier], rows[later]) for earlier in range(later))
    ]
    assert [at for at, _ in problems.words] == [at + 2 for at in met]
    for at, why in problems.words:
        earlier = int(why.removeprefix("has numbers of row "))
        assert meet(rows[earlier - 2], rows[at - 2]), (earlier, at)
        assert earlier < at


def test_ranges_that_go_on_in_the_same_area_are_one() -> None:
    made, _ = read("1380014,CMCC,GD", "1380013,CMCC,GD", "1380015,CMCC,CQ", "1380017,CMCC,CQ")
    assert (made.rows, len(made.firsts)) == (4, 3)


def test_every_error_is_named_with_its_row() -> None:
    _, problems = read(
        "1380013,CMCC,GD",
        "1380013,CMCC,CQ",
        "138001,CMCC,CQ",
        "13x,CMCC,GD",
        "١٣٨,CMCC,GD",
        ",CMCC,GD",
        "1390000,,GD",
        "1390001,CMCC,*",
        "1390002,CMCC,123456789",
        "138001380001,CMCC,GD",
        "1390003,CMCC",
        "1390004,CMCC,GD",
    )
    assert [at for at, _ in problems] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert problems[0] == (3, "has numbers of row 2")
    assert problems[-2] == (11, "segment: 1 to 11 digits")


@pytest.mark.parametrize(
    ("given_file", "row_no", "words"),
    [
        (b"segment", 1, "not compressed"),
        (file("1380013,CMCC,GD")[:-6], 1, "cut off"),
        (zlib.compress(b""), 1, "empty"),
        (zlib.compress(b"a,b,c\n1,2,3"), 1, "header"),
        (zlib.compress(b'"a"b'), 1, "no CSV"),
        (zlib.compress(HEADER.encode() + b"\n1,CMCC,\xff\n"), 2, "UTF-8"),
        (zlib.compress(HEADER.encode() + b'\n1,CMCC,GD\n2,"CM"CC,GD\n'), 3, "no CSV"),
        (zlib.compress(HEADER.encode() + b",digits\n1,CMCC,GD,19\n"), 2, "digits"),
        (zlib.compress(HEADER.encode() + b",digits\n1,CMCC,GD,0\n"), 2, "digits"),
    ],
)
def test_a_file_that_is_none_is_refused(given_file: bytes, row_no: int, words: str) -> None:
    _, problems = segments.read(given_file)
    ((at, why),) = problems.words
    assert at == row_no
    assert words in why


def test_a_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "ROWS_MAX", 3)
    monkeypatch.setattr(segments, "AREAS_MAX", 2)
    rows = [f"138001{n},CMCC,P{n % 2}" for n in range(3)]
    assert read(*rows)[1] == []
    assert read(*rows, "1380019,CMCC,P0")[1] == [(5, "more than 3 segments")]
    assert read(*rows[:2], "1390000,CMCC,P9")[1] == [
        (4, "more than 2 pairs of carrier and province")
    ]
    monkeypatch.setattr(segments, "PLAIN_BYTES_MAX", 20)
    assert "larger than 20 bytes" in read(*rows)[1][0][1]
    monkeypatch.undo()
    _, problems = segments.read(file(*(["13x,CMCC,GD"] * 1_500)))
    assert (problems.count, len(problems.words)) == (1_500, segments.PROBLEMS_MAX)


def test_a_file_in_pieces_is_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{1_380_000 + n * 7 % 100},CMCC,P{n}" for n in range(100)]
    whole = read(*rows)[0]
    monkeypatch.setattr(segments, "PIECE", 7)
    made = read(*rows)[0]
    assert segments.packed(made) == segments.packed(whole)
    assert len(made.firsts) == 100


def test_a_million_segments_take_few_bytes() -> None:
    made, _ = read(*(f"{1_300_000 + n},CMCC,P{n % 31}" for n in range(20_000)))
    held = sum(sys.getsizeof(one) for one in (made.firsts, made.lasts, made.which))
    assert held < 25 * 20_000


async def take(harness: OrderHarness, *rows: str) -> Any:
    request = pb.ImportSegmentsRequest(file=file(*rows), by="tester", reason="new numbers")
    return await harness.catalogue.ImportSegments(request)


async def province(harness: OrderHarness, **changes: Any) -> str:
    """The province of a new order, whose check was valid."""
    asked = harness.new(**{"recharge_account": NUMBER, **changes})
    answer = await harness.orders.CheckOrders(order_pb.CheckOrdersRequest(orders=[asked]))
    assert not answer.results[0].check.HasField("cause"), answer
    (made,) = await harness.create(asked)
    query = "SELECT province_no FROM oms_order_info WHERE order_id = :no"
    ((found,),) = await harness.sql(query, no=made.order.order_id)
    return found


async def test_an_order_without_a_province_gets_that_of_its_number(harness: OrderHarness) -> None:
    assert await province(harness) == "*"
    made = await take(harness, "1380013,ZSH,GD", "1390000,CMCC,CQ")
    assert (made.version, made.rows, made.problem_count) == (1, 2, 0)
    assert await province(harness) == "GD"
    assert await province(harness, recharge_account="+86 138 0013 8000") == "GD"
    assert await province(harness, province_no="CQ") == "CQ"
    assert await province(harness, province_no="*") == "*"
    assert await province(harness, recharge_account="1380013800") == "*"
    assert await province(harness, recharge_account="") == "*"
    # The order says another carrier than the table does.
    assert await province(harness, recharge_account="13900001234") == "*"
    await take(harness)
    assert await province(harness) == "*"


async def test_an_order_without_a_carrier_gets_that_of_its_number(harness: OrderHarness) -> None:
    wanted = harness.new(recharge_account=NUMBER, carrier_no="")
    ask = order_pb.CheckOrdersRequest(orders=[wanted])
    await take(harness, "1390000,ZSH,GD")
    for one in (wanted, harness.new(recharge_account="", carrier_no="")):
        (made,) = await harness.create(one)
        assert made.refusal.reason == "ERROR_REASON_FIELD_INVALID"
        assert made.refusal.metadata["field"] == "carrier_no"
    assert (await harness.orders.CheckOrders(ask)).results[0].check.cause == made.refusal
    await take(harness, "1380013,ZSH,GD")
    assert not (await harness.orders.CheckOrders(ask)).results[0].check.HasField("cause")
    (made,) = await harness.create(wanted)
    assert await harness.sql(
        "SELECT carrier_no, province_no FROM oms_order_info WHERE order_id = :no",
        no=made.order.order_id,
    ) == [("ZSH", "GD")]
    # A repeat is the stored order whatever the table says by then; other content is another request.
    await take(harness)
    (again,) = await harness.create(wanted)
    assert again.order.order_id == made.order.order_id
    wanted.carrier_no = "ZSH"
    (other,) = await harness.create(wanted)
    assert other.refusal.reason == "ERROR_REASON_REQUEST_DIFFERS"


async def test_a_product_of_one_province_is_sold_without_naming_it(harness: OrderHarness) -> None:
    await harness.apply(down_products=[down_product(province_no="GD")])
    wanted = harness.new(recharge_account=NUMBER)
    ask = order_pb.CheckOrdersRequest(orders=[wanted])
    for done in (False, True):
        check = (await harness.orders.CheckOrders(ask)).results[0].check
        (made,) = await harness.create(wanted)
        assert check.HasField("cause") == made.HasField("refusal") == (not done)
        await take(harness, "138,ZSH,GD")


async def test_a_repeat_is_the_same_order_whatever_the_table_says_now(
    harness: OrderHarness,
) -> None:
    await take(harness, "1380013,ZSH,GD")
    wanted = harness.new(recharge_account=NUMBER)
    (first,) = await harness.create(wanted)
    await take(harness, "1380013,ZSH,CQ")
    (again,) = await harness.create(wanted)
    assert (again.order.order_id, again.existed) == (first.order.order_id, True)


async def test_a_file_with_an_error_changes_nothing(harness: OrderHarness) -> None:
    await take(harness, "1380013,ZSH,GD")
    made = await take(harness, "1380013,ZSH,CQ", "1380013,ZSH,CQ", "1,ZSH,")
    assert [(one.row, one.why) for one in made.problems] == [
        (3, "has numbers of row 2"),
        (4, "province_no: 1 to 8 printable characters in UTF-8, not *"),
    ]
    assert (made.version, made.rows, made.problem_count) == (1, 0, 2)
    assert await province(harness) == "GD"


async def test_imports_are_versions_with_a_name_and_the_same_again_is_none(
    harness: OrderHarness,
) -> None:
    for area, version in (("GD", 1), ("CQ", 2), ("CQ", 2)):
        assert (await take(harness, f"1380013,ZSH,{area}")).version == version
    now = await harness.catalogue.GetSegments(pb.GetSegmentsRequest())
    assert (now.version, now.rows, now.made_by) == (2, 1, "tester")
    assert [(a.carrier_no, a.province_no, a.numbers) for a in now.areas] == [("ZSH", "CQ", 10_000)]
    noted = await harness.sql(
        "SELECT operator, version, detail FROM oms_operation"
        " WHERE operation = 'segments.import' ORDER BY operation_id"
    )
    assert [(operator, version) for operator, version, _ in noted] == [("tester", 1), ("tester", 2)]
    assert noted[1][2]["reason"] == "new numbers"


async def test_a_table_that_another_process_imported_is_followed(harness: OrderHarness) -> None:
    made, _ = read("1380013,ZSH,GD")
    async with harness.process.app.db.begin() as db:
        await store.exchange(db, segments.packed(made), "other")
    assert await province(harness) == "*"
    await segment_admin.refresh(harness.context)
    assert await province(harness) == "GD"


async def test_racing_imports_end_with_one_whole_table(harness: OrderHarness) -> None:
    files = [[f"138001{n},ZSH,P{at}" for n in range(5)] for at in range(8)]
    done = await asyncio.gather(*(take(harness, *rows) for rows in files))
    assert all(not one.problem_count for one in done)
    now = await harness.catalogue.GetSegments(pb.GetSegmentsRequest())
    assert (now.version, len(now.areas), now.rows) == (8, 1, 5)


async def test_an_order_makes_no_statement_for_its_segment(harness: OrderHarness) -> None:
    await take(harness, "1380013,ZSH,GD")
    seen: list[str] = []
    with watched(seen.append):
        assert await province(harness) == "GD"
    # Background loops aside, which look at its version.
    assert not any("oms_segment" in one and "content" in one for one in seen)
    assert any("INTO oms_order" in one for one in seen)


@pytest.mark.parametrize(
    "changes", [{"file": b""}, {"by": ""}, {"reason": ""}, {"reason": "x" * 257}]
)
async def test_an_import_needs_a_file_a_name_and_a_reason(
    harness: OrderHarness, changes: dict[str, Any]
) -> None:
    facts: dict[str, Any] = {"file": file(), "by": "tester", "reason": "why"}
    with pytest.raises(grpc.RpcError) as refused:
        await harness.catalogue.ImportSegments(pb.ImportSegmentsRequest(**(facts | changes)))
    found = refused_from_rpc(refused.value)
    assert found is not None
    assert found.metadata["field"] == next(iter(changes))


async def test_the_commands_import_list_and_find(harness: OrderHarness, tmp_path: Path) -> None:
    at = ("--target", f"127.0.0.1:{harness.process.port}")
    table = tmp_path / "segments.csv"

    async def run(*argv: str, code: int = 0) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, segment_commands.app, [*argv, *at])
        assert done.exit_code == code, done.output
        return done.output

    assert "nothing was imported" in await run("ls")
    bring = ("import", str(table), "--reason", "new numbers")
    await run(*bring, code=2)
    table.write_text(f"{HEADER}\n1380013,CMCC,GD\n1380013,CMCC,CQ\n", encoding="utf-8")
    said = await run(*bring, code=1)
    assert "row 3: has numbers of row 2" in said
    assert "nothing was taken" in said
    table.write_text(f"{HEADER}\n1380013,CMCC,GD\n", encoding="utf-8-sig")
    assert "version 1: 1 segments" in await run(*bring)
    assert "10000" in await run("ls")
    assert "carrier CMCC, province GD" in await run("find", NUMBER)
    await run("find", "13900001234", code=1)


async def test_reading_a_file_leaves_other_work_its_turn(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import waits in a thread of its own: orders are answered meanwhile."""
    hold, begun = threading.Event(), threading.Event()
    plain_read = segments.read

    def slow(given_file: bytes) -> Any:
        begun.set()
        hold.wait(30)
        return plain_read(given_file)

    monkeypatch.setattr(segment_admin, "read", slow)
    task = asyncio.create_task(take(harness, "1380013,ZSH,GD"))
    assert await asyncio.to_thread(begun.wait, 30)
    assert await province(harness) == "*"
    hold.set()
    assert (await task).version == 1


def test_the_price_of_an_order_is_checked_against_its_province() -> None:
    """A province found is as good as one that was sent: the more exact product decides."""
    made, _ = read("1380013,ZSH,GD")
    cheap = down(301, province_no="GD", sell_discount_ppm=950_000)
    catalogue = market([down(), cheap], [])
    asked = new(rechage_account=NUMBER)
    sent = new(rechage_account=NUMBER, province_no="GD")
    found = pricing.draft(catalogue, asked, 1, ACCOUNTS, made)
    assert (found.down_product_id, found.province_no) == (301, "GD")
    assert found.sell_amount_micros == 190 * YUAN
    assert pricing.draft(catalogue, sent, 1, ACCOUNTS).down_product_id == 301
    assert pricing.draft(catalogue, asked, 1, ACCOUNTS).down_product_id == 300
