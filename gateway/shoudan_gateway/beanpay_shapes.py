"""How the ledger's accounts, records and packages look by HTTP: amounts in 分, times in Beijing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_gateway.fields import fen_text
from shoudan_kit.clock import BEIJING

STEP_DAY: Final = timedelta(days=1)
PAGE_DEFAULT: Final = 10

Values = dict[str, Any]


def fen(micros: int) -> msgspec.Raw:
    """An amount as a JSON number of 分, without a float on the way."""
    return msgspec.Raw(fen_text(micros).encode())


def stamp(moment: Timestamp) -> str:
    """yyyymmddHHMMSS in Beijing."""
    return moment.ToDatetime(UTC).astimezone(BEIJING).strftime("%Y%m%d%H%M%S")


def paged(values: Values) -> Values:
    """Page number and size as offset and size."""
    size = values.get("ps", PAGE_DEFAULT)
    return {"page_size": size, "offset": (values.get("pi", 1) - 1) * size}


def period(values: Values) -> Values:
    """The days asked for as moments, the last day included."""
    found: Values = {}
    if "start" in values:
        found["start_time"] = _midnight(values["start"])
    if "end" in values:
        found["end_time"] = _midnight(values["end"]) + STEP_DAY
    return found


def _midnight(day: str) -> datetime:
    return datetime.strptime(day, "%Y%m%d").replace(tzinfo=BEIJING)


def account(one: pb.Account) -> Values:
    """An account as documented."""
    return {
        "account_id": one.account_id,
        "account_name": one.name,
        "ident": one.key.ident,
        "groups": one.key.groups,
        "eid": one.key.eid,
        "balance": fen(one.balance_micros),
        "credit": fen(one.credit_micros),
        "status": int(one.locked),
        "create_time": stamp(one.create_time),
    }


def record(one: pb.Record) -> Values:
    """A record as documented."""
    return {
        "account_id": one.account_id,
        "record_id": one.record_id,
        "trade_no": one.trade_no,
        "ext_no": one.ext_no,
        "eid": one.account.eid,
        "groups": one.account.groups,
        "account_name": one.account_name,
        "change_type": int(one.change_type),
        "trade_type": int(one.trade_type),
        "amount": fen(one.amount_micros),
        "balance": fen(one.balance_micros),
        "memo": one.memo,
        "create_time": stamp(one.create_time),
    }


def package(one: pb.Package) -> Values:
    """A service package as documented."""
    return {
        "pkg_id": one.pkg_id,
        "spkg_id": one.spkg_id,
        "pkg_name": one.name,
        "eid": one.account.eid,
        "total_capacity": one.total_capacity,
        "total_remain": one.total_remain,
        "capacity_daily": one.capacity_daily,
        "deduct_today": one.deduct_today,
        "expires": one.expires,
    }


def package_record(one: pb.PackageRecord) -> Values:
    """A package's record as documented."""
    return {
        "record_id": one.record_id,
        "pkg_id": one.pkg_id,
        "trade_no": one.trade_no,
        "change_type": int(one.change_type),
        "num": one.num,
        "remain": one.remain,
        "create_time": stamp(one.create_time),
    }
