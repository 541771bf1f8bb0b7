"""What the order service publishes: subjects, documented tags, the body and line of text of each event."""

from __future__ import annotations

from typing import Final, Protocol

from shoudan.order.v1 import events_pb2
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order.states import OrderStatus

ORDER_SUBJECT: Final = "shoudan.events.order.order."
REFUND_SUBJECT: Final = "shoudan.events.order.refund."
ENDPOINT_SUBJECT: Final = "shoudan.events.order.endpoint."
CATALOGUE_SUBJECT: Final = "shoudan.events.order.catalogue.changed"

# The documented lifecycle tags (lcs).
ORDERED: Final = "下单"
DOWN_PAY: Final = "下游支付"
BIND: Final = "最低价绑定"
START: Final = "开始发货"
FINISH: Final = "发货完成"
UP_PAY: Final = "上游支付"
NOTIFY: Final = "下游通知"
TIMEOUT: Final = "订单超时处理"
DELIVERY_TIMEOUT: Final = "发货超时处理"
GENERAL: Final = "普通退款"
MANDATORY: Final = "强制退款"
RETURN: Final = "退货处理"
RETURNED: Final = "完成退货处理"
UP_REFUND: Final = "上游退款处理"
DOWN_REFUND: Final = "支付退款处理"
FAIL_REFUND: Final = "订单失败退款处理"
REFUND_NOTIFY: Final = "退款通知处理"
REFUND_TIMEOUT: Final = "退款超时处理"
RETURN_UNKNOWN: Final = "退货未知处理"
AUDIT: Final = "人工审核"


class Named(Protocol):
    """What carries the three numbers of an order."""

    @property
    def order_id(self) -> int: ...
    @property
    def down_channel_no(self) -> str: ...
    @property
    def request_no(self) -> str: ...


def order_event(
    work: UnitOfWork,
    what: str,
    order: Named,
    status: OrderStatus,
    tag: str,
    text: str = "",
    *,
    success_face_micros: int = 0,
    delivery_id: int = 0,
) -> None:
    """Publish that an order changed: `what` is the last word of the subject."""
    body = events_pb2.OrderChanged(
        order_id=order.order_id,
        channel_no=order.down_channel_no,
        request_no=order.request_no,
        status=int(status),
        success_face_micros=success_face_micros,
        delivery_id=delivery_id,
    )
    work.events.add(ORDER_SUBJECT + what, key=str(order.order_id), body=body, tag=tag, text=text)


class RefundNamed(Protocol):
    """What carries the numbers of a refund."""

    @property
    def refund_id(self) -> int: ...
    @property
    def order_id(self) -> int: ...
    @property
    def down_channel_no(self) -> str: ...
    @property
    def down_refund_no(self) -> str: ...


def refund_event(
    work: UnitOfWork, what: str, refund: RefundNamed, status: int, tag: str, text: str = ""
) -> None:
    """Publish that a refund changed, under its order's number."""
    body = events_pb2.RefundChanged(
        refund_id=refund.refund_id,
        order_id=refund.order_id,
        channel_no=refund.down_channel_no,
        refund_no=refund.down_refund_no,
        status=int(status),
    )
    key = str(refund.order_id)
    work.events.add(REFUND_SUBJECT + what, key=key, body=body, tag=tag, text=text)


def catalogue_event(work: UnitOfWork, version: int, by: str) -> None:
    """Publish that the catalogue has a new version."""
    body = events_pb2.CatalogueChanged(version=version, by=by)
    work.events.add(
        CATALOGUE_SUBJECT, key="catalogue", body=body, text=f"version {version} by {by}"
    )


def endpoint_event(
    work: UnitOfWork, what: str, body: events_pb2.EndpointChanged, text: str
) -> None:
    """Publish how an endpoint of a channel does: `what` is the last word of the subject."""
    work.events.add(ENDPOINT_SUBJECT + what, key=body.endpoint_no, body=body, text=text)
