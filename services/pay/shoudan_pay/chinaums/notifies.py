"""Notifies of ChinaUMS: verified and compared; one of a refund queries it at once, one of a pay ends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shoudan_kit import log
from shoudan_kit.rpc.shielded import shielded
from shoudan_kit.service import App
from shoudan_pay.chinaums import protocol
from shoudan_pay.chinaums.cash_desks import NUMBER_CHARS_MAX, TEMPLATE
from shoudan_pay.chinaums.kinds import ASK_UMS_NOW, AskUms
from shoudan_pay.chinaums.store import refunds
from shoudan_pay.config import PaySettings
from shoudan_pay.credential_kinds import UMS_NOTIFY
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.settlement import Settlement, other_amount
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.platforms.refusals import AmountDiffers, IdsDisagree, NoOrder, ProofInvalid
from shoudan_pay.platforms.signatures import DUMMY_KEY, Proof, Signatures
from shoudan_pay.platforms.states import REFUND_ENDED
from shoudan_pay.platforms.store import callers
from shoudan_pay.platforms.store.callers import UmsApp
from shoudan_signing import key_signature

LOGGED_CHARS_MAX: Final = 64
ENDS: Final = {protocol.State.SUCCESS: AnswerKind.SUCCESS, protocol.State.FAIL: AnswerKind.FAILED}

_log = log.get_logger("security")


class UmsNotifies:
    """Accepts notifies of ChinaUMS; a repeat changes nothing."""

    def __init__(
        self, app: App[PaySettings], signatures: Signatures, settlement: Settlement
    ) -> None:
        self._app, self._signatures, self._settlement = app, signatures, settlement

    async def accept(self, params: Mapping[str, str], proof: Proof) -> None:
        """Raises ProofInvalid, NoOrder, IdsDisagree, AmountDiffers."""
        app = await self._notifier(params, proof)
        if params.get("refundOrderId"):
            await self._take_refund(app, params)
        else:
            await shielded(self._take_pay(app, params))

    async def _notifier(self, params: Mapping[str, str], proof: Proof) -> UmsApp:
        """The app whose communication key signed this. Raises ProofInvalid."""
        mid, tid = params.get("mid", ""), params.get("tid", "")
        async with self._app.db.connect() as db:
            apps = await callers.apps_by_mid(db, mid, tid)
        of = self._signatures.keys
        keys = [
            (app, key) for app in apps for key in of(UMS_NOTIFY, app.app_id, app.notify_secret_name)
        ]
        # An unknown terminal costs the same work.
        fits = [key_signature.right(params, key) for _, key in keys or [(None, DUMMY_KEY)]]
        right = [one for one, fit in zip(keys, fits, strict=False) if fit]
        if not right or proof.malformed:
            _log.warning(
                "proof_refused",
                why="notify",
                who=f"{mid}/{tid}"[:LOGGED_CHARS_MAX],
                remote_ip=proof.remote_ip,
            )
            raise ProofInvalid
        app, key = right[0]
        self._signatures.note_used(UMS_NOTIFY, app.app_id, key)
        return app

    async def _take_refund(self, app: UmsApp, params: Mapping[str, str]) -> None:
        """TRADE_REFUND announces a refund without its result: query it now."""
        number = params["refundOrderId"]
        async with self._app.db.connect() as db:
            row = await refunds.by_order(db, app.app_id, number)
        if row is None:
            raise NoOrder(number[:NUMBER_CHARS_MAX])
        if params.get("merOrderId", row.mer_order_id) != row.mer_order_id:
            raise _differs(IdsDisagree(), "merOrderId", number)
        stated = params.get("refundAmount", "")
        if stated and protocol.fen(stated) != row.refund_fen:
            await self._settlement.differs(
                row.traction_no, other_amount("refundAmount", protocol.fen(stated), row.refund_fen)
            )
            raise _differs(AmountDiffers("refundAmount"), "refundAmount", number)
        if row.status in REFUND_ENDED:
            return
        async with self._app.work("chinaums_notify") as work:
            work.tasks.add(ASK_UMS_NOW, AskUms(row.traction_no), order_no=row.traction_no)

    async def _take_pay(self, app: UmsApp, params: Mapping[str, str]) -> None:
        number = params.get("merOrderId", "")
        pay = await self._pay(app, number)
        if pay is None:
            raise NoOrder(number[:NUMBER_CHARS_MAX])
        stated, asked = params.get("totalAmount", ""), fen(pay.amount_micros)
        if protocol.fen(stated) != asked:
            await self._settlement.differs(
                pay.traction_no, other_amount("totalAmount", protocol.fen(stated), asked)
            )
            raise _differs(AmountDiffers("totalAmount"), "totalAmount", number)
        state = protocol.PAY_STATES.get(params.get("status", ""), protocol.State.UNKNOWN)
        if (word := ENDS.get(state)) is not None:
            said = ComponentAnswer(word, number, params.get("targetStatus", ""))
            await self._settlement.pay(pay.traction_no, said)

    async def _pay(self, app: UmsApp, number: str) -> PayOrder | None:
        """The 银联 pay of the merchant with this number, in either spelling."""
        key = app.merchant_uuid, number
        async with self._app.db.connect() as db:
            found = (await pay_store.by_number(db, [number])).get(number)
            found = found or (await pay_store.by_client_no(db, [key])).get(key)
        mine = found is not None and found.merchant_uuid == app.merchant_uuid
        return found if mine and found is not None and found.template_id == TEMPLATE else None


def _differs(
    refusal: AmountDiffers | IdsDisagree, field: str, number: str
) -> AmountDiffers | IdsDisagree:
    _log.warning("notify_differs", field=field, number=number[:LOGGED_CHARS_MAX])
    return refusal
