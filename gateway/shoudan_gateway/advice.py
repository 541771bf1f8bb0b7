"""What an error means to a machine: a code, what to do about it, and the page that says so.

The documented bodies stay as they are; this travels in headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from grpc import StatusCode

from shoudan_gateway.protocol import Failure, GatewayError, Malformed, ParameterError, Problem

PREFIX: Final = "ERROR_REASON_"
PAGE: Final = "/docs/errors.md"
_TEMPLATE: Final = Path(__file__).parent / "errors_page.md"


class Advice(StrEnum):
    """What to do with the call that was answered by an error."""

    REPEAT = "repeat"  # the same call, the same number, later: nothing was begun
    NEVER = "never"  # this call will not be accepted as it is
    ASK = "ask"  # something may have happened: query by the same number before anything else
    OTHER_NUMBER = "other-number"  # the number is taken by another request of the caller's


class Meaning(msgspec.Struct, frozen=True):
    """One code: what to do, and why it comes, in the documents' language and in English."""

    advice: Advice
    zh: str
    en: str


class ErrorFacts(msgspec.Struct, frozen=True):
    """What the headers of one error say."""

    code: str
    advice: Advice


_R, _N, _A, _O = Advice.REPEAT, Advice.NEVER, Advice.ASK, Advice.OTHER_NUMBER

# Of the channels' protocol and of the gateway itself; what other protocols refuse is judged by its status.
MEANINGS: Final[Mapping[str, Meaning]] = {
    "PARAMETER_MISSING": Meaning(_N, "缺少必填参数", "a parameter is missing"),
    "PARAMETER_UNREADABLE": Meaning(_N, "参数格式错误", "a parameter is malformed"),
    "PARAMETER_REPEATED": Meaning(_N, "参数重复", "a parameter is given twice"),
    "PARAMETER_CONFLICTING": Meaning(_N, "同一参数取值不一致", "a parameter has two values"),
    "FIELD_INVALID": Meaning(_N, "参数取值不正确", "the value of a parameter cannot be"),
    "NOT_HTTP": Meaning(_N, "请求格式错误", "the request is no HTTP"),
    "SIGN_MISSING": Meaning(_N, "缺少签名参数", "the call must be signed"),
    "SIGN_WRONG": Meaning(
        _N,
        "签名错误、时间戳过期或随机串已使用：重新签名",
        "wrong signature, a timestamp too far off, or a nonce used before: sign the call anew",
    ),
    "TOKEN_MISSING": Meaning(_N, "缺少身份令牌", "a token is needed"),
    "TOKEN_WRONG": Meaning(_N, "身份令牌无效", "the token is not believed"),
    "NOT_ALLOWED": Meaning(_N, "没有权限", "the caller may not do this"),
    "ADDRESS_REFUSED": Meaning(_N, "来源地址未授权", "the address is not of an allowed network"),
    "PATH_UNKNOWN": Meaning(_N, "请求地址不存在", "nothing is served there"),
    "METHOD_REFUSED": Meaning(_N, "请求方式不支持", "the path is not called so"),
    "BODY_LATE": Meaning(_R, "请求内容接收超时", "the body took too long"),
    "BODY_TOO_LARGE": Meaning(_N, "请求内容过大", "the body is too large"),
    "QUERY_TOO_LONG": Meaning(_N, "请求地址过长", "the query string is too long"),
    "MEDIA_TYPE_UNKNOWN": Meaning(_N, "请求内容类型不支持", "the body is of another type"),
    "TOO_MANY_CALLS": Meaning(_R, "请求过于频繁", "more calls than the limit: see Retry-After"),
    "HEADERS_TOO_LARGE": Meaning(_N, "请求头过大", "the headers are too large"),
    "SENDER_GONE": Meaning(_R, "请求未发送完整", "the request did not arrive whole"),
    "BROKEN": Meaning(_A, "系统错误，结果未知", "a bug of ours: what became of it is not known"),
    "BUSY": Meaning(_R, "系统繁忙，未处理", "nothing was begun: see Retry-After"),
    "NO_ANSWER": Meaning(
        _A, "处理结果未知", "what became of it is not known: query by the same number"
    ),
    "PRODUCT_NOT_FOUND": Meaning(_N, "不存在该商品", "the channel does not sell this"),
    "NUM_TOO_HIGH": Meaning(_N, "超过单次最大数量", "more units than one order may have"),
    "PRICE_DIFFERS": Meaning(_N, "支付金额与售价不符", "the amount is too far from the price"),
    "PRICE_TOO_HIGH": Meaning(_N, "高于安全价", "dearer than max_amount"),
    "RISK_BLOCKED": Meaning(_N, "风控拒绝", "the account is blocked"),
    "RISK_LIMIT": Meaning(_N, "超过限额", "above a bound of a day or month"),
    "RISK_REPEATED": Meaning(_N, "重复充值", "the same was ordered a moment ago"),
    "NO_SUPPLIER": Meaning(_R, "暂无上游可发货", "nothing can deliver it now"),
    "SUPPLIER_FORBIDDEN": Meaning(_N, "可发货的上游被禁用", "its suppliers are forbidden"),
    "ORDER_NOT_FOUND": Meaning(_N, "订单不存在", "there is no order of this number"),
    "REQUEST_DIFFERS": Meaning(_O, "订单号已被使用且参数不同", "the number has another order"),
    "BALANCE_TOO_LOW": Meaning(_N, "余额不足", "the account has too little"),
    "REFUND_ORDER_NOT_FOUND": Meaning(_N, "订单不存在或配置错误", "there is no order to refund"),
    "MANDATORY_ORDER_NOT_FOUND": Meaning(_N, "订单不存在", "there is no order to refund"),
    "ORDER_NOT_SUCCEEDED": Meaning(_R, "订单未成功", "the order has not succeeded: later"),
    "PARTIAL_REFUND_REFUSED": Meaning(_N, "不支持部分退款", "it is refunded whole or not at all"),
    "NOT_REFUNDABLE": Meaning(_N, "不支持退款", "the product cannot be refunded"),
    "REFUND_NUM_TOO_HIGH": Meaning(_N, "退款数量错误", "more than was delivered"),
    "REFUND_IN_PROGRESS": Meaning(_R, "正在退款中", "another refund runs: later"),
    "REFUND_DIFFERS": Meaning(_O, "退款编号已被使用且参数不同", "the number has another refund"),
    "REFUND_NOT_FOUND": Meaning(_N, "退款不存在", "there is no refund of this number"),
    "CARDS_UNREADABLE": Meaning(_R, "卡密暂时无法读取", "the codes cannot be opened now"),
}

# What other protocols refuse has no code of its own: refusals in the same words must look alike here, too.
OTHER: Final = "REFUSED"
# Documented in the same words as another, so that a caller cannot tell which it was.
ALIKE: Final = {"CHANNEL_UNAVAILABLE": "PRODUCT_NOT_FOUND", "NONCE_USED": "SIGN_WRONG"}

BY_STATUS: Final[Mapping[StatusCode, Advice]] = {
    StatusCode.ALREADY_EXISTS: Advice.OTHER_NUMBER,
    StatusCode.RESOURCE_EXHAUSTED: Advice.REPEAT,
    StatusCode.UNAVAILABLE: Advice.ASK,
    StatusCode.DEADLINE_EXCEEDED: Advice.ASK,
    StatusCode.INTERNAL: Advice.ASK,
    StatusCode.UNKNOWN: Advice.ASK,
}


def facts_of(failure: Failure) -> ErrorFacts:
    """The code of a failure and what to do about it."""
    if isinstance(failure, Malformed):
        return _named(f"PARAMETER_{failure.error.name}", Advice.NEVER)
    if isinstance(failure, Problem):
        return _named(failure.error.name, Advice.ASK)
    code = failure.reason.removeprefix(PREFIX)
    return _named(ALIKE.get(code, code), BY_STATUS.get(failure.code, Advice.NEVER))


def _named(code: str, otherwise: Advice) -> ErrorFacts:
    meaning = MEANINGS.get(code)
    return ErrorFacts(OTHER, otherwise) if meaning is None else ErrorFacts(code, meaning.advice)


def codes_of_the_gateway() -> set[str]:
    """Those that no service gives."""
    return {one.name for one in GatewayError} | {f"PARAMETER_{one.name}" for one in ParameterError}


def headers(facts: ErrorFacts) -> dict[str, str]:
    """The headers of an error."""
    anchor = facts.code.lower() if facts.code in MEANINGS else "codes"
    return {
        "X-Error-Code": facts.code,
        "X-Error-Advice": facts.advice.value,
        "Link": f'<{PAGE}#{anchor}>; rel="help"',
    }


def page() -> str:
    """The page of all codes, in both languages; what the gateway serves at PAGE."""
    rows = "\n".join(
        f'| <a id="{code.lower()}"></a>`{code}` | `{one.advice}` | {one.zh} | {one.en} |'
        for code, one in MEANINGS.items()
    )
    return _TEMPLATE.read_text("utf-8").format(rows=rows)
