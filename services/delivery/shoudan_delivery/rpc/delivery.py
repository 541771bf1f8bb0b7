"""DeliveryService: deliveries taken, asked about, ended by a person; suppliers' notifies."""

from __future__ import annotations

from datetime import UTC
from typing import cast

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as pb_grpc
from shoudan_delivery import deliveries
from shoudan_delivery.context import Context
from shoudan_delivery.deliveries import Created
from shoudan_delivery.protocols import InboundNotify
from shoudan_delivery.refusals import DeliveryRefusal, FieldInvalid
from shoudan_delivery.rpc.bounds import ID_MAX, bounded, newest_before, page_size, stamp
from shoudan_delivery.states import Status
from shoudan_delivery.store.rows import Delivery, Incident, Key, NewDelivery, Verdict
from shoudan_delivery.store.suppliers import DeliveryFilter
from shoudan_kit.ids import first_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded

TEXT_MAX = 64
PARAMS_BYTES_MAX = 2_000
NUM_MAX = 10_000
FACE_MICROS_MAX = 10**13
TIMEOUT_S_MAX = 30 * 86_400
BODY_BYTES_MAX = 64 * 1024
SAID = {Verdict.SUCCEEDED: pb.STATUS_SUCCEEDED, Verdict.FAILED: pb.STATUS_FAILED}

_params = msgspec.json.Decoder(dict[str, str]).decode


class DeliveryServicer(pb_grpc.DeliveryServiceServicer):
    """shoudan.delivery.v1.DeliveryService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def CreateDeliveries(
        self, request: pb.CreateDeliveriesRequest, context: RpcContext
    ) -> pb.CreateDeliveriesResponse:
        """Take deliveries, one transaction for all of them."""
        bounded(request.items)
        read = [_new(item) for item in request.items]
        good = [one for one in read if isinstance(one, NewDelivery)]
        made = iter(await shielded(deliveries.create(self._context, good)) if good else [])
        results = [next(made) if isinstance(one, NewDelivery) else one for one in read]
        return pb.CreateDeliveriesResponse(results=[_created(one) for one in results])

    async def QueryDeliveries(
        self, request: pb.QueryDeliveriesRequest, context: RpcContext
    ) -> pb.QueryDeliveriesResponse:
        """How deliveries stand."""
        bounded(request.keys)
        keys = [_key(key) for key in request.keys]
        found = await deliveries.find(self._context, keys) if keys else []
        return pb.QueryDeliveriesResponse(
            results=[
                pb.QueryDeliveriesResponse.Result(delivery=_delivery(one))
                if isinstance(one, Delivery)
                else pb.QueryDeliveriesResponse.Result(refusal=one.to_proto())
                for one in found
            ]
        )

    async def QuerySupplierNumbers(
        self, request: pb.QuerySupplierNumbersRequest, context: RpcContext
    ) -> pb.QuerySupplierNumbersResponse:
        """What suppliers know deliveries by."""
        bounded(request.keys)
        keys = [_key(key) for key in request.keys]
        found = await deliveries.supplier_numbers(self._context, keys) if keys else []
        result = pb.QuerySupplierNumbersResponse.Result
        return pb.QuerySupplierNumbersResponse(
            results=[
                result(order_no=str(order_no) if order_no else "", account=account)
                for order_no, account in found
            ]
        )

    async def AskSupplier(
        self, request: pb.AskSupplierRequest, context: RpcContext
    ) -> pb.AskSupplierResponse:
        """Ask now about an unknown delivery; the answer gives it as it stands before."""
        found = await deliveries.ask_now(self._context, _key(request.key))
        return pb.AskSupplierResponse(delivery=_delivery(found))

    async def ReadSupplierAnswer(
        self, request: pb.ReadSupplierAnswerRequest, context: RpcContext
    ) -> pb.ReadSupplierAnswerResponse:
        """What the supplier says now."""
        found, outcome = await deliveries.read_answer(self._context, _key(request.key))
        return pb.ReadSupplierAnswerResponse(
            delivery=_delivery(found),
            said=SAID.get(outcome.verdict, pb.STATUS_SENDING),
            code=outcome.code[:TEXT_MAX],
            desc=outcome.desc[:256],
            up_order_no=outcome.up_order_no[:TEXT_MAX],
        )

    async def ResolveDelivery(
        self, request: pb.ResolveDeliveryRequest, context: RpcContext
    ) -> pb.ResolveDeliveryResponse:
        """End an unknown delivery by a person's decision."""
        given = request.HasField("status")  # 0 is success: what is not set decides nothing
        if not given or request.status not in {Status.SUCCEEDED, Status.FAILED}:
            raise FieldInvalid("status", "SUCCEEDED or FAILED")
        if not request.by or not request.reason:
            raise FieldInvalid("by", "who decides and why must be said")
        status = Status(request.status)
        key, by, reason = _key(request.key), request.by, request.reason
        found = await deliveries.resolve(self._context, key, status, by, reason)
        return pb.ResolveDeliveryResponse(delivery=_delivery(found))

    async def TakeNotify(
        self, request: pb.TakeNotifyRequest, context: RpcContext
    ) -> pb.TakeNotifyResponse:
        """Take a supplier's notify; `success` only once what it says is committed."""
        if len(request.body) > BODY_BYTES_MAX:
            raise FieldInvalid("body", f"at most {BODY_BYTES_MAX} bytes")
        notify = InboundNotify(
            request.method,
            request.query,
            request.body,
            dict(request.headers),
            request.remote_ip,
        )
        body = await deliveries.take_notify(
            self._context, request.channel_no, request.service_class, notify
        )
        return pb.TakeNotifyResponse(http_status=200, content_type="text/plain", body=body)

    async def TakePrices(
        self, request: pb.TakePricesRequest, context: RpcContext
    ) -> pb.TakePricesResponse:
        """Take a supplier's notify of prices and stock; `success` only once it is committed."""
        if len(request.body) > BODY_BYTES_MAX:
            raise FieldInvalid("body", f"at most {BODY_BYTES_MAX} bytes")
        notify = InboundNotify(
            request.method,
            request.query,
            request.body,
            dict(request.headers),
            request.remote_ip,
        )
        body = await shielded(
            deliveries.take_prices(self._context, request.channel_no, request.service_class, notify)
        )
        return pb.TakePricesResponse(http_status=200, content_type="text/plain", body=body)

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: RpcContext
    ) -> pb.ListDeliveriesResponse:
        """One page of deliveries, newest first."""
        most = page_size(request.page_size)
        before = newest_before(request.page_token)
        if request.HasField("end_time"):
            before = min(before, _first_id(request.end_time))
        since = _first_id(request.start_time) if request.HasField("start_time") else 0
        wanted = DeliveryFilter(
            channel_no=request.channel_no,
            order_id=request.order_id,
            up_order_no=request.up_order_no,
            statuses=list(request.statuses),
            conflict=request.conflict,
            since=since,
        )
        found, token = await deliveries.page(self._context, wanted, before, most)
        return pb.ListDeliveriesResponse(
            deliveries=[_delivery(one) for one in found], next_page_token=token
        )

    async def ListIncidents(
        self, request: pb.ListIncidentsRequest, context: RpcContext
    ) -> pb.ListIncidentsResponse:
        """One page of incidents, newest first."""
        most = page_size(request.page_size)
        before = newest_before(request.page_token)
        found, token = await deliveries.incidents(
            self._context, request.channel_no, request.coop_order_id, before, most
        )
        return pb.ListIncidentsResponse(
            incidents=[_incident(one) for one in found],
            next_page_token=token,
        )


# ---------------------------------------------------------------- in
def _first_id(when: Timestamp) -> int:
    """The least number made at or after `when`."""
    return first_of(when.ToDatetime(UTC))


def _key(key: pb.DeliveryKey) -> Key:
    return Key(key.coop_id, key.coop_order_id, key.service_class)


def _new(item: pb.CreateDeliveriesRequest.Item) -> NewDelivery | FieldInvalid:
    """The item as a value, or what is wrong with it."""
    key = item.key
    texts = {
        "coop_id": key.coop_id,
        "channel_no": item.channel_no,
        "carrier_no": item.carrier_no,
        "account": item.account,
        "order_id": item.order_id,
    }
    for name, text in texts.items():
        if len(text) > TEXT_MAX or "\0" in text:
            return FieldInvalid(name, f"at most {TEXT_MAX} characters, none of them NUL")
    if not (key.coop_order_id.isascii() and key.coop_order_id.isdecimal()):
        return FieldInvalid("coop_order_id", "a number")
    if not 0 < int(key.coop_order_id[:20]) <= ID_MAX:
        return FieldInvalid("coop_order_id", "a positive number of 63 bits")
    if not key.coop_id or not item.channel_no:
        return FieldInvalid("coop_id", "coop_id and channel_no must not be empty")
    if not 0 <= item.face_micros <= FACE_MICROS_MAX or item.face_micros % 10:
        return FieldInvalid("face_micros", "not negative, whole tens of micros")
    if not 1 <= item.num <= NUM_MAX:
        return FieldInvalid("num", f"1 to {NUM_MAX}")
    if not 1 <= item.timeout_s <= TIMEOUT_S_MAX:
        return FieldInvalid("timeout_s", f"1 to {TIMEOUT_S_MAX}")
    params = dict(sorted(item.params.items()))  # a map of a message has no order
    if sum(len(k) + len(v) + 6 for k, v in params.items()) > PARAMS_BYTES_MAX:
        return FieldInvalid("params", f"at most {PARAMS_BYTES_MAX} characters")
    return NewDelivery(
        _key(key),
        item.channel_no,
        item.carrier_no,
        item.face_micros,
        item.num,
        item.account,
        item.timeout_s,
        params,
        item.order_id,
    )


# ---------------------------------------------------------------- out
def _created(one: Created | DeliveryRefusal) -> pb.CreateDeliveriesResponse.Result:
    if isinstance(one, Created):
        return pb.CreateDeliveriesResponse.Result(
            delivery=_delivery(one.delivery), existed=one.existed
        )
    return pb.CreateDeliveriesResponse.Result(refusal=one.to_proto())


def _delivery(one: Delivery) -> pb.Delivery:
    return pb.Delivery(
        key=pb.DeliveryKey(
            coop_id=one.coop_id,
            coop_order_id=one.coop_order_id,
            service_class=one.service_class,
        ),
        order_no=str(one.order_no),
        channel_no=one.channel_no,
        status=cast("pb.Status.ValueType", int(one.status)),
        result_source=cast("pb.ResultSource.ValueType", int(one.result_source)),
        result_code=one.result_code,
        result_desc=one.result_desc,
        up_order_no=one.up_order_no,
        succ_face_micros=one.succ_face_micros,
        result_params=_params(one.result_params) if one.result_params else {},
        create_time=stamp(one.create_time),
        request_start_time=stamp(one.request_start_time),
        request_finish_time=stamp(one.request_finish_time),
        conflict=one.conflict,
        query_count=one.query_count,
    )


def _incident(one: Incident) -> pb.ListIncidentsResponse.Incident:
    return pb.ListIncidentsResponse.Incident(
        id=one.id,
        coop_id=one.coop_id,
        coop_order_id=one.coop_order_id,
        channel_no=one.channel_no,
        service_class=one.service_class,
        error_msg=one.error_msg,
        create_time=stamp(one.create_time),
    )
