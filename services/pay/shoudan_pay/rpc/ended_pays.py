"""The call for what ended on a day: what other services keep books by."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_kit import clock
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.messages import RpcContext, filled
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import ended
from shoudan_pay.payserver.ended import Ended, Place
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.ledger_messages import page_size

FIRST_DAY: Final = date(2000, 1, 1)
LAST_DAY: Final = date(2999, 12, 30)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MOMENT_MAX: Final = (datetime(3000, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_KINDS: Final = {
    ("pay", False): pb.ENDED_KIND_PAY,
    ("pay", True): pb.ENDED_KIND_PAY_CORRECTED,
    ("refund", False): pb.ENDED_KIND_REFUND,
    ("refund", True): pb.ENDED_KIND_REFUND_CORRECTED,
}


class EndedCalls:
    """The part of PaymentService that is about days."""

    _app: App[PaySettings]

    async def ListEndedPays(
        self, request: pb.ListEndedPaysRequest, context: RpcContext
    ) -> pb.ListEndedPaysResponse:
        """By time and record."""
        day = clock.day_of(request.day)
        if day is None or not FIRST_DAY <= day <= LAST_DAY:
            raise FieldInvalid("day", "is no day of the form yyyy-mm-dd")
        after, most = _place(request.page_token), page_size(request.page_size)
        found, place = await ended.page(self._app, day, after, most)
        token = ""
        if place is not None:
            token = f"{(place.end_time - _EPOCH) // _MICROSECOND}.{place.record_id}"
        return pb.ListEndedPaysResponse(
            pays=[_message(one) for one in found], next_page_token=token
        )


def _place(text: str) -> Place | None:
    if not text:
        return None
    moment, _, number = text.partition(".")
    micros, record_id = id_of(moment), id_of(number)
    if micros is None or record_id is None or micros > _MOMENT_MAX:
        raise FieldInvalid("page_token", "was not given by this service")
    return Place(_EPOCH + micros * _MICROSECOND, record_id)


def _message(one: Ended) -> pb.EndedPay:
    return filled(
        pb.EndedPay,
        one.result,
        ended_kind=_KINDS[one.result.trade_type, one.corrected],
        component=one.component,
        succeeded=one.succeeded,
        moved_micros=one.moved_micros,
    )
