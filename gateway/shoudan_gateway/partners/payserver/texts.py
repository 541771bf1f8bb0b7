"""PayServer's words for every "no": {name, statusCode, code, message, description, stack}."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shoudan_gateway.protocol import (
    Failure,
    GatewayError,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Problem,
)
from shoudan_kit.rpc.refusal import Refused

CODE: Final = 9999  # of everything that has no code of its own
NAME: Final = "Error"
STACK: Final = ""  # our frames are not shown

# HTTP status, code, name, message with {facts}.
REFUSALS: Final = {
    "ERROR_REASON_FIELD_INVALID": (400, CODE, NAME, "{field} {why}"),
    "ERROR_REASON_AMOUNT_INVALID": (400, CODE, NAME, "amount is not a whole number of fen above 0"),
    "ERROR_REASON_MODE_NOT_OPEN": (
        500,
        9002,
        " payMode  not opended",
        "PayOrderBusiness->create payMode is not opened!!!",
    ),
    "ERROR_REASON_ENV_CHECK_FAILED": (
        500,
        9001,
        "create paymode error",
        (
            "PayModeBusiness->create open payTemplate error,check env failed "
            "payTemplateId:{template_id},checkEnvRes:{answer} "
        ),
    ),
    "ERROR_REASON_TEMPLATE_NOT_FOUND": (
        500,
        CODE,
        NAME,
        "PayOrderBusiness->create not found payModeTemplate by !!! payTemplateId:{template_id}",
    ),
    "ERROR_REASON_PAY_URL_EMPTY": (500, CODE, NAME, "PayOrderBusiness->create {field} is empty"),
    "ERROR_REASON_PAY_DIFFERS": (
        409,
        CODE,
        NAME,
        "PayOrderBusiness->create clientPayNo exists with other content!!! clientPayNo:{client_pay_no}",
    ),
    "ERROR_REASON_PAY_REFUND_DIFFERS": (
        409,
        CODE,
        NAME,
        (
            "RefundOrderBusiness->create clientRefundNo exists with other content!!! "
            "clientRefundNo:{client_refund_no}"
        ),
    ),
    "ERROR_REASON_PAY_NOT_FOUND": (
        500,
        CODE,
        NAME,
        "RefundOrderBusiness->create payOrder not has exist!!! payTractionNo:{pay_traction_no}",
    ),
    "ERROR_REASON_PAY_STATUS_INVALID": (
        500,
        CODE,
        NAME,
        "RefundOrderBusiness->create payOrder status is invalid!!! payOrderObj.status:{status}",
    ),
    "ERROR_REASON_CANCEL_TOO_LATE": (
        500,
        CODE,
        NAME,
        "RefundOrderBusiness->create payOrder has exceed cancel limit time ,can not canceled!!!",
    ),
    "ERROR_REASON_REFUND_EXCEEDS_PAY": (
        500,
        CODE,
        NAME,
        "RefundOrderBusiness->create refundAmount exceed payAmount!!!!",
    ),
    "ERROR_REASON_REFUND_NOT_WHOLE": (
        500,
        CODE,
        NAME,
        "RefundOrderBusiness->create payOrder can only be refunded as a whole!!! refundAmount:{whole_fen}",
    ),
    "ERROR_REASON_RESOURCE_NOT_FOUND": (404, 1599, NAME, "Resources does not exist."),
    "ERROR_REASON_PAY_NOT_WRITTEN": (500, CODE, NAME, "system error, trace {trace}"),
}

GATEWAY_ERRORS: Final = {
    GatewayError.SIGN_MISSING: (401, "no token", "no token"),
    GatewayError.SIGN_WRONG: (401, "invalid token", "invalid token"),
    GatewayError.ADDRESS_REFUSED: (403, "forbidden", "the token does not allow this"),
    GatewayError.NOT_HTTP: (400, NAME, "not a valid HTTP request"),
    GatewayError.PATH_UNKNOWN: (404, NAME, "Resources does not exist."),
    GatewayError.SENDER_GONE: (499, NAME, "the request was cut off"),
    GatewayError.METHOD_REFUSED: (405, NAME, "method is not allowed"),
    GatewayError.BODY_LATE: (408, NAME, "the body came too late"),
    GatewayError.BODY_TOO_LARGE: (413, NAME, "the body is too large"),
    GatewayError.QUERY_TOO_LONG: (414, NAME, "the query is too long"),
    GatewayError.MEDIA_TYPE_UNKNOWN: (415, NAME, "the body's type is not supported"),
    GatewayError.TOO_MANY_CALLS: (429, NAME, "too many calls"),
    GatewayError.HEADERS_TOO_LARGE: (431, NAME, "the headers are too large"),
    GatewayError.BUSY: (503, NAME, "busy, nothing was begun: try again"),
    GatewayError.NO_ANSWER: (
        503,
        NAME,
        "the result is unknown: query, or repeat with the same number",
    ),
    GatewayError.BROKEN: (500, NAME, "system error, trace {trace}"),
}
PARAMETER_ERRORS: Final = {
    ParameterError.MISSING: "is missing",
    ParameterError.UNREADABLE: "is not valid",
    ParameterError.REPEATED: "is repeated",
    ParameterError.CONFLICTING: "is contradictory",
}


def error(status: int, code: int, name: str, message: str) -> Outbound:
    """The documented error body. Source: 002; protocols 4.3."""
    body = {
        "name": name,
        "statusCode": status,
        "code": code,
        "message": message,
        "description": message,
        "stack": STACK,
    }
    return Outbound(status, body)


def missing() -> Outbound:
    """No resource has this uuid, for this caller."""
    return error(*REFUSALS["ERROR_REASON_RESOURCE_NOT_FOUND"])


def refused(failure: Refused) -> Outbound:
    """A refusal of the service. KeyError for one this protocol has no words for."""
    status, code, name, message = REFUSALS[failure.reason]
    return error(status, code, name, message.format_map(dict(failure.metadata)))


def failed(start: str, ended: Any, third_no: str) -> Outbound:
    """A pay or a refund that its component, or the ledger, has just turned down."""
    facts = {
        "tractionNo": ended.traction_no,
        "ret": "failed",
        "thirdOrderNo": third_no,
        "thirdErrorReason": ended.result_code,
    }
    return error(500, CODE, NAME, start + msgspec.json.encode(facts).decode())


def refuse(failure: Failure, _inbound: Inbound, _legacy: bool) -> Outbound:
    """Any no, in PayServer's words."""
    if isinstance(failure, Refused):
        return refused(failure)
    if isinstance(failure, Malformed):
        return error(400, CODE, NAME, f"{failure.name} {PARAMETER_ERRORS[failure.error]}")
    assert isinstance(failure, Problem)
    status, name, message = GATEWAY_ERRORS[failure.error]
    return error(status, CODE, name, message.format(trace=failure.trace))
