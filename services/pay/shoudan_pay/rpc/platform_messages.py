"""Values to messages of ChinaUMS and Dingdang, and back."""

from __future__ import annotations

from typing import Final

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_kit.rpc.messages import filled
from shoudan_pay.dingdang.protocol import DOMAIN_CHARS_MAX
from shoudan_pay.dingdang.states import TradeState
from shoudan_pay.dingdang.store.trades import Trade
from shoudan_pay.platforms.signatures import Proof
from shoudan_pay.platforms.states import RefundState
from shoudan_pay.platforms.store.callers import Domain, UmsApp
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.ledger_messages import text

URL_CHARS_MAX: Final = 2_048
ID_CHARS_MAX: Final = 64
FEN_MAX: Final = 2**53 // 10_000

REFUND_STATES: Final = {
    RefundState.UNKNOWN: pb.REFUND_STATE_UNSPECIFIED,
    RefundState.PROCESSING: pb.REFUND_STATE_PROCESSING,
    RefundState.SUCCESS: pb.REFUND_STATE_SUCCESS,
    RefundState.FAIL: pb.REFUND_STATE_FAIL,
}
TRADE_STATES: Final = {
    TradeState.NOTPAY: pb.TRADE_STATE_NOTPAY,
    TradeState.PROCESSING: pb.TRADE_STATE_PROCESSING,
    TradeState.SUCCESS: pb.TRADE_STATE_SUCCESS,
    TradeState.FAIL: pb.TRADE_STATE_FAIL,
}
_REFUND_STATES: Final = {
    number: state for state, number in REFUND_STATES.items() if state is not RefundState.UNKNOWN
}
SCHEMES: Final = {
    pb.SCHEME_TSK_HMAC: "tsk_hmac",
    pb.SCHEME_TSK_RSA2: "tsk_rsa2",
    pb.SCHEME_TVS_HMAC: "tvs_hmac",
}
ROLES: Final = {pb.ROLE_PLATFORM: "platform", pb.ROLE_PARTNER: "partner"}


def refund_state_message(state: RefundState) -> pb.RefundState.ValueType:
    """The state as the contract has it."""
    return REFUND_STATES[state]


def trade_state_message(state: TradeState) -> pb.TradeState.ValueType:
    """The state as the contract has it."""
    return TRADE_STATES[state]


def refund_end(state: pb.RefundState.ValueType) -> RefundState | None:
    """The reported state; None for an undocumented one."""
    return _REFUND_STATES.get(state)


def proof(given: pb.Proof) -> Proof:
    """How the caller proves itself."""
    return Proof(given.body, given.authorization, given.remote_ip, given.malformed)


def fen_of(field: str, value: int) -> int:
    """An amount above zero. Raises FieldInvalid."""
    if not 0 < value <= FEN_MAX:
        raise FieldInvalid(field, f"is none of 1 to {FEN_MAX}")
    return value


def url(field: str, value: str) -> str:
    """An address, or nothing. Whether it may be called is judged when it is. Raises FieldInvalid."""
    text(field, value, URL_CHARS_MAX, optional=True)
    if value and not value.startswith(("http://", "https://")):
        raise FieldInvalid(field, "is no http or https URL")
    return value.rstrip("/")


def app(given: pb.UmsApp) -> UmsApp:
    """One credential. Raises FieldInvalid."""
    source = given.source_id
    if source and not (len(source) == 4 and source.isascii() and source.isalnum()):
        raise FieldInvalid("source_id", "is not of 4 letters and digits")
    base_url = url("base_url", given.base_url)
    if base_url and not source:
        raise FieldInvalid("source_id", "is missing, and ChinaUMS is to be called")
    return UmsApp(
        app_id=text("app_id", given.app_id, ID_CHARS_MAX),
        merchant_uuid=text("merchant_uuid", given.merchant_uuid, ID_CHARS_MAX),
        mid=text("mid", given.mid, 32),
        tid=text("tid", given.tid, 32),
        mer_name=text("mer_name", given.mer_name, 64, optional=True),
        secret_name=text("secret_name", given.secret_name, 64, optional=True),
        notify_secret_name=text("notify_secret_name", given.notify_secret_name, 64, optional=True),
        base_url=base_url,
        source_id=source,
        enabled=given.enabled,
    )


def domain(given: pb.Domain) -> Domain:
    """One domain. Raises FieldInvalid."""
    if given.role not in ROLES:
        raise FieldInvalid("role", "is neither platform nor partner")
    if given.scheme not in SCHEMES:
        raise FieldInvalid("scheme", "is no way of signing that is spoken here")
    return Domain(
        role=ROLES[given.role],
        domain_id=text("domain_id", given.domain_id, DOMAIN_CHARS_MAX),
        merchant_uuid=text("merchant_uuid", given.merchant_uuid, ID_CHARS_MAX),
        scheme=SCHEMES[given.scheme],
        secret_name=text("secret_name", given.secret_name, 64, optional=True),
        own_secret_name=text("own_secret_name", given.own_secret_name, 64, optional=True),
        credential_key=text("credential_key", given.credential_key, 64, optional=True),
        paid_url=url("paid_url", given.paid_url),
        refunded_url=url("refunded_url", given.refunded_url),
        base_url=url("base_url", given.base_url),
        enabled=given.enabled,
    )


def trade_message(trade: Trade) -> pb.Trade:
    """One trade."""
    return filled(pb.Trade, trade, state=TRADE_STATES[TradeState(trade.status)])
