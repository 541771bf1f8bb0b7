"""Promises: no database of ours holds a recharge account in clear; operators find and erase it."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import Any

import pytest

from shoudan.core.v1 import personal_service_pb2 as pb
from shoudan.core.v1 import personal_service_pb2_grpc as stubs
from shoudan_cli import personal
from shoudan_cli.clients import TLS_VARIABLES
from shoudan_cli.wiring import SERVICES
from tests.poll import eventually
from tests.system.conftest import ENDED_S, Partner

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

HOLDERS = ("order", "delivery")
# How the sandbox ends each: at once, after a query, with a page of HTML first, told twice.
TAILS = ("0000", "0002", "0009", "0005")


async def places(partner: Partner, account: str) -> list[str]:
    """Every table of every service that holds the account, in whatever column, as text or as bytes."""
    found: list[str] = []
    for service in SERVICES:
        async with partner.system.postgres.admin(f"shoudan_{service}") as db:
            tables = await db.fetch(
                "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE nspname = 'public' AND relkind IN ('r', 'p')"
            )
            for (table,) in tables:
                count = await db.fetchval(
                    f'SELECT count(*) FROM "{table}" t WHERE strpos(t::text, $1) > 0'
                    " OR strpos(t::text, encode(convert_to($1, 'UTF8'), 'hex')) > 0",
                    account,
                )
                if count:
                    found.append(f"{service}.{table}: {count}")
    return found


async def walk(partner: Partner, **request: Any) -> dict[str, tuple[list[int], list[int], int]]:
    """Both services walked in small pages: rows found, erased, sealed."""
    made: dict[str, tuple[list[int], list[int], int]] = {}
    for service in HOLDERS:
        found: list[int] = []
        erased: list[int] = []
        sealed, after, done = 0, 0, False
        while not done:
            message = pb.WalkAccountsRequest(after=after, rows=3, **request)
            page = await partner.clients.call(
                service, stubs.PersonalServiceStub, "WalkAccounts", message
            )
            found += page.found
            erased += page.erased
            sealed, after, done = sealed + page.sealed, page.next, page.done
        made[service] = found, erased, sealed
    return made


async def ended(partner: Partner, accounts: Sequence[str]) -> list[str]:
    numbers = [partner.number() for _ in accounts]
    for number, account in zip(numbers, accounts, strict=True):
        status, _ = await partner.order(request_no=number, rechage_account=account)
        assert status == 200

    async def all_done() -> bool:
        done = await partner.sql(
            "order",
            "SELECT count(*) FROM oms_order_info WHERE request_no = ANY($1)"
            " AND order_status = 0 AND notify_status IN (0, 100) AND complete_up_pay = 0",
            numbers,
        )
        return done == len(numbers)

    await eventually(all_done, ENDED_S, every_s=0.2)
    return numbers


async def test_no_table_of_any_service_holds_an_account_and_its_supplier_got_it(
    partner: Partner,
) -> None:
    accounts = [f"1393141{tail}" for tail in TAILS]
    numbers = await ended(partner, accounts)
    for account in accounts:
        assert await places(partner, account) == []
    sources: list[int] = []
    for number in numbers:
        query = "SELECT CAST(order_id AS text) FROM oms_order_info WHERE request_no = $1"
        order_id = await partner.sql("order", query, number)
        query = "SELECT result_source FROM vds_order_info WHERE order_id = $1"
        sources.append(await partner.sql("delivery", query, order_id))
    assert sources == [
        3,
        2,
        2,
        3,
    ]  # as the sandbox plays these accounts, so it was told them in clear


async def test_an_account_is_found_and_erased_everywhere_but_where_it_is_still_needed(
    partner: Partner,
) -> None:
    account, other = "13927180000", "13927189999"
    number, _, _ = await ended(partner, [account, account, other])
    found = await walk(partner, account="+86 139-2718-0000")
    assert [len(found[service][0]) for service in HOLDERS] == [2, 2]
    open_no = partner.number()
    await partner.order(request_no=open_no, rechage_account="13927180003")  # unknown for ever
    erased = await walk(partner, account=account, erase=True, by="dpo", reason="asked for")
    assert [erased[service][1] for service in HOLDERS] == [found[service][0] for service in HOLDERS]
    again = await walk(partner, account=account)
    assert [again[service][0] for service in HOLDERS] == [[], []]
    assert await places(partner, account) == []
    assert len((await walk(partner, account=other))["order"][0]) == 1
    kept = await walk(partner, account="13927180003", erase=True, by="dpo", reason="asked for")
    assert (len(kept["order"][0]), kept["order"][1]) == (1, [])
    # What the partner asked for is still the same request, and another one is not.
    status, _ = await partner.order(request_no=number, rechage_account=account)
    assert status == 200
    _, body = await partner.order(request_no=number, rechage_account=other)
    assert "status" not in body
    assert body["code"] != "000"
    who = await partner.sql("order", "SELECT text FROM event WHERE subject LIKE '%account.erased'")
    # Who the token says it is, whatever the call says.
    assert who == f"account erased by {getpass.getuser()}: asked for"


async def test_rows_of_before_are_sealed_by_a_walk_and_stay_the_same_requests(
    partner: Partner,
) -> None:
    account = "13916180000"
    (number,) = await ended(partner, [account])
    tables = {
        "order": ("oms_order_info", "rechage_account"),
        "delivery": ("vds_order_info", "account"),
    }
    row = await partner.sql(
        "order", "SELECT order_id FROM oms_order_info WHERE request_no = $1", number
    )
    keys = {"order": f"order_id = {row}", "delivery": f"order_id = '{row}'"}
    for service, (table, column) in tables.items():
        async with partner.system.postgres.admin(f"shoudan_{service}") as db:
            await db.execute(
                f"UPDATE {table} SET {column} = $1 WHERE {keys[service]}",
                account,
            )
    assert len(await places(partner, account)) == 2
    walked = await walk(partner)
    assert [walked[service][2] for service in HOLDERS] == [1, 1]
    assert await places(partner, account) == []
    assert [len(one[0]) for one in (await walk(partner, account=account)).values()] == [1, 1]
    assert [one[2] for one in (await walk(partner)).values()] == [0, 0]


async def test_the_commands_find_and_erase_in_every_service(
    partner: Partner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for service in SERVICES:
        monkeypatch.setenv(f"SHOUDAN_{service.upper()}_TARGET", partner.system.target(service))
    for variable in TLS_VARIABLES[:3]:
        monkeypatch.setenv(variable, partner.system.env[variable])
    account = "13905550000"
    await ended(partner, [account])
    capsys.readouterr()
    await personal._search(account)
    lines = capsys.readouterr().out.split()
    assert lines[::2] == list(HOLDERS)
    await personal._erase(account, "dpo", "asked for")
    told = capsys.readouterr().out
    assert ("order: 1 rows erased" in told, "erp_ingest: 0 documents" in told) == (True, True)
    assert await places(partner, account) == []
    await personal._search(account)
    assert capsys.readouterr().out == ""
    await personal._seal()
    assert "delivery: 0 of" in capsys.readouterr().out


async def test_what_cannot_be_walked_is_refused(partner: Partner) -> None:
    wrong = (
        pb.WalkAccountsRequest(after=-1),
        pb.WalkAccountsRequest(rows=5001),
        pb.WalkAccountsRequest(account="\0"),
        pb.WalkAccountsRequest(erase=True, by="a", reason="b"),
        pb.WalkAccountsRequest(erase=True, account="1", by="a"),
    )
    for message in wrong:
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            await partner.clients.call("order", stubs.PersonalServiceStub, "WalkAccounts", message)
