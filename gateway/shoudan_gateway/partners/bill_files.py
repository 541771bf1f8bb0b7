"""Files of bills, by the link that `/bill/trade` and `/bill/fund` gave; the link is what proves the caller.

Source: docs/reference/http/bills.md.
"""

from __future__ import annotations

from typing import Final

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan_gateway.fields import Text
from shoudan_gateway.partners import bills, oms
from shoudan_gateway.protocol import (
    Endpoint,
    Failure,
    Field,
    File,
    Inbound,
    Outbound,
    Partner,
    Stream,
)
from shoudan_kit.rpc.refusal import Refused

TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "gz": "application/gzip",
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
ANY_TYPE: Final = "application/octet-stream"
GONE: Final = "ERROR_REASON_BILL_LINK_NOT_FOUND"


def _read(request: Inbound) -> pb.DownloadBillRequest:
    return pb.DownloadBillRequest(token=request.path_params["token"])


def _write(answer: File, request: Inbound) -> Outbound:
    suffix = request.path_params["file"].rpartition(".")[2]
    return Outbound(200, b"", TYPES.get(suffix, ANY_TYPE), file=answer)


def _refuse(failure: Failure, request: Inbound, legacy: bool) -> Outbound:
    if isinstance(failure, Refused) and failure.reason == GONE:
        return oms.error(404, 404, "账单链接无效或已过期", legacy)
    return oms.refuse(failure, request, legacy)


PARTNER: Final = Partner(
    name="bill_files",
    role="public",
    refuse=_refuse,
    endpoints=(
        Endpoint(
            path=bills.FILES + "/{token}/{file}",
            methods=frozenset({"GET"}),
            source=bills.SOURCE,
            title="账单下载地址，由账单接口返回",
            fields=(
                Field("token", "token", "链接中的凭证", Text(64)),
                Field("file", "", "文件名", Text(256)),
            ),
            read=_read,
            call=Stream(f"{bills.SERVICE}/DownloadBill"),
            write=_write,
        ),
    ),
)
