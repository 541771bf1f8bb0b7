"""Calls about templates and modes of paying, and about pages of any collection."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_pay.payserver.lists import Lists
from shoudan_pay.payserver.modes import Modes, NewMode
from shoudan_pay.payserver.store.lists import Collection, Wanted
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import payment_messages
from shoudan_pay.rpc.ledger_messages import text

ORDER_MAX: Final = 1_000_000


class ModeCalls:
    """The part of PaymentService that is about ways of paying and about pages."""

    _modes: Modes
    _lists: Lists

    async def RegisterTemplate(
        self, request: pb.RegisterTemplateRequest, context: RpcContext
    ) -> pb.RegisterTemplateResponse:
        """Make it, or give the one that exists these terms."""
        template_id = text("payTemplateId", request.template_id, 64)
        made, changes = await self._modes.register(
            template_id,
            request.uuid,
            partial(payment_messages.terms, request.terms),
            dry_run=request.dry_run,
        )
        shown = None if made is None else payment_messages.template_message(made)
        return pb.RegisterTemplateResponse(template=shown, changes=changes)

    async def CreateMode(
        self, request: pb.CreateModeRequest, context: RpcContext
    ) -> pb.CreateModeResponse:
        """Of a template, or of its own; a template's environment check is called first."""
        merchant = text("merchantUUID", request.merchant_uuid, 64)
        href = text("merchantHref", request.merchant_href, payment_messages.URL_MAX, optional=True)
        template_id = text("payTemplateId", request.template_id, 64, optional=True)
        if not 0 <= request.ui_order <= ORDER_MAX:
            raise FieldInvalid("uiOrder", f"is not within 0..{ORDER_MAX}")
        new = NewMode(
            request.uuid,
            template_id,
            merchant,
            href,
            request.fast,
            request.opened,
            request.ui_order,
        )
        made = await self._modes.create(new, partial(payment_messages.terms, request.terms))
        return pb.CreateModeResponse(mode=payment_messages.mode_message(made))

    async def UpdateMode(
        self, request: pb.UpdateModeRequest, context: RpcContext
    ) -> pb.UpdateModeResponse:
        """Change what is set."""
        changed = {
            name: getattr(request, name)
            for name in ("fast", "opened", "ui_order")
            if request.HasField(name)
        }
        made = await self._modes.update(
            request.caller.merchant_uuid,
            payment_messages.resource(request.uuid),
            partial(payment_messages.terms, request.terms),
            changed,
        )
        return pb.UpdateModeResponse(mode=payment_messages.mode_message(made))

    async def ListAllModes(
        self, request: pb.ListAllModesRequest, context: RpcContext
    ) -> pb.ListAllModesResponse:
        """A merchant's modes, and the templates it has none of."""
        merchant = text("merchantUUID", request.merchant_uuid, 64)
        orderings = payment_messages.orderings(request.orderings)
        modes, templates = await self._lists.modes_of(merchant, orderings)
        return pb.ListAllModesResponse(
            modes=[payment_messages.mode_message(one) for one in modes],
            templates=[payment_messages.template_message(one) for one in templates],
        )

    async def ListResources(
        self, request: pb.ListResourcesRequest, context: RpcContext
    ) -> pb.ListResourcesResponse:
        """One page, with the to-one resources that were to be fetched."""
        collection = payment_messages.COLLECTIONS.get(request.collection)
        if collection is None:
            raise FieldInvalid("collection", "is none that can be listed")
        offset, limit = payment_messages.page(request)
        wanted = Wanted(
            collection,
            merchant_uuid=request.caller.merchant_uuid,
            uuid=payment_messages.resource(request.uuid),
            conditions=payment_messages.conditions(request.filters),
            orderings=payment_messages.orderings(request.orderings),
            offset=offset,
            limit=limit,
        )
        parent = None
        if request.parent_uuid:
            uuid = payment_messages.resource(request.parent_uuid)
            parent = payment_messages.COLLECTIONS.get(request.parent), uuid
        found = await self._lists.page(wanted, parent, set(request.expand))
        answer = _answer(collection, found.rows, found.size)
        answer.modes.extend(map(payment_messages.mode_message, found.modes))
        answer.pays.extend(map(payment_messages.pay_message, found.pays))
        return answer


def _answer(collection: Collection, rows: Sequence[Any], size: int) -> pb.ListResourcesResponse:
    answer = pb.ListResourcesResponse(size=size)
    if collection is Collection.TEMPLATES:
        answer.templates.extend(map(payment_messages.template_message, rows))
    elif collection is Collection.MODES:
        answer.modes.extend(map(payment_messages.mode_message, rows))
    elif collection is Collection.PAYS:
        answer.pays.extend(map(payment_messages.pay_message, rows))
    elif collection is Collection.REFUNDS:
        answer.refunds.extend(map(payment_messages.refund_message, rows))
    else:
        answer.trades.extend(map(payment_messages.trade_message, rows))
    return answer
