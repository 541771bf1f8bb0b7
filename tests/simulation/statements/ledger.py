"""What the statements of the ledger mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shoudan_kit.db.columns import names_of
from shoudan_pay.ledger.entries import Account, Record, micros_since_1970
from shoudan_pay.ledger.states import AccountStatus
from shoudan_pay.ledger.store import accounts, records
from tests.simulation.loop import START
from tests.simulation.store import COPIED, DECIDED, ORDERED, Table, Values, View, means, row_of

ACCOUNTS: Final = "account_info"
RECORDS: Final = "account_record"
_ACCOUNT: Final = names_of(Account)[:-1]
_LOCKED: Final = row_of("now", *_ACCOUNT)
_RECORD: Final = row_of(*names_of(Record))
_QUOTED: Final = row_of("account_id", "ext_no", "trade_type", "change_type", "sum_micros")
_KEY: Final = ("account_id", "trade_no", "trade_type", "change_type")
_QUOTE: Final = ("account_id", "ext_no", "trade_type", "change_type")


def tables() -> list[Table]:
    """Those of this module; what records are found by stands in columns of their own."""
    return [Table(ACCOUNTS), Table("account_key"), Table(RECORDS, ("by_key", "by_quote"))]


DECIDED.add(RECORDS)


def _keyed(values: Values) -> int:
    values["by_key"] = tuple([values[name] for name in _KEY])
    values["by_quote"] = tuple([values[name] for name in _QUOTE]) if values["ext_no"] else None
    number: int = values["record_id"]
    return number


COPIED[RECORDS] = _keyed


def account(
    number: int, key: tuple[str, str, str], contra: int | None, credit: int | None
) -> Values:
    """A row of account_info; without a credit it is not limited."""
    ident, groups, eid = key
    return {
        "account_id": number,
        "contra_account_id": contra,
        "ident": ident,
        "groups": groups,
        "eid": eid,
        "account_name": eid,
        "balance_micros": 0,
        "credit_micros": credit or 0,
        "status": AccountStatus.NORMAL,
        "limited": credit is not None,
        "watched": False,
        "seq": 0,
        "head_hash": b"",
        "moved_time": START,
        "open_day": None,
        "create_time": START,
    }


def _locked(view: View, ids: Sequence[int]) -> Sequence[Any]:
    found: list[Any] = []
    now = micros_since_1970(view.moment)
    for number in sorted(set(ids)):
        row = view.locked(ACCOUNTS, number)
        if row is None:
            continue
        moved = row["moved_time"]
        given = {
            **row,
            "name": row["account_name"],
            "locked": row["status"] == AccountStatus.LOCKED,
            "ahead_time": moved if moved is not None and moved > view.moment else None,
        }
        found.append(_LOCKED([now, *(given[name] for name in _ACCOUNT)]))
    return found


@means(accounts.LOCK_TO_POST)
def _lock_to_post(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    keys = zip(b["ident"], b["groups"], b["eid"], strict=True)
    held = (view.get("account_key", key) for key in keys)
    return _locked(view, [one["account_id"] for one in held if one is not None])


@means(accounts.LOCK_BY_ID)
def _lock_by_id(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    return _locked(view, b["ids"])


ORDERED.update((accounts.LOCK_TO_POST.text, accounts.LOCK_BY_ID.text))


@means(records._BY_KEY)
def _by_key(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found: list[Any] = []
    for key in zip(*(b[name] for name in _KEY), strict=True):
        for number in view.found(RECORDS, "by_key", tuple(key)):
            row = view.get(RECORDS, number)
            assert row is not None, "it was found"
            found.append(_RECORD([row[name] for name in _RECORD.names]))
    return found


@means(records._RETURNED)
def _returned(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found: list[Any] = []
    for quote in zip(*(b[name] for name in _QUOTE), strict=True):
        rows = [view.get(RECORDS, i) for i in view.found(RECORDS, "by_quote", tuple(quote))]
        if rows:
            total = sum(abs(row["amount_micros"]) for row in rows if row is not None)
            found.append(_QUOTED((*quote, total)))
    return found


@means(records._MOVE)
def _move(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for at, number in enumerate(b["id"]):
        row = view.locked(ACCOUNTS, number)
        if row is None:
            continue
        moved = row["moved_time"]
        view.change(
            ACCOUNTS,
            number,
            row,
            balance_micros=b["balance"][at],
            seq=b["seq"][at],
            head_hash=b["head"][at],
            moved_time=b["moved"] if moved is None else max(moved, b["moved"]),
            open_day=b["day"][at],
        )
    return []
