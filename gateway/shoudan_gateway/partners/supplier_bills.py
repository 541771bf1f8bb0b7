"""A supplier's bills: asked for by calls signed with the secret of its channel, which delivery verifies.

Source: docs/reference/supplier.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan_gateway.fields import Text, Whole
from shoudan_gateway.partners import bills, vds
from shoudan_gateway.partners.oms import BOTH
from shoudan_gateway.protocol import Endpoint, Field, Inbound, Outbound, Partner, Unary

SOURCE: Final = "docs/reference/supplier.md"
GROUPS: Final = "up_"  # a channel's or member's accounts may have the same number
BODY_BYTES_MAX: Final = 65_536
CHANNEL: Final = Field("channel_no", "", "上游渠道编号", Text(32))
BILL: Final = (CHANNEL, bills.DATE, bills.FORMAT, bills.EXCEL)
SIGNING: Final = (
    Field("sign_type", "", "签名方式，固定为HMAC-SHA256-V2", Text(16)),
    Field("timestamp", "", "时间戳（秒），五分钟内有效", Whole()),
    Field("nonce", "", "随机串，16至64位", Text(64)),
    Field("sign", "", "签名，密钥为上游渠道的密钥", Text(128)),
)


def _read(kind: str) -> Callable[[Inbound], pb.GetSupplierBillLinkRequest]:
    """A reader of which bill of the supplier is meant, and of the call as it came."""
    bill = bills.bill_of(kind, GROUPS, (*BILL, *SIGNING))

    def read(request: Inbound) -> pb.GetSupplierBillLinkRequest:
        return pb.GetSupplierBillLinkRequest(
            bill=bill(request),
            method=request.method,
            path=request.path,
            params=request.params,
            body=request.body,
            remote_ip=request.remote,
        )

    return read


def _write(answer: pb.GetSupplierBillLinkResponse, request: Inbound) -> Outbound:
    return bills.write(answer.link, request)


def _endpoint(path: str, title: str, kind: str) -> Endpoint[Any, Any]:
    return Endpoint(
        path=path,
        methods=BOTH,
        source=SOURCE,
        title=title,
        fields=(*BILL, *SIGNING),
        read=_read(kind),
        call=Unary(f"{bills.SERVICE}/GetSupplierBillLink"),
        write=_write,
        body_bytes_max=BODY_BYTES_MAX,
    )


PARTNER: Final = Partner(
    name="supplier_bills",
    role="supplier",
    refuse=vds.refuse,
    endpoints=(
        _endpoint("/vds/bill/trade", "上游交易账单接口：某日或某月结束的发货与退货", "supply"),
        _endpoint("/vds/bill/fund", "上游资金账单接口：某日或某月账户的每一笔变动", "fund"),
    ),
)
