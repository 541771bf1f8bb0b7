"""Promises of imports: a statement is here whole or not at all, once, and a corrected one takes its place."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from hypothesis import HealthCheck, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from typer.testing import CliRunner, Result

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan.finance.v1 import statement_service_pb2_grpc as stubs
from shoudan_finance import statement_commands
from shoudan_finance.store import statements
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.tasks import unit_of_work
from tests.finance.harness import AWAY, FinanceHarness, opened
from tests.finance.process import FinanceProcess
from tests.finance.test_day_books import refused
from tests.pay.ledger.harness import LedgerHarness

HEAD = "商户单号,平台单号,结算单号,充值账号,面值,金额,时间,类型,状态"
YUAN = 1_000_000


def file_of(*rows: tuple[str, int]) -> bytes:
    """A statement of deliveries: their number and fen."""
    lines = [
        f",{no},,,,{fen // 100}.{fen % 100:02d},2026-11-20 10:00:00,发货,成功" for no, fen in rows
    ]
    total = sum(fen for _, fen in rows)
    foot = f"合计,{len(rows)},{total // 100}.{total % 100:02d}"
    return "\n".join([HEAD, *lines, foot]).encode()


class Desk:
    """Finance at work: files are stored and imported."""

    def __init__(self, harness: FinanceHarness, channel: aio.Channel) -> None:
        self.harness, self.stub = harness, stubs.StatementServiceStub(channel)

    async def request(self, data: bytes, source: str, **more: Any) -> pb.ImportStatementRequest:
        sha256 = hashlib.sha256(data).digest()
        parts = [data[at : at + 2**20] for at in range(0, len(data), 2**20)]
        for part_no, part in enumerate(parts):
            given = pb.StorePartRequest(sha256=sha256, part_no=part_no, data=part)
            await self.stub.StorePart(given)
        given = {"template": "plain-csv", "file_name": "s.csv", **more}
        return pb.ImportStatementRequest(sha256=sha256, parts=len(parts), source=source, **given)

    async def import_(self, data: bytes, source: str, **more: Any) -> pb.ImportStatementResponse:
        return await self.stub.ImportStatement(await self.request(data, source, **more))

    async def entries(self, source: str) -> list[tuple[str, int, int]]:
        """Their number, amount and statement of each entry that counts."""
        rows = await self.harness.sql(
            "SELECT their_no, amount_micros, statement_id FROM entry"
            " WHERE source = $1 AND status <> 90 ORDER BY their_no, entry_id",
            source,
        )
        return [tuple(row) for row in rows]


@pytest.fixture
async def desk(harness: FinanceHarness) -> AsyncIterator[Desk]:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield Desk(harness, channel)


async def test_a_statement_is_imported_with_what_it_comes_to(desk: Desk) -> None:
    data = file_of(("a", 100), ("b", 250))
    done = await desk.import_(data, "whole", by="li")
    one = done.statement
    assert (one.entries, one.duplicates, one.skipped, one.debits_micros) == (2, 0, 0, 3_500_000)
    assert (one.first_day, one.last_day, one.by) == ("2026-11-20", "2026-11-20", "li")
    assert await desk.entries("whole") == [
        ("a", -YUAN, one.statement_id),
        ("b", -2_500_000, one.statement_id),
    ]
    assert (
        await desk.stub.GetStatement(pb.GetStatementRequest(statement_id=one.statement_id))
    ).statement == one
    events = await desk.harness.sql(
        "SELECT count(*) FROM event WHERE subject = 'shoudan.events.finance.statement.imported'"
        " AND key = $1",
        f"statement-{one.statement_id}",
    )
    assert events[0][0] == 1


async def test_the_same_file_twice_is_one_statement(desk: Desk) -> None:
    data = file_of(("a", 100))
    first, *others = await asyncio.gather(*(desk.import_(data, "twice") for _ in range(4)))
    again = await desk.import_(data, "twice", file_name="other.csv")
    assert again.existed
    assert {one.statement.statement_id for one in (first, *others, again)} == {
        first.statement.statement_id
    }
    assert len(await desk.entries("twice")) == 1


async def test_a_row_that_another_file_has_too_counts_once_and_twins_of_one_file_count_each(
    desk: Desk,
) -> None:
    await desk.import_(file_of(("a", 100), ("a", 100)), "rows")
    second = await desk.import_(file_of(("a", 100), ("b", 100), ("a", 100)), "rows")
    assert (second.statement.entries, second.statement.duplicates) == (1, 2)
    assert [no for no, _, _ in await desk.entries("rows")] == ["a", "a", "b"]


async def test_a_dry_run_says_what_is_wrong_row_by_row_and_imports_nothing(desk: Desk) -> None:
    data = file_of(("a", 100), ("b", 200)).replace(b"2.00,2026-11-20", b"2.00,2026-13-20")
    done = await desk.import_(data, "dry", dry_run=True)
    assert [(one.row_no, one.column) for one in done.errors] == [(3, "时间"), (4, ""), (4, "")]
    assert [one.code for one in done.errors] == ["TIME_WRONG", "FOOTER_ROWS", "FOOTER_AMOUNT"]
    assert done.errors[0].why.endswith("is no time of the forms configured")
    assert done.errors[0].why_zh.endswith("不符合模板的时间格式")
    assert (done.error_count, done.statement.statement_id) == (3, 0)
    assert [one.their_no for one in done.preview] == ["a"]
    request = await desk.request(data, "dry")
    assert await refused(desk.stub.ImportStatement(request)) == "STATEMENT_INVALID"
    assert await desk.entries("dry") == []


async def test_a_corrected_statement_takes_the_place_of_the_one_it_names(desk: Desk) -> None:
    wrong = (await desk.import_(file_of(("a", 100), ("b", 200)), "corrected")).statement
    right = file_of(("a", 100), ("b", 201))
    shown = await desk.import_(right, "corrected", supersedes=wrong.statement_id)
    one = shown.statement
    assert one.supersedes == wrong.statement_id
    assert await desk.entries("corrected") == [
        ("a", -YUAN, one.statement_id),
        ("b", -2_010_000, one.statement_id),
    ]
    gone = await desk.stub.GetStatement(pb.GetStatementRequest(statement_id=wrong.statement_id))
    assert gone.statement.status == pb.STATEMENT_STATUS_SUPERSEDED
    third = await desk.request(file_of(("c", 1)), "corrected", supersedes=wrong.statement_id)
    assert await refused(desk.stub.ImportStatement(third)) == "STATEMENT_SUPERSEDED"
    other = await desk.request(file_of(("c", 1)), "another", supersedes=one.statement_id)
    assert await refused(desk.stub.ImportStatement(other)) == "STATEMENT_SUPERSEDED"
    assert len(await desk.entries("corrected")) == 2
    assert await desk.entries("another") == []


async def test_an_import_may_take_longer_than_other_transactions(desk: Desk) -> None:
    limit = text("SELECT set_config('transaction_timeout', :most, true)")
    async with desk.harness.context.app.work("test") as work:
        for most in ("0", "2s"):
            await work.db.execute(limit, {"most": most})
        await statements.allow_time(work.db)
        await work.db.execute(text("SELECT pg_sleep(2.5)"))
        assert (await work.db.execute(text("SELECT 1"))).scalar_one() == 1


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
async def test_a_process_that_dies_leaves_a_whole_statement_or_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    source, data = f"dies-{point}"[:32], file_of(("a", 1), ("b", 2))
    request = await desk.request(data, source)

    def dying(name: str) -> None:
        if name == f"finance.statement.{point}":
            raise ConnectionResetError("died")

    with monkeypatch.context() as patched:
        patched.setattr(unit_of_work, "hit", dying)
        with pytest.raises(aio.AioRpcError):
            await desk.stub.ImportStatement(request)
    assert len(await desk.entries(source)) in ({0} if point == "before_commit" else {2})
    done = await desk.stub.ImportStatement(request)
    assert done.existed == (point == "after_commit")
    assert len(await desk.entries(source)) == 2


async def test_a_file_is_imported_only_with_all_its_parts(desk: Desk) -> None:
    request = await desk.request(file_of(("a", 1)), "parts")
    request.parts = 2
    assert await refused(desk.stub.ImportStatement(request)) == "FILE_INCOMPLETE"
    request.parts, request.sha256 = 1, hashlib.sha256(b"x").digest()
    assert await refused(desk.stub.ImportStatement(request)) == "FILE_INCOMPLETE"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("template", "none", "TEMPLATE_NOT_FOUND"),
        ("source", "", "FIELD_INVALID"),
        ("file_name", "../s.csv", "FIELD_INVALID"),
        ("file_name", "a\\b.csv", "FIELD_INVALID"),
        ("parts", 0, "FIELD_INVALID"),
        ("sha256", b"short", "FIELD_INVALID"),
        ("supersedes", 7, "STATEMENT_NOT_FOUND"),
    ],
)
async def test_what_cannot_be_imported_is_refused_by_name(
    desk: Desk, field: str, value: Any, reason: str
) -> None:
    request = await desk.request(file_of(("a", 77)), "refused")
    setattr(request, field, value)
    assert await refused(desk.stub.ImportStatement(request)) == reason
    assert await desk.entries("refused") == []


async def test_files_and_rows_have_bounds(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = desk.harness.context.app.settings
    request = await desk.request(file_of(("a", 1), ("b", 1)), "bounds")
    monkeypatch.setitem(settings.__dict__, "statement_rows_max", 1)
    assert await refused(desk.stub.ImportStatement(request)) == "STATEMENT_TOO_LARGE"
    monkeypatch.setitem(settings.__dict__, "statement_bytes_max", 20)
    assert await refused(desk.stub.ImportStatement(request)) == "STATEMENT_TOO_LARGE"
    part = pb.StorePartRequest(sha256=request.sha256, part_no=0, data=b"1" * 21)
    assert await refused(desk.stub.StorePart(part)) == "STATEMENT_TOO_LARGE"


async def test_parts_of_no_statement_are_deleted_after_a_day(desk: Desk) -> None:
    used, lost = file_of(("used", 1)), file_of(("lost", 1))
    await desk.import_(used, "parts-used")
    await desk.request(lost, "parts-lost")
    await desk.harness.sql("UPDATE statement_part SET create_time = now() - interval '25 hours'")
    async with desk.harness.context.app.work("test") as work:
        await statements.forget_parts(work.db)
    left = await desk.harness.sql("SELECT sha256 FROM statement_part")
    kept = {row[0] for row in left}
    assert hashlib.sha256(used).digest() in kept
    assert hashlib.sha256(lost).digest() not in kept


async def test_statements_are_listed_newest_first_in_pages(desk: Desk) -> None:
    made = [
        (await desk.import_(file_of((f"p{at}", 1)), "pages")).statement.statement_id
        for at in range(3)
    ]
    first = await desk.stub.ListStatements(pb.ListStatementsRequest(source="pages", page_size=2))
    assert [one.statement_id for one in first.statements] == made[:0:-1]
    rest = pb.ListStatementsRequest(source="pages", page_token=first.next_page_token)
    page = await desk.stub.ListStatements(rest)
    assert [one.statement_id for one in page.statements] == made[:1]
    assert not page.next_page_token
    everything = await desk.stub.ListStatements(pb.ListStatementsRequest(page_size=1000))
    assert {one.statement_id for one in everything.statements} >= set(made)


Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(desk: Desk) -> Run:
    port = desk.harness.process.port
    environ = {"SHOUDAN_FINANCE_TARGET": f"127.0.0.1:{port}", "SHOUDAN_LANG": "en"}

    async def one(*words: str) -> Result:
        args = (statement_commands.app, list(words))
        return await asyncio.to_thread(CliRunner().invoke, *args, env=environ)

    return one


async def test_the_command_imports_shows_and_lists(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "sup.csv"
    file.write_bytes(file_of(("a", 123)))
    words = ("import", str(file), "--template", "plain-csv", "--source", "cli")
    dry = await run(*words, "--dry-run")
    assert dry.exit_code == 0
    assert "delivery a -1.23 元 success" in dry.output
    done = await run(*words)
    assert "cli 2026-11-20: 1 rows, 0 were here before, 0 skipped, + 0 - 1.23 元" in done.output
    assert "imported before" in (await run(*words)).output
    number = done.output.splitlines()[-1].split()[0]
    assert "file sup.csv" in (await run("show", number)).output
    assert number in (await run("ls", "--source", "cli")).output
    assert "plain-csv: csv" in (await run("templates", "--whole")).output
    file.write_bytes(file_of(("a", 123)).replace(b"1.23", b"1.2x"))
    bad = await run(*words, "--dry-run")
    assert bad.exit_code == 1
    assert "row 2, 金额: '1.2x' is no amount in yuan [AMOUNT_NOT_YUAN]" in bad.output
    # Not a dry run: nothing is imported, and all that is wrong is shown just so, in the language asked for.
    for how in ((), ("--dry-run",)):
        chinese = await run(*words, *how, "--lang", "zh")
        assert chinese.exit_code == 1
        assert "第 2 行，金额：“1.2x”不是以元为单位的金额 [AMOUNT_NOT_YUAN]" in chinese.output
        assert "row 2, 金额" not in chinese.output


class Imports(RuleBasedStateMachine):
    """What a source's files come to, whatever is imported when."""

    desk: Desk
    wait: Callable[[Awaitable[Any]], Any]
    sources: Iterator[int]

    def __init__(self) -> None:
        super().__init__()
        self.source = f"model-{next(self.sources)}"
        self.live: dict[int, list[tuple[str, int]]] = {}
        self.dead: set[int] = set()
        self.files: dict[bytes, int] = {}

    @rule(rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=4))
    def imported(self, rows: list[tuple[str, int]]) -> None:
        self._import(rows, 0)

    @rule(rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=4))
    def corrected(self, rows: list[tuple[str, int]]) -> None:
        self._import(rows, max(self.live, default=0))

    def _import(self, rows: list[tuple[str, int]], supersedes: int) -> None:
        data = file_of(*rows)
        done = self.wait(self.desk.import_(data, self.source, supersedes=supersedes))
        assert done.existed == (data in self.files)
        if done.existed:
            assert done.statement.statement_id == self.files[data]
            return
        if supersedes:
            self.dead.add(supersedes)
            del self.live[supersedes]
        number = self.files[data] = done.statement.statement_id
        here = [row for one in self.live.values() for row in one]
        new = []
        for row in dict.fromkeys(rows):
            more = rows.count(row) - here.count(row)
            new += [row] * max(0, more)
        self.live[number] = new
        assert done.statement.entries == len(new)
        assert done.statement.duplicates == len(rows) - len(new)

    @invariant()
    def each_row_counts_once(self) -> None:
        found = self.wait(self.desk.entries(self.source))
        wanted = [
            (no, -fen * 10_000, number) for number, rows in self.live.items() for no, fen in rows
        ]
        assert sorted(found) == sorted(wanted)


async def test_whatever_is_imported_in_whatever_order_each_row_counts_once(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    Imports.desk, Imports.sources = desk, count()
    Imports.wait = staticmethod(
        lambda call: asyncio.run_coroutine_threadsafe(_awaited(call), loop).result(30)
    )
    few = hypothesis_settings(
        max_examples=15,
        stateful_step_count=6,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, seed(1)(Imports), settings=few)


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call


async def test_a_process_that_is_killed_in_the_middle_of_an_import_leaves_nothing_of_it(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], ledger: LedgerHarness, tmp_path: Path
) -> None:
    urls = await new_database("finance")  # no process of another test takes its tasks
    data = file_of(*((f"K{one}", 9_800) for one in range(12_000)))  # more than one batch
    dying = FinanceProcess(
        urls, tmp_path, "finance.statement_rows_stored:exit@2", pay_target=AWAY, order_target=AWAY
    )
    counted = "SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM statement)"
    async with opened(urls, ledger, roles=frozenset({"rpc"})) as first:
        before = tuple((await first.sql(counted))[0])
        async with aio.insecure_channel(f"127.0.0.1:{first.process.port}") as channel:
            request = await Desk(first, channel).request(data, "killed")
        async with aio.insecure_channel(dying.target) as channel:
            stub: Any = stubs.StatementServiceStub(channel)
            with pytest.raises(aio.AioRpcError):
                await stub.ImportStatement(request, timeout=60, wait_for_ready=True)
        assert await dying.ended() == 137
        assert tuple((await first.sql(counted))[0]) == before
        async with aio.insecure_channel(f"127.0.0.1:{first.process.port}") as channel:
            desk = Desk(first, channel)
            made = await desk.stub.ImportStatement(request)
            assert (made.existed, made.statement.entries) == (False, 12_000)
            again = await desk.stub.ImportStatement(request)
            assert (again.existed, again.statement) == (True, made.statement)
        after = tuple((await first.sql(counted))[0])
        assert after == (before[0] + 12_000, before[1] + 1)
