"""The ledger: accounts with their balances, each one's statement, and what it held at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_console import calls, lists
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.order import CHANGES, TRADES
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PATH: Final = "/ledger"
RECORDS: Final = "/ledger/records"
LOCKED: Final = Status(_("Locked"), "bad")
NORMAL: Final = Status(_("Normal"), "good")


def records_of(ident: str, groups: str, eid: str) -> str:
    """Where the statement of an account is."""
    return f"{RECORDS}?{urlencode({'ident': ident, 'groups': groups, 'eid': eid})}"


@dataclass(frozen=True, slots=True)
class Account:
    """One account in a list."""

    account_id: int
    ident: str
    groups: str
    eid: str
    name: str
    balance_micros: int
    credit_micros: int
    status: Status

    @property
    def path(self) -> str:
        return records_of(self.ident, self.groups, self.eid)


def account_of(one: Any) -> Account:
    """An account as the service gives it."""
    key = one.key
    stands = LOCKED if one.locked else NORMAL
    return Account(
        one.account_id,
        key.ident,
        key.groups,
        key.eid,
        one.name,
        one.balance_micros,
        one.credit_micros,
        stands,
    )


async def accounts(visit: Visit, query: Query) -> Found:
    """A page of accounts by their number."""
    request = pb.ListAccountsRequest(
        ident=query.text("ident"),
        groups_prefix=query.text("groups"),
        eid=query.text("eid"),
        name_contains=query.text("name"),
        page_size=query.size,
        page_token=query.token,
    )
    if query.text("locked"):
        request.status = int(query.text("locked"))
    answer = await visit.ask(calls.LIST_ACCOUNTS, request)
    return Found([account_of(one) for one in answer.accounts], answer.next_page_token)


@dataclass(frozen=True, slots=True)
class Record:
    """One movement in a statement."""

    record_id: int
    seq: int
    account: str
    account_path: str
    change: str
    trade: str
    amount_micros: int
    balance_micros: int
    trade_no: str
    memo: str
    create_time: datetime


def record_of(one: Any) -> Record:
    """A record as the service gives it."""
    key = one.account
    return Record(
        one.record_id,
        one.seq,
        one.account_name or key.eid,
        records_of(key.ident, key.groups, key.eid),
        CHANGES.get(one.change_type, "–"),
        TRADES.get(one.trade_type, "–"),
        one.amount_micros,
        one.balance_micros,
        one.trade_no,
        one.memo,
        one.create_time.ToDatetime(UTC),
    )


async def records(visit: Visit, query: Query) -> Found:
    """A page of movements, newest first: of an account, or of a trade."""
    if not (query.text("ident") or query.text("trade")):
        return Found(())
    request = pb.ListRecordsRequest(
        account=_key(query),
        trade_no=query.text("trade"),
        page_size=query.size,
        page_token=query.token,
    )
    for name, place in (("from", request.start_time), ("to", request.end_time)):
        if (moment := query.moment(name)) is not None:
            place.FromDatetime(moment)
    answer = await visit.ask(calls.LIST_RECORDS, request)
    return Found([record_of(one) for one in answer.records], answer.next_page_token)


def _key(query: Query) -> pb.AccountKey:
    return pb.AccountKey(
        ident=query.text("ident"), groups=query.text("groups"), eid=query.text("eid")
    )


ACCOUNTS: Final = Listing(
    name="accounts",
    path=PATH,
    title=_("Accounts"),
    columns=(
        Column(
            "account_id", _("Account"), lambda row: row.account_id, "code", lambda row: row.path
        ),
        Column("name", _("Name"), lambda row: row.name),
        Column("groups", _("Kind"), lambda row: f"{row.ident}/{row.groups}", small=False),
        Column("eid", _("Whose"), lambda row: row.eid, "code", small=False),
        Column("balance", _("Balance"), lambda row: row.balance_micros, "money"),
        Column("credit", _("Credit"), lambda row: row.credit_micros, "money", small=False),
        Column("status", _("Status"), lambda row: row.status, "status"),
    ),
    fetch=accounts,
    empty=_("No account fits. Take a filter away."),
    filters=(
        Filter("groups", _("Kind begins with"), hint="down_channel"),
        Filter("eid", _("Whose"), hint="test"),
        Filter("name", _("Part of the name")),
        Filter("ident", _("System"), hint="oms"),
        Filter("locked", _("Status"), "choice", (("0", _("Normal")), ("1", _("Locked")))),
    ),
    link=lambda row: row.path,
)

STATEMENT: Final = Listing(
    name="records",
    path=RECORDS,
    title=_("Statement"),
    template="account.html",
    columns=(
        Column("record_id", _("Record"), lambda row: row.record_id, "code"),
        Column("create_time", _("Time"), lambda row: row.create_time, "time"),
        Column(
            "account",
            _("Account"),
            lambda row: row.account,
            "text",
            lambda row: row.account_path,
            small=False,
        ),
        Column("change", _("Movement"), lambda row: row.change, "word"),
        Column("trade", _("For"), lambda row: row.trade, "word", small=False),
        Column("amount", _("Amount"), lambda row: row.amount_micros, "money"),
        Column("balance", _("Balance after"), lambda row: row.balance_micros, "money"),
        Column(
            "trade_no",
            _("Trade"),
            lambda row: row.trade_no,
            "code",
            lambda row: f"/search?q={row.trade_no}",
            small=False,
        ),
        Column("memo", _("Memo"), lambda row: row.memo, small=False),
    ),
    fetch=records,
    empty=_("No movement fits. Name an account by system, kind and whose it is, or a trade."),
    filters=(
        Filter("ident", _("System"), hint="oms"),
        Filter("groups", _("Kind"), hint="down_channel"),
        Filter("eid", _("Whose"), hint="test"),
        Filter("trade", _("Trade")),
        Filter("from", _("From"), "moment"),
        Filter("to", _("To"), "moment"),
    ),
)


async def statement(visit: Visit) -> Response:
    """A statement, with its account, and its balance at a moment when one is asked for."""
    query = STATEMENT.query(visit)
    whole = bool(query.text("ident") and query.text("groups") and query.text("eid"))
    at = visit.query.get("at", "").strip()
    moment = lists.moment_in(at)
    panels: dict[str, Any] = {}
    if whole:
        panels = await visit.panels(account=_account(visit, query))
        if moment is not None:
            panels |= await visit.panels(then=_balance(visit, query, moment))
    return await lists.show(
        STATEMENT, visit, panels=panels, at=at, at_wrong=bool(at) and moment is None
    )


async def _account(visit: Visit, query: Query) -> Account:
    answer = await visit.ask(calls.GET_ACCOUNT, pb.GetAccountRequest(key=_key(query)))
    return account_of(answer.account)


async def _balance(visit: Visit, query: Query, moment: datetime) -> int:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    request = pb.GetBalanceRequest(key=_key(query), time=stamp)
    return (await visit.ask(calls.GET_BALANCE, request)).balance_micros


_RECORD_PAGES: Final = listing_pages(STATEMENT)
PAGES: Final = (*listing_pages(ACCOUNTS), Page(RECORDS, statement), *_RECORD_PAGES[1:])
NAVIGATION: Final = (Entry(PATH, _("Ledger"), _("Money"), (calls.LIST_ACCOUNTS,)),)
