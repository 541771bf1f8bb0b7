"""Fund bills (资金账单): the movements of accounts, each with the balance before and after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from shoudan_finance.bill_files import AccountSum, BillInvalid
from shoudan_finance.context import Context
from shoudan_finance.store import bill_facts as facts
from shoudan_finance.store import movements
from shoudan_finance.store.bill_facts import Account
from shoudan_finance.store.days import AccountFact
from shoudan_finance.store.movements import Movement
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.spreadsheet import safe

PAGE_ROWS: Final = 1000
ABOUT: Final = ("", "订单", "订单退款", "上游发货", "上游退货", "支付", "人工")
CHANGE: Final = ("", "加款", "提款", "扣款", "退款", "交易平账", "余额平账")
TRADE: Final = ("", "交易", "手续费/服务费", "佣金", "红冲", "平账")


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose accounts: of a channel or member, or all of a kind that moved."""

    ident: str
    groups: str  # how the kind begins; any when empty
    eid: str  # any when empty


@dataclass(slots=True)
class Running:
    """Where one account stands in the middle of a bill."""

    account: Account
    balance_micros: int
    counts: list[int] = field(default_factory=lambda: [0, 0])
    sums: list[int] = field(default_factory=lambda: [0, 0])
    opening_micros: int = 0
    days: list[AccountFact] = field(default_factory=list[AccountFact])

    def __post_init__(self) -> None:
        self.opening_micros = self.balance_micros

    def cells(self, one: Movement, day: str) -> list[str]:
        """The row of the account's next movement. Raises BillInvalid when it does not follow."""
        before, amount = self.balance_micros, one.amount_micros
        if before + amount != one.balance_micros:
            raise BillInvalid(f"record {one.record_id} does not follow the one before")
        self.balance_micros = one.balance_micros
        paid = amount < 0
        self.counts[paid] += 1
        self.sums[paid] += abs(amount)
        return [
            day,
            str(one.record_id),
            str(one.account_id),
            safe(self.account.groups),
            str(one.seq),
            beijing(one.create_time),
            ABOUT[one.about],
            CHANGE[one.change_type],
            TRADE[one.trade_type],
            safe(one.trade_no),
            safe(one.ext_no),
            micros_to_yuan(before),
            micros_to_yuan(amount),
            micros_to_yuan(one.balance_micros),
            safe(one.memo),
        ]

    def total(self) -> AccountSum:
        """What it came to."""
        moved = bool(self.days)
        return AccountSum(
            account_id=self.account.account_id,
            ident=self.account.ident,
            groups=self.account.groups,
            eid=self.account.eid,
            name=self.account.name,
            opening_micros=self.opening_micros,
            credits=self.counts[0],
            credits_micros=self.sums[0],
            debits=self.counts[1],
            debits_micros=self.sums[1],
            closing_micros=self.balance_micros,
            seq_from=self.days[0].seq_from if moved else 0,
            seq_to=self.days[-1].seq_to if moved else 0,
            head_hash=self.days[-1].head_hash.hex() if moved else "",
        )


def sum_cells(one: AccountSum) -> list[str]:
    """The row of an account in the sums."""
    return [
        str(one.account_id),
        safe(one.groups),
        safe(one.name),
        micros_to_yuan(one.opening_micros),
        str(one.credits),
        micros_to_yuan(one.credits_micros),
        str(one.debits),
        micros_to_yuan(one.debits_micros),
        micros_to_yuan(one.closing_micros),
    ]


async def accounts(context: Context, whose: Whose, first: date, last: date) -> list[Account]:
    """The accounts of a bill, by kind, number and id: those of `eid` that ever moved, or all that moved then.

    One that never moved has none, and a bill without rows. Raises BillInvalid when none of a kind moved, or
    more than a bill may have.
    """
    async with context.app.db.connect() as db:
        found = await facts.accounts(db, whose.ident, whose.eid, first, last)
    kept = [one for one in found if one.groups.startswith(whose.groups)]
    if not kept and not whose.eid:
        raise BillInvalid("there is no such account")
    if len(found) >= facts.ACCOUNTS_MAX:
        raise BillInvalid(f"more than {facts.ACCOUNTS_MAX} accounts moved: bill each channel")
    return sorted(kept, key=lambda one: (one.groups, one.eid, one.account_id))


async def rows(
    context: Context, account: Account, first: date, last: date, sums: list[AccountSum]
) -> AsyncIterator[list[list[str]]]:
    """The account's rows, page by page, each day held to what it was closed with; then its sum.

    Raises BillInvalid.
    """
    async with context.app.db.connect() as db:
        days = await facts.days_of(db, account, first, last)
        opening = days[0].opening_micros if days else await facts.closing_before(db, account, first)
    running = Running(account, opening)
    for fact in days:
        running.days.append(fact)
        async for page in _of_day(context, fact):
            yield [running.cells(one, fact.day.isoformat()) for one in page]
        if running.balance_micros != fact.closing_micros:
            raise BillInvalid(
                f"account {account.account_id} does not end {fact.day} as it was closed"
            )
    sums.append(running.total())


async def _of_day(context: Context, fact: AccountFact) -> AsyncIterator[Sequence[Movement]]:
    """The movements of an account's day: every seq once, the last hash as closed. Raises BillInvalid."""
    seq, last_hash = fact.seq_from - 1, b""
    while seq < fact.seq_to:
        async with context.app.db.connect() as db:
            page = await movements.page(
                db, fact.day, account_id=fact.account_id, after=(0, seq), most=PAGE_ROWS
            )
        if [one.seq for one in page] != list(range(seq + 1, seq + 1 + len(page))) or not page:
            raise BillInvalid(f"account {fact.account_id}: a movement behind {seq} is missing")
        seq, last_hash = page[-1].seq, page[-1].hash
        yield page
    if (seq, last_hash) != (fact.seq_to, fact.head_hash):
        raise BillInvalid(f"account {fact.account_id} does not end {fact.day} as it was closed")
