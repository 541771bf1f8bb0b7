"""The servicers: messages to values and back, shape checks, no rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as pb_grpc
from shoudan_delivery import deliveries, events, suppliers, verdicts
from shoudan_delivery.channels import Heard, protocol_of
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.deliveries import Created
from shoudan_delivery.inbound import Door
from shoudan_delivery.kinds import ASK, Ask
from shoudan_delivery.lanes import Lanes
from shoudan_delivery.refusals import (
    DeliveryRefusal,
    FieldInvalid,
)
from shoudan_delivery.senders import Senders
from shoudan_delivery.states import DealCode, Source, Status, SupplierState
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store import suppliers as supplier_store
from shoudan_delivery.store.rows import (
    Delivery,
    Incident,
    Key,
    NewDelivery,
    Supplier,
)
from shoudan_delivery.suppliers import Suppliers
from shoudan_kit.db import retry
from shoudan_kit.ids import EPOCH, TIME_SHIFT
from shoudan_kit.rpc import RpcContext
from shoudan_kit.sealing import SealedColumn
from shoudan_kit.service import App
from shoudan_kit.shielded import shielded

ITEMS_MAX = 1_000
PAGE_DEFAULT = 100
TEXT_MAX = 64
PARAMS_BYTES_MAX = 2_000
NUM_MAX = 10_000
FACE_MICROS_MAX = 10**13
TIMEOUT_S_MAX = 30 * 86_400
BODY_BYTES_MAX = 64 * 1024
ID_MAX = 2**63 - 1

_params = msgspec.json.Decoder(dict[str, str]).decode


class DeliveryServicer(pb_grpc.DeliveryServiceServicer):
    """shoudan.delivery.v1.DeliveryService."""

    def __init__(
        self,
        app: App[DeliverySettings],
        suppliers: Suppliers,
        senders: Senders,
        lanes: Lanes,
        door: Door,
        local_ip: str,
        accounts: SealedColumn,
    ) -> None:
        self._accounts = accounts
        self._app, self._suppliers, self._senders = app, suppliers, senders
        self._lanes, self._door, self._local_ip = lanes, door, local_ip

    async def CreateDeliveries(
        self, request: pb.CreateDeliveriesRequest, context: RpcContext
    ) -> pb.CreateDeliveriesResponse:
        """Take deliveries, one transaction for all of them."""
        _bounded(request.items)
        read = [_new(item) for item in request.items]
        good = [one for one in read if isinstance(one, NewDelivery)]
        made = iter(await shielded(self._create(good)) if good else [])
        results = [next(made) if isinstance(one, NewDelivery) else one for one in read]
        return pb.CreateDeliveriesResponse(results=[_created(one) for one in results])

    async def _create(self, given: Sequence[NewDelivery]) -> list[Created | DeliveryRefusal]:
        async def once() -> list[Created | DeliveryRefusal]:
            async with self._app.work("delivery.create") as work:
                return await deliveries.create(
                    work, self._suppliers, self._app.ids, given, self._local_ip, self._accounts
                )

        return await retry(once)

    async def QueryDeliveries(
        self, request: pb.QueryDeliveriesRequest, context: RpcContext
    ) -> pb.QueryDeliveriesResponse:
        """How deliveries stand."""
        _bounded(request.keys)
        keys = [_key(key) for key in request.keys]
        async with self._app.db.connect() as db:
            found = await deliveries.find(db, keys) if keys else []
        return pb.QueryDeliveriesResponse(
            results=[
                pb.QueryDeliveriesResponse.Result(delivery=_delivery(one))
                if isinstance(one, Delivery)
                else pb.QueryDeliveriesResponse.Result(refusal=one.to_proto())
                for one in found
            ]
        )

    async def AskSupplier(
        self, request: pb.AskSupplierRequest, context: RpcContext
    ) -> pb.AskSupplierResponse:
        """Ask now about an unknown delivery; the answer gives it as it stands before."""
        async with self._app.work("delivery.ask_now") as work:
            found = await deliveries.find_one(work.db, _key(request.key))
            looked = await store.look(work.db, [found.order_no])
            sender = self._senders.of(found.channel_no, found.service_class)
            if found.status is Status.SENDING:
                work.tasks.add(
                    ASK,
                    Ask(found.order_no),
                    order_no=str(found.order_no),
                    queue=sender.supplier.queue_name if sender is not None else None,
                )
        if sender is not None:
            for status, row in looked:
                if status is Status.SENDING:
                    sender.ask(row)
        return pb.AskSupplierResponse(delivery=_delivery(found))

    async def ResolveDelivery(
        self, request: pb.ResolveDeliveryRequest, context: RpcContext
    ) -> pb.ResolveDeliveryResponse:
        """End an unknown delivery by a person's decision."""
        if request.status not in {Status.SUCCEEDED, Status.FAILED}:
            raise FieldInvalid("status", "SUCCEEDED or FAILED")
        if not request.by or not request.reason:
            raise FieldInvalid("by", "who decides and why must be said")
        key = _key(request.key)
        async with self._app.db.connect() as db:
            found = await deliveries.find_one(db, key)
        finding = deliveries.resolution(found, Status(request.status), request.by, request.reason)
        if finding is not None:
            lane = self._lanes.of(found.channel_no, found.service_class)
            await shielded(lane.settle(finding))
        async with self._app.db.connect() as db:
            found = await deliveries.find_one(db, key)
        deliveries.resolution(found, Status(request.status), request.by, request.reason)
        return pb.ResolveDeliveryResponse(delivery=_delivery(found))

    async def TakeNotify(
        self, request: pb.TakeNotifyRequest, context: RpcContext
    ) -> pb.TakeNotifyResponse:
        """Take a supplier's notify; `success` only once what it says is committed."""
        if len(request.body) > BODY_BYTES_MAX:
            raise FieldInvalid("body", f"at most {BODY_BYTES_MAX} bytes")
        heard = Heard(
            request.method,
            request.query,
            request.body,
            dict(request.headers),
            request.remote_ip,
        )
        channel_no, service_class = request.channel_no, request.service_class
        supplier, reply, order_no = self._door.admit(channel_no, service_class, heard)
        async with self._app.db.connect() as db:
            looked = await store.look(db, [order_no])
        if not looked or (looked[0][1].channel_no, looked[0][1].service_class) != supplier.key:
            raise self._door.refusal(channel_no, service_class, heard)
        account = self._accounts.open(order_no, looked[0][1].account)
        row = msgspec.structs.replace(looked[0][1], account=account)
        finding = verdicts.of_reply(supplier, row, reply, Source.NOTIFY)
        finding.raw = verdicts.shown(heard.body, account)
        finding.remote_ip = heard.remote_ip[:64]
        await shielded(self._lanes.of(*supplier.key).settle(finding))
        self._door.accepted()
        return pb.TakeNotifyResponse(
            http_status=200, content_type="text/plain", body=protocol_of(supplier).thank()
        )

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: RpcContext
    ) -> pb.ListDeliveriesResponse:
        """One page of deliveries, newest first."""
        most = _page_size(request.page_size)
        before = _token(request.page_token)
        if request.HasField("end_time"):
            before = min(before, _first_id(request.end_time))
        since = _first_id(request.start_time) if request.HasField("start_time") else 0
        async with self._app.db.connect() as db:
            wanted = supplier_store.DeliveryFilter(
                channel_no=request.channel_no,
                order_id=request.order_id,
                up_order_no=request.up_order_no,
                statuses=list(request.statuses),
                conflict=request.conflict,
                since=since,
            )
            numbers, token = await supplier_store.list_deliveries(
                db, wanted, before=before, most=most
            )
            rows = await store.by_no(db, numbers)
        return pb.ListDeliveriesResponse(
            deliveries=[_delivery(rows[no]) for no in numbers if no in rows],
            next_page_token=token,
        )

    async def ListIncidents(
        self, request: pb.ListIncidentsRequest, context: RpcContext
    ) -> pb.ListIncidentsResponse:
        """One page of incidents, newest first."""
        most = _page_size(request.page_size)
        async with self._app.db.connect() as db:
            found, token = await supplier_store.list_incidents(
                db,
                channel_no=request.channel_no,
                coop_order_id=request.coop_order_id,
                before=_token(request.page_token),
                most=most,
            )
        return pb.ListIncidentsResponse(
            incidents=[_incident(one) for one in found],
            next_page_token=token,
        )


class SupplierServicer(pb_grpc.SupplierServiceServicer):
    """shoudan.delivery.v1.SupplierService."""

    def __init__(self, app: App[DeliverySettings], known: Suppliers) -> None:
        self._app, self._known = app, known

    async def ApplySuppliers(
        self, request: pb.ApplySuppliersRequest, context: RpcContext
    ) -> pb.ApplySuppliersResponse:
        """Make the channels given exactly so."""
        _bounded(request.suppliers)
        given = [_supplier(one) for one in request.suppliers]
        suppliers.check_secrets(given, self._app.settings)
        async with self._app.work("delivery.apply") as work:
            changes = await suppliers.apply(
                work,
                self._app.ids,
                given,
                self._app.settings.supplier_guard(),
                dry_run=request.dry_run,
            )
        await self._known.refresh()
        return pb.ApplySuppliersResponse(changes=changes)

    async def ListSuppliers(
        self, request: pb.ListSuppliersRequest, context: RpcContext
    ) -> pb.ListSuppliersResponse:
        """All channels with their states, as the database has them now."""
        async with self._app.db.connect() as db:
            found = await supplier_store.load(db)
        return pb.ListSuppliersResponse(suppliers=[_shown(one) for one in found])

    async def SetSupplierState(
        self, request: pb.SetSupplierStateRequest, context: RpcContext
    ) -> pb.SetSupplierStateResponse:
        """Suspend, resume, hold or release."""
        if request.state not in set(SupplierState):
            raise FieldInvalid("state", "OPEN, SUSPENDED or HELD")
        state = SupplierState(request.state)
        async with self._app.work("delivery.set_state") as work:
            switched = await suppliers.set_state(
                work,
                request.channel_no,
                request.service_class,
                state,
                request.by,
                request.reason,
            )
            found = [
                one
                for one in await supplier_store.load(work.db)
                if one.channel_no == request.channel_no and one.service_class in switched
            ]
            for one in found:
                events.switched(work, one, state, one.state_reason)
        await self._known.refresh()
        return pb.SetSupplierStateResponse(suppliers=[_shown(one) for one in found])


# ---------------------------------------------------------------- in
def _bounded(items: Sequence[Any]) -> None:
    if len(items) > ITEMS_MAX:
        raise FieldInvalid("items", f"at most {ITEMS_MAX}")


def _page_size(asked: int) -> int:
    if not 0 <= asked <= ITEMS_MAX:
        raise FieldInvalid("page_size", f"0 to {ITEMS_MAX}")
    return asked or PAGE_DEFAULT


def _token(token: str) -> int:
    if not token:
        return ID_MAX
    if not (token.isascii() and token.isdecimal() and len(token) <= 19):
        raise FieldInvalid("page_token", "not one of ours")
    return min(int(token), ID_MAX)


def _first_id(when: Timestamp) -> int:
    """The least number made at or after `when`."""
    epoch_ms = int(EPOCH.timestamp() * 1000)
    return max(0, when.ToMilliseconds() - epoch_ms) << TIME_SHIFT


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
    params = dict(item.params)
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


def _supplier(one: pb.Supplier) -> Supplier:
    """A channel as configured; fields left at 0 take the seed's example values."""
    return Supplier(
        id=0,
        channel_no=one.channel_no,
        service_class=one.service_class,
        protocol=one.protocol or "default",
        request_url=one.request_url,
        notify_url=one.notify_url,
        query_url=one.query_url,
        request_replenish_time_s=one.request_replenish_time_s or 100,
        first_query_time_s=one.first_query_time_s,
        query_replenish_time_s=one.query_replenish_time_s or 180,
        enabled=one.enabled,
        can_query=one.can_query,
        idempotent=one.idempotent,
        concurrency_max=one.concurrency_max or 32,
        timeout_s=round(one.timeout_s or 10, 3),
        secret_name=one.secret_name,
        queue_name=one.queue_name,
        deal_codes={code.error_code: _deal_code(code.deal_code) for code in one.error_codes},
        code_descs={code.error_code: code.error_code_desc for code in one.error_codes},
        ext_params=dict(one.ext_params),
        notify_networks=tuple(one.notify_networks),
        notify_without_token=one.notify_without_token,
    )


def _deal_code(number: int) -> DealCode:
    if number not in set(DealCode):
        raise FieldInvalid("deal_code", "0, 10 or 90")
    return DealCode(number)


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
        create_time=_stamp(one.create_time),
        request_start_time=_stamp(one.request_start_time),
        request_finish_time=_stamp(one.request_finish_time),
        conflict=one.conflict,
        query_count=one.query_count,
    )


def _stamp(when: datetime | None) -> Timestamp | None:
    if when is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(when)
    return stamp


def _incident(one: Incident) -> pb.ListIncidentsResponse.Incident:
    return pb.ListIncidentsResponse.Incident(
        id=one.id,
        coop_id=one.coop_id,
        coop_order_id=one.coop_order_id,
        channel_no=one.channel_no,
        service_class=one.service_class,
        error_msg=one.error_msg,
        create_time=_stamp(one.create_time),
    )


def _shown(one: Supplier) -> pb.Supplier:
    return pb.Supplier(
        channel_no=one.channel_no,
        service_class=one.service_class,
        protocol=one.protocol,
        request_url=one.request_url,
        notify_url=one.notify_url,
        query_url=one.query_url,
        request_replenish_time_s=one.request_replenish_time_s,
        first_query_time_s=one.first_query_time_s,
        query_replenish_time_s=one.query_replenish_time_s,
        can_query=one.can_query,
        idempotent=one.idempotent,
        concurrency_max=one.concurrency_max,
        timeout_s=one.timeout_s,
        enabled=one.enabled,
        secret_name=one.secret_name,
        queue_name=one.queue_name,
        ext_params=one.ext_params,
        notify_networks=one.notify_networks,
        notify_without_token=one.notify_without_token,
        error_codes=[
            pb.Supplier.ErrorCode(
                error_code=code,
                deal_code=deal,
                error_code_desc=one.code_descs.get(code, ""),
            )
            for code, deal in sorted(one.deal_codes.items())
        ],
        state=cast("pb.SupplierState.ValueType", int(one.state)),
        state_reason=one.state_reason,
    )
