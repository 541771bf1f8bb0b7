"""SupplierService: supplier channels configured, listed and switched."""

from __future__ import annotations

from typing import cast

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as pb_grpc
from shoudan_delivery import suppliers
from shoudan_delivery.context import Context
from shoudan_delivery.inbound import SupplierCall
from shoudan_delivery.refusals import FieldInvalid
from shoudan_delivery.rpc.bounds import bounded
from shoudan_delivery.states import DealCode, SupplierState
from shoudan_delivery.store.rows import Supplier
from shoudan_delivery.store.unmapped import Unmapped
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.messages import RpcContext

PARAMS_MAX = 32
BODY_BYTES_MAX = 64 * 1024


class SupplierServicer(pb_grpc.SupplierServiceServicer):
    """shoudan.delivery.v1.SupplierService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ApplySuppliers(
        self, request: pb.ApplySuppliersRequest, context: RpcContext
    ) -> pb.ApplySuppliersResponse:
        """Make the channels given exactly so."""
        bounded(request.suppliers)
        given = [_supplier(one) for one in request.suppliers]
        made = await suppliers.apply(
            self._context.app,
            self._context.suppliers,
            given,
            dry_run=request.dry_run,
            base=request.base,
        )
        return pb.ApplySuppliersResponse(changes=made.changes, base=made.base)

    async def ListSuppliers(
        self, request: pb.ListSuppliersRequest, context: RpcContext
    ) -> pb.ListSuppliersResponse:
        """All channels with their states, as the database has them now."""
        found = await suppliers.stored(self._context.app)
        return pb.ListSuppliersResponse(suppliers=[_shown(one) for one in found])

    async def ListUnmappedCodes(
        self, request: pb.ListUnmappedCodesRequest, context: RpcContext
    ) -> pb.ListUnmappedCodesResponse:
        """Codes in answers of suppliers that no error code explains."""
        found = await suppliers.unmapped(self._context.app, request.channel_no)
        return pb.ListUnmappedCodesResponse(codes=map(_unmapped, found))

    async def CheckSupplierCall(
        self, request: pb.CheckSupplierCallRequest, context: RpcContext
    ) -> pb.CheckSupplierCallResponse:
        """Whether a supplier signed it."""
        if len(request.params) > PARAMS_MAX or len(request.body) > BODY_BYTES_MAX:
            raise FieldInvalid(
                "params", f"at most {PARAMS_MAX}, and {BODY_BYTES_MAX} bytes of body"
            )
        call = SupplierCall(
            channel_no=request.channel_no,
            method=request.method,
            path=request.path,
            params=dict(request.params),
            body=request.body,
            remote_ip=request.remote_ip,
        )
        self._context.verifier.check_call(call, self._context.app.clock.now())
        return pb.CheckSupplierCallResponse()

    async def SetSupplierState(
        self, request: pb.SetSupplierStateRequest, context: RpcContext
    ) -> pb.SetSupplierStateResponse:
        """Suspend, resume, hold or release."""
        if request.state not in set(SupplierState):
            raise FieldInvalid("state", "OPEN, SUSPENDED or HELD")
        found = await suppliers.set_state(
            self._context.app,
            self._context.suppliers,
            (request.channel_no, request.service_class),
            SupplierState(request.state),
            request.by,
            request.reason,
        )
        return pb.SetSupplierStateResponse(suppliers=[_shown(one) for one in found])


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
        delivers_cards=one.delivers_cards,
        template=one.template,
    )


def _deal_code(number: int) -> DealCode:
    if number not in set(DealCode):
        raise FieldInvalid("deal_code", "0, 10 or 90")
    return DealCode(number)


def _unmapped(one: Unmapped) -> pb.ListUnmappedCodesResponse.UnmappedCode:
    made = pb.ListUnmappedCodesResponse.UnmappedCode(
        channel_no=one.channel_no,
        service_class=one.service_class,
        error_code=one.error_code,
        desc=one.error_desc,
        answers=one.answers,
        coop_order_id=one.coop_order_id,
    )
    made.create_time.FromDatetime(one.create_time)
    made.last_update_time.FromDatetime(one.last_update_time)
    return made


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
        delivers_cards=one.delivers_cards,
        template=one.template,
        balance_yuan="" if one.balance_micros is None else micros_to_yuan(one.balance_micros),
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
