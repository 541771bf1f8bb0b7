"""JSON schemas of PayServer's bodies: the names that requests.py reads, in the words of the document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

ITEMS_MAX: Final = 1000
NUMBER_CHARS_MAX: Final = 64


def _text(about: str, chars_max: int = 64) -> Schema:
    return {"type": ["string", "null"], "maxLength": chars_max, "description": about}


def _flag(about: str) -> Schema:
    return {"type": ["integer", "null"], "enum": [0, 1, None], "description": about}


def _whole(about: str, low: int, high: int) -> Schema:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high, "description": about}


def _number(about: str) -> Schema:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": NUMBER_CHARS_MAX,
        "description": about,
    }


def _any(about: str) -> Schema:
    return {"type": ["object", "null"], "description": about}


def _object(required: tuple[str, ...], **members: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": members}


def _batch(name: str, item: Schema) -> Schema:
    items = {"type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": item}
    return {"type": "object", "required": [name], "properties": {name: items}}


TERMS: Final[Mapping[str, Schema]] = {
    "name": _text("名称"),
    "description": _text("描述", 256),
    "checkEnvUrl": _text("检测环境URL", 2048),
    "payUrl": _text("支付请求URL", 2048),
    "refundUrl": _text("退款请求URL", 2048),
    "iconHref": _text("图标链接", 2048),
    "orderValidTime": _whole("订单有效时间，单位为小时", 1, 8760),
    "isOnline": _flag("是否线上，1为线上，0为线下"),
    "isSignAccount": _flag("是否记账，1为记账，0为支付"),
    "isAsyncNotify": _flag("是否异步通知，1为是，0为否"),
    "isThridPay": _flag("是否第三方支付，1为是，0为否"),
    "payChannel": _text("支付通道，一般指第三方支付主体"),
    "payWay": _text("支付方式，扫码枪，APP支付等"),
    "queryUrl": _text("ours: asked what became of a number", 2048),
    "isRepeatable": _flag("ours: payUrl and refundUrl may be called again"),
    "secretName": _text("ours: the secret that notifies are signed with"),
}
_MODE: Final[Mapping[str, Schema]] = {
    "isOpened": _flag("是否开通"),
    "isFastPay": _flag("是否快捷支付"),
    "uiOrder": _whole("排序号", 0, 1_000_000),
}

TEMPLATE: Final = _object(
    ("payTemplateId", "name"),
    uuid=_text("the one it has from now on; else kept, or made"),
    payTemplateId=_number("支付模板ID"),
    **TERMS,
)
NEW_MODE: Final = _object(
    (),
    uuid=_text("wanted, 22 letters and digits; else made"),
    merchantHref=_text("商户链接; else the token's", 2048),
    merchantUUID=_text("the same by uuid"),
    payTemplateId=_text("支付模板ID; without it a mode of its own, which needs a name"),
    **_MODE,
    **TERMS,
)
CHANGED_MODE: Final = _object((), uuid=_text("that of the path, or absent"), **_MODE, **TERMS)
PAY: Final = _object(
    ("payModeUUID", "payer", "payee", "payAmount", "clientPayNo"),
    payModeUUID=_number("支付方式UUID"),
    payer={"type": "string", "minLength": 1, "maxLength": 256, "description": "付款方"},
    payee={"type": "string", "minLength": 1, "maxLength": 2048, "description": "收款方"},
    payAmount={"type": "integer", "minimum": 1, "description": "付款金额，单位为分"},
    clientPayNo=_number("客户端支付流水号，必须唯一"),
    payParams=_any("附带支付参数，如挂账主体，微信付款条形码等"),
    clientExtraParams=_any("附带客户端的其它参数"),
)
REFUND: Final = _object(
    ("payTractionNo", "clientRefundNo"),
    payTractionNo=_number("要退款的支付订单流水号"),
    clientRefundNo=_number("客户端退款流水号"),
    isCancel=_flag("是否撤销，1为撤销，0为退款"),
    refundAmount={
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "退款金额，单位为分; what is left unless given",
    },
    clientExtraParams=_any("附带客户端的其它参数"),
)
PAYS: Final = _batch("batchPayData", PAY)
REFUNDS: Final = _batch("batchRefundData", REFUND)
NOTIFY_FEN: Final = {
    "type": ["integer", "null"],
    "description": "金额，单位为分; another one than was asked ends nothing",
}
NOTIFY: Final = _object(
    ("tractionNo", "ret"),
    tractionNo={**_number("支付网关交易号"), "type": ["string", "integer"]},
    ret={"type": "string", "enum": ["success", "running", "failed"], "description": "支付结果"},
    thirdOrderNo={**_text("第三方订单号"), "type": ["string", "integer", "null"]},
    thirdErrorReason={**_text("第三方出错原因", 256), "type": ["string", "integer", "null"]},
    tradeFinishedAt=_text("完成时间"),
    payAmount=NOTIFY_FEN,
    refundAmount=NOTIFY_FEN,
)
ERROR: Final = _object(
    ("name", "statusCode", "code", "message", "description", "stack"),
    name={"type": "string"},
    statusCode={"type": "integer", "description": "the HTTP status"},
    code={"type": "integer", "description": "9001, 9002, 1599, else 9999"},
    message={"type": "string"},
    description={"type": "string", "description": "as message"},
    stack={"type": "string", "const": "", "description": "always empty"},
)
