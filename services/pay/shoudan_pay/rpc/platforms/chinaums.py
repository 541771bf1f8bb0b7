"""ChinaumsService: cash desks ask about refunds of this system, ChinaUMS tells about ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1 import platform_service_pb2_grpc as grpc_stubs
from shoudan_kit import log
from shoudan_kit.clock import BEIJING, beijing
from shoudan_kit.rpc import RpcContext
from shoudan_kit.service import App
from shoudan_kit.shielded import shielded
from shoudan_kit.signing import key_signature
from shoudan_pay.channels import chinaums
from shoudan_pay.channels.chinaums import Detail
from shoudan_pay.channels.component import Heard, Word
from shoudan_pay.chinaums.kinds import ASK_UMS_NOW, AskUms
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.judging import fen
from shoudan_pay.payserver.states import PAID, PayStatus, RefundStatus
from shoudan_pay.platforms.refusals import AmountDiffers, IdsDisagree, NoOrder, ProofInvalid
from shoudan_pay.platforms.states import REFUND_ENDED
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.payserver.settling import Settling
from shoudan_pay.rpc.platforms.proofs import NOBODY, Proofs
from shoudan_pay.rpc.platforms.standing import refund_state
from shoudan_pay.rpc.platforms.wire import refund_state_message
from shoudan_pay.store.payserver import pays as pay_store
from shoudan_pay.store.payserver.pays import PayOrder
from shoudan_pay.store.platforms import callers, ums
from shoudan_pay.store.platforms.callers import TOKEN_S, UmsApp
from shoudan_pay.store.platforms.ums import Asked

TEMPLATE: Final = "4CE44A21-68DA-4ADA-B7EE-371187327F75"  # 银联
NUMBER_CHARS_MAX: Final = 64
LOGGED_CHARS_MAX: Final = 64
ENDS: Final = {chinaums.State.SUCCESS: Word.SUCCESS, chinaums.State.FAIL: Word.FAILED}

_log = log.get_logger("security")


class ChinaumsServicer(grpc_stubs.ChinaumsServiceServicer):
    """shoudan.pay.v1.ChinaumsService."""

    def __init__(self, app: App[PaySettings], proofs: Proofs, settling: Settling) -> None:
        self._app, self._proofs, self._settling = app, proofs, settling

    async def QueryUmsRefund(
        self, request: pb.QueryUmsRefundRequest, context: RpcContext
    ) -> pb.QueryUmsRefundResponse:
        """A refund of another merchant, and one of another mid, is like none."""
        app = await self._proofs.ums(request.proof)
        number = request.mer_order_id
        if not number or len(number) > NUMBER_CHARS_MAX:
            raise FieldInvalid("merOrderId", "is missing or too long")
        if (request.mid, request.tid) != (app.mid, app.tid):
            raise NoOrder(number)
        async with self._app.db.connect() as db:
            found = await ums.asked(
                db,
                merchant=app.merchant_uuid,
                app_id=app.app_id,
                number=number,
                template_id=TEMPLATE,
            )
        if found is None:
            raise NoOrder(number)
        answer = pb.QueryUmsRefundResponse(
            state=refund_state_message(refund_state(found.status)),
            mer_order_id=found.client_pay_no,
            refund_order_id=found.client_refund_no,
            total_fen=fen(found.pay_micros),
            detail=_detail(found),
            mer_name=app.mer_name,
            paid=PayStatus(found.pay_status) in PAID,
        )
        answer.now.FromDatetime(self._app.clock.now())
        return answer

    async def CreateUmsToken(
        self, request: pb.CreateUmsTokenRequest, context: RpcContext
    ) -> pb.CreateUmsTokenResponse:
        """The token is told once and kept as its hash."""
        token = await self._proofs.ums_token(request)
        return pb.CreateUmsTokenResponse(access_token=token, expires_in_s=TOKEN_S)

    async def TakeUmsNotify(
        self, request: pb.TakeUmsNotifyRequest, context: RpcContext
    ) -> pb.TakeUmsNotifyResponse:
        """Verified, compared, then: a refund is asked about at once, a pay is ended."""
        params = dict(request.params)
        app = await self._notifier(params, request.proof)
        if params.get("refundOrderId"):
            await self._refund_told(app, params)
        else:
            await shielded(self._pay_told(app, params))
        return pb.TakeUmsNotifyResponse()

    async def _notifier(self, params: Mapping[str, str], proof: pb.Proof) -> UmsApp:
        """Whose communication key signed this. Raises ProofInvalid."""
        mid, tid = params.get("mid", ""), params.get("tid", "")
        async with self._app.db.connect() as db:
            apps = await callers.apps_by_mid(db, mid, tid)
        keys = [(app, key) for app in apps for key in self._proofs.keys(app.notify_secret_name)]
        # Terminals nobody has cost the same work.
        fits = [key_signature.right(params, key) for _, key in keys or [(None, NOBODY)]]
        right = [app for (app, _), fit in zip(keys, fits, strict=False) if fit]
        if not right or proof.malformed:
            _log.warning(
                "proof_refused",
                why="notify",
                who=f"{mid}/{tid}"[:LOGGED_CHARS_MAX],
                remote_ip=proof.remote_ip,
            )
            raise ProofInvalid
        return right[0]

    async def _refund_told(self, app: UmsApp, params: Mapping[str, str]) -> None:
        """TRADE_REFUND says that a refund is on its way, not how it ends: ask now."""
        number = params["refundOrderId"]
        async with self._app.db.connect() as db:
            row = await ums.by_order(db, app.app_id, number)
        if row is None:
            raise NoOrder(number[:NUMBER_CHARS_MAX])
        if params.get("merOrderId", row.mer_order_id) != row.mer_order_id:
            raise _differs(IdsDisagree(), "merOrderId", number)
        told = params.get("refundAmount", "")
        if told and chinaums.fen(told) != row.refund_fen:
            await self._settling.differs(
                row.traction_no, _other("refundAmount", told, row.refund_fen)
            )
            raise _differs(AmountDiffers("refundAmount"), "refundAmount", number)
        if row.status in REFUND_ENDED:
            return
        async with self._app.work("chinaums_notify") as work:
            work.tasks.add(ASK_UMS_NOW, AskUms(row.traction_no), order_no=row.traction_no)

    async def _pay_told(self, app: UmsApp, params: Mapping[str, str]) -> None:
        number = params.get("merOrderId", "")
        pay = await self._pay(app, number)
        if pay is None:
            raise NoOrder(number[:NUMBER_CHARS_MAX])
        told, asked = params.get("totalAmount", ""), fen(pay.amount_micros)
        if chinaums.fen(told) != asked:
            await self._settling.differs(pay.traction_no, _other("totalAmount", told, asked))
            raise _differs(AmountDiffers("totalAmount"), "totalAmount", number)
        state = chinaums.PAY_STATES.get(params.get("status", ""), chinaums.State.UNKNOWN)
        if (word := ENDS.get(state)) is not None:
            said = Heard(word, number, params.get("targetStatus", ""))
            await self._settling.pay(pay.traction_no, said)

    async def _pay(self, app: UmsApp, number: str) -> PayOrder | None:
        """The 银联 pay of the merchant with this number, in either spelling."""
        key = app.merchant_uuid, number
        async with self._app.db.connect() as db:
            found = (await pay_store.by_number(db, [number])).get(number)
            found = found or (await pay_store.by_client_no(db, [key])).get(key)
        mine = found is not None and found.merchant_uuid == app.merchant_uuid
        return found if mine and found is not None and found.template_id == TEMPLATE else None


def _detail(found: Asked) -> pb.UmsDetail:
    """What ChinaUMS told of the refund; what it did not tell, as our own books have it."""
    told = msgspec.json.decode(found.detail, type=Detail) if found.detail else Detail()
    given = fen(found.refund_micros)
    done = found.status == RefundStatus.REFUNDED
    # 支付时间, 结算日期: the payment's, whatever became of the refund.
    paid = found.pay_finish_time
    own: dict[str, Any] = {
        "refund_target_order_id": found.third_refund_no or "",
        "seq_id": found.traction_no,
        "target_order_id": found.third_pay_no or "",
        "refund_funds": f"现金:{given}" if done else "",
        "refund_funds_desc": f"现金退款{given // 100}.{given % 100:02d}元" if done else "",
        "pay_time": beijing(paid) if paid else "",
        "settle_date": paid.astimezone(BEIJING).strftime("%Y-%m-%d") if paid else "",
        "refund_invoice_fen": given if done else 0,
        "send_back_fen": given if done else 0,
    }
    whole = {name: getattr(told, name) or own.get(name) for name in Detail.__struct_fields__}
    # The document: the same as seqId unless the source gave a number of its own.
    whole["settle_ref_id"] = whole["settle_ref_id"] or whole["seq_id"]
    return pb.UmsDetail(**{name: value for name, value in whole.items() if value})


def _other(name: str, told: str, asked_fen: int) -> str:
    fen = chinaums.fen(told)
    return f"{name} {'that is none' if fen is None else f'{fen} 分'} for {asked_fen} 分"


def _differs(
    refusal: AmountDiffers | IdsDisagree, field: str, number: str
) -> AmountDiffers | IdsDisagree:
    _log.warning("notify_differs", field=field, number=number[:LOGGED_CHARS_MAX])
    return refusal
