"""A channel's bills: asked for by signed calls, made by finance, downloaded by a link that expires.

Source: docs/reference/http/bills.md.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import UTC, date
from typing import Any, Final

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan_gateway.fields import Choice, Text
from shoudan_gateway.partners import oms
from shoudan_gateway.protocol import (
    Endpoint,
    Field,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Unary,
    values_of,
)
from shoudan_kit.clock import beijing, day_of

SERVICE: Final = "shoudan.finance.v1.BillService"
SOURCE: Final = "docs/reference/http/bills.md"
FILES: Final = "/bill/file"
FORMATS: Final = {
    "csv": ("csv", False),
    "csv.gz": ("csv", True),
    "xlsx": ("xlsx", False),
    "pdf": ("pdf", False),
}
MONTH_CHARS: Final = 7
FIRST_DAY: Final = date(2000, 1, 1)  # nothing ended before
LAST_DAY: Final = date(2999, 12, 31)
GROUPS: Final = "down_"  # a supplier's or member's accounts may have the same number

DATE: Final = Field("bill_date", "", "账单日期 yyyy-MM-dd，或月份 yyyy-MM", Text(10))
FORMAT: Final = Field(
    "format", "", "文件格式 csv（缺省）、csv.gz、xlsx、pdf", Text(8), required=False
)
EXCEL: Final = Field(
    "excel", "", "1：csv以BOM开头且各单元格以`开头，便于Excel打开", Choice((0, 1)), required=False
)
BILL: Final = (oms.CHANNEL_NO, DATE, FORMAT, EXCEL)


def _read(kind: str) -> Callable[[Inbound], pb.GetBillLinkRequest]:
    """A reader of which bill of the channel is meant."""
    bill = bill_of(kind, GROUPS, BILL)
    return lambda request: pb.GetBillLinkRequest(bill=bill(request))


def bill_of(
    kind: str, groups: str, fields: tuple[Field, ...]
) -> Callable[[Inbound], pb.MakeBillRequest]:
    """A reader of which bill is meant, of channels or of suppliers."""

    def read(request: Inbound) -> pb.MakeBillRequest:
        values = values_of(request, fields)
        first, last = _days(values["bill_date"])
        found = FORMATS.get(values.get("format", "csv"))
        if found is None:
            raise Malformed("format", ParameterError.UNREADABLE, f"应为 {'、'.join(FORMATS)}")
        name, packed = found
        excel = bool(values.get("excel", 0))
        if excel and (packed or name != "csv"):
            raise Malformed("excel", ParameterError.UNREADABLE, "仅适用于csv")
        return pb.MakeBillRequest(
            kind=kind,
            eid=values["channel_no"],
            groups=groups if kind == "fund" else "",
            first_day=first.isoformat(),
            last_day=last.isoformat(),
            format=name,
            packed=packed,
            bom=excel,
            backtick=excel,
        )

    return read


def _days(text: str) -> tuple[date, date]:
    """The day, or the first and last day of the month. Raises Malformed."""
    month = len(text) == MONTH_CHARS
    first = day_of(f"{text}-01" if month else text)
    if first is None or not FIRST_DAY <= first <= LAST_DAY:
        raise Malformed("bill_date", ParameterError.UNREADABLE, "应为 yyyy-MM-dd 或 yyyy-MM")
    return first, first.replace(
        day=calendar.monthrange(first.year, first.month)[1]
    ) if month else first


def write(answer: pb.GetBillLinkResponse, request: Inbound) -> Outbound:
    """How far the bill is, and its link."""
    bill = answer.bill
    shown: dict[str, Any] = {
        "channel_no": request.params["channel_no"],
        "bill_date": request.params["bill_date"],
        "status": _status(answer),
    }
    if answer.token:
        shown |= {
            "url": f"{request.base_url}{FILES}/{answer.token}/{bill.file}",
            "expire_time": beijing(answer.expire_time.ToDatetime(UTC)),
            "file": bill.file,
            "sha256": bill.sha256,
            "bytes": bill.bytes,
            "rows": bill.rows,
        }
    return Outbound(200, shown)


def _status(answer: pb.GetBillLinkResponse) -> str:
    """READY; MAKING: in moments; WAITING: its days are not complete; FAILED: we look into it."""
    if not answer.HasField("bill"):
        return "WAITING"
    published = answer.bill.status == pb.BILL_STATUS_PUBLISHED
    return (
        "READY"
        if published
        else "MAKING"
        if answer.bill.status == pb.BILL_STATUS_MAKING
        else "FAILED"
    )


def _endpoint(path: str, title: str, kind: str) -> Endpoint[Any, Any]:
    return Endpoint(
        path=path,
        methods=oms.BOTH,
        source=SOURCE,
        title=title,
        fields=(*BILL, *oms.SIGNING),
        read=_read(kind),
        call=Unary(f"{SERVICE}/GetBillLink"),
        write=write,
    )


PARTNER: Final = Partner(
    name="bills",
    role="channel",
    refuse=oms.refuse,
    endpoints=(
        _endpoint("/bill/trade", "交易账单接口：某日或某月结束的订单与退款", "trade"),
        _endpoint("/bill/fund", "资金账单接口：某日或某月账户的每一笔变动", "fund"),
    ),
)
