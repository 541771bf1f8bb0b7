"""Messages to values and back; what has no shape is refused here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.db.pages import NUMBERED_MAX, Asked
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.callers import current_caller
from shoudan_kit.rpc.messages import filled
from shoudan_pay.ledger import packages, postings
from shoudan_pay.ledger.entries import (
    Account,
    Decision,
    Key,
    Package,
    PackageRecord,
    Posting,
    Record,
    micros_since_1970,
)
from shoudan_pay.ledger.states import About
from shoudan_pay.ledger.store.records import Shown
from shoudan_pay.refusals import FieldInvalid

IDENT_MAX: Final = 32
EID_MAX: Final = 64
NUMBER_MAX: Final = 64
NAME_MAX: Final = 64
SPKG_MAX: Final = 32
MEMO_MAX: Final = 1024
OPERATOR_MAX: Final = 64
KEYS_KEPT: Final = 10_000
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1000
# Without a group an account belongs to the only one its system has.
ONLY_GROUP: Final = "-"

_ABOUTS: Final = frozenset(map(int, About))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def text(field: str, value: str, most: int, *, optional: bool = False) -> str:
    """`value`, if it has 1 to `most` characters and nothing invisible in it: FieldInvalid."""
    if not value:
        if optional:
            return value
        raise FieldInvalid(field, "is missing")
    if len(value) > most:
        raise FieldInvalid(field, f"has more than {most} characters")
    if not value.isprintable():
        raise FieldInvalid(field, "has characters that cannot be seen")
    return value


def memo(value: str) -> str:
    """Free words: any script, but nothing a terminal would obey."""
    if value and (len(value) > MEMO_MAX or _CONTROL.search(value)):
        raise FieldInvalid("memo", f"has more than {MEMO_MAX} or control characters")
    return value


def key(message: pb.AccountKey) -> Key:
    """The key of one account."""
    return _key(message.ident, message.groups, message.eid)


@lru_cache(maxsize=KEYS_KEPT)  # accounts are asked for over and over; a refusal is not kept
def _key(ident: str, groups: str, eid: str) -> Key:
    return (
        text("ident", ident, IDENT_MAX),
        text("groups", groups or ONLY_GROUP, IDENT_MAX),
        text("eid", eid, EID_MAX),
    )


def posting(message: pb.Posting, origin: tuple[str, str] | None = None) -> Posting:
    """One posting, its shape and its own sense checked; `origin` of its call, when it is known already."""
    account, ext_no, words = message.account, message.ext_no, message.memo
    source, operator = origin or origin_of_call()
    asked = Posting(
        _key(account.ident, account.groups, account.eid),
        text("trade_no", message.trade_no, NUMBER_MAX),
        message.change_type,
        message.trade_type,
        message.amount_micros,
        text("ext_no", ext_no, NUMBER_MAX) if ext_no else "",
        memo(words) if words else "",
        message.void,
        _about(message.about),
        source,
        operator,
    )
    postings.check(asked)
    return asked


def origin_of_call() -> tuple[str, str]:
    """Who posts, as records keep it: the service, or "operator" and the operator's name."""
    caller = current_caller()
    if caller.kind == "operator":
        return "operator", caller.name[:OPERATOR_MAX]
    return (caller.name, "") if caller.kind == "service" else ("", "")


def _about(value: int) -> int:
    if value not in _ABOUTS:
        raise FieldInvalid("about", f"{value} is none of 0..{max(_ABOUTS)}")
    return value


def moment(message: Timestamp) -> datetime:
    """The time, if PostgreSQL and Python can both represent it: FieldInvalid."""
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise FieldInvalid("time", "is out of range") from None


def optional_moment(holder: Any, field: str) -> datetime | None:
    """The time in `field`, or None when it is absent."""
    return moment(getattr(holder, field)) if holder.HasField(field) else None


def day(field: str, value: str) -> date:
    """A day written yyyymmdd."""
    try:
        if len(value) == 8 and value.isascii() and value.isdigit():
            return date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        pass  # refused below, like every other text that is no day
    raise FieldInvalid(field, "is no day of the form yyyymmdd")


def page_size(asked: int) -> int:
    """Rows of one page."""
    if not 0 <= asked <= PAGE_MAX:
        raise FieldInvalid("page_size", f"is not within 0..{PAGE_MAX}")
    return asked or PAGE_DEFAULT


def page(request: Any, first: int) -> Asked:
    """Which page: behind its token, or at an offset for callers that page by number. Raises FieldInvalid.

    How many there are is counted for a first page and for pages by number, never page after page.
    """
    numbered = request.HasField("offset") and not request.page_token
    start, offset = page_start(request.page_token, request.offset if numbered else 0, first)
    return Asked(
        start, offset, page_size(request.page_size), numbered, counted=not request.page_token
    )


def whole(cut: bool) -> None:
    """Refuse a page by number that was looked for in vain. Raises FieldInvalid."""
    if cut:
        raise FieldInvalid(
            "offset", f"is not among the first {NUMBERED_MAX} rows: narrow the period or the filter"
        )


def page_start(token: str, offset: int, first: int) -> tuple[int, int]:
    """Where a page begins: behind the token, or so many rows from the first."""
    if token:
        start = id_of(token)
        if start is None:
            raise FieldInvalid("page_token", "was not given by this service")
        return start, 0
    if not 0 <= offset < 2**31:
        raise FieldInvalid("offset", "is negative or beyond 2^31")
    return first, offset


def account(value: Account) -> pb.Account:
    """An account as it travels."""
    return filled(pb.Account, value, key=filled(pb.AccountKey, value))


def _write(made: Any, value: Record) -> None:
    """The record itself into a `pb.Record`: field by field, which costs least; enums are plain numbers."""
    made.record_id = value.record_id
    made.account_id = value.account_id
    made.contra_account_id = value.contra_account_id
    made.trade_no = value.trade_no
    made.change_type = value.change_type
    made.trade_type = value.trade_type
    made.amount_micros = value.amount_micros
    made.balance_micros = value.balance_micros
    made.seq = value.seq
    time = made.create_time
    time.seconds, time.nanos = _seconds_and_nanos(value.create_time)
    made.day = _written(value.day)
    if value.ext_no:
        made.ext_no = value.ext_no
    if value.memo:
        made.memo = value.memo
    if value.about:
        made.about = value.about
    if value.source:
        made.source, made.operator = value.source, value.operator


def _name(made: pb.Record, owner: Key, name: str) -> None:
    """Whose account a record is of."""
    key = made.account
    key.ident, key.groups, key.eid = owner
    made.account_name = name


@lru_cache(maxsize=64)  # records of one batch share their moment
def _seconds_and_nanos(moment: datetime) -> tuple[int, int]:
    seconds, micros = divmod(micros_since_1970(moment), 1_000_000)
    return seconds, micros * 1000


@lru_cache(maxsize=64)
def _written(day: date | None) -> str:
    return "" if day is None else day.isoformat()


class Records:
    """Records of one answer, with the names and keys of their accounts."""

    def __init__(self, accounts: Mapping[int, Account]) -> None:
        self._accounts = accounts

    def put(self, result: pb.PostEntriesResponse.Result, decision: Decision) -> None:
        """Write into `result` what became of one group."""
        if decision.refusal is not None:
            result.refusal.CopyFrom(decision.refusal.to_proto())
            return
        add = result.records.add  # in place: a message made apart would be copied in
        for one in decision.records:
            self._put(add(), one)
        result.existed = not decision.new

    def record(self, value: Record) -> pb.Record:
        """One record with the name and key of its account."""
        made = pb.Record()
        self._put(made, value)
        return made

    def _put(self, made: pb.Record, value: Record) -> None:
        owner = self._accounts[value.account_id]
        _write(made, value)
        _name(made, owner.key, owner.name)


def shown_records(found: Iterable[Shown]) -> list[pb.Record]:
    """Records as they were looked up."""
    return [_shown_record(one) for one in found]


def _shown_record(one: Shown) -> pb.Record:
    made = pb.Record()
    _write(made, one.record)
    _name(made, one.account, one.account_name)
    return made


def exported_record(value: Record) -> pb.Record:
    """A record for the books of another service: with its hash, without the names of its account."""
    made = pb.Record(hash=value.hash)
    _write(made, value)
    return made


def package(value: Package, today: date) -> pb.Package:
    """A package as it travels, with what was used today and not on the last day it was used."""
    return filled(
        pb.Package,
        value,
        account=filled(pb.AccountKey, value),
        capacity_daily=value.capacity_daily or value.total_capacity,
        deduct_today=value.used_on(today),
        expires=value.expires.strftime("%Y%m%d"),
    )


def move(message: pb.MoveCapacityRequest.Move) -> packages.Move:
    """One move of capacity, its shape and its own sense checked."""
    asked = packages.Move(
        (key(message.account), text("spkg_id", message.spkg_id, SPKG_MAX)),
        text("trade_no", message.trade_no, NUMBER_MAX),
        message.change_type,
        message.num,
        memo(message.memo),
    )
    packages.check(asked)
    return asked


def package_record(value: PackageRecord) -> pb.PackageRecord:
    """A record of a package as it travels."""
    return filled(pb.PackageRecord, value)
