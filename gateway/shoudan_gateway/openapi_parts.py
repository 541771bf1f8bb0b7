"""What the OpenAPI document has beside paths: who may call, headers of answers, what we send to channels."""

from __future__ import annotations

from typing import Any, Final

from shoudan_gateway.advice import Advice
from shoudan_gateway.protocol import Endpoint, Partner, Sink
from shoudan_gateway.versions import HEADER as VERSION
from shoudan_gateway.versions import VERSIONS, is_versioned
from shoudan_signing import webhooks

SIGNED: Final = "channel_signature"
BEARER: Final = "bearer_token"
GOOFISH: Final = "platform_signature"

SECURITY_SCHEMES: Final[dict[str, Any]] = {
    SIGNED: {
        "type": "apiKey",
        "in": "query",
        "name": "sign",
        "description": "HMAC-SHA256-V2 over method, path, parameters and body, as signing.md says. "
        "As the channel's auth_mode says; one without a scheme calls unsigned from its own networks.",
    },
    GOOFISH: {
        "type": "apiKey",
        "in": "query",
        "name": "sign",
        "description": "The rule of the platform's interface (docs/reference/http/goofish.md).",
    },
    BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}

HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {
        "description": "Id of the request, in every answer; name it when you ask us.",
        "schema": {"type": "string", "maxLength": 64},
    },
    VERSION: {
        "description": "Version of the channels' protocol that the answer is in (/docs/versions).",
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "The call is a repeat: this is what its number was answered before.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "X-Error-Code": {
        "description": "Code of the error for machines (/docs/errors.md).",
        "schema": {"type": "string"},
    },
    "X-Error-Advice": {
        "description": "What to do: repeat the call, never, ask what became of it, take another number.",
        "schema": {"type": "string", "enum": [one.value for one in Advice]},
    },
    "Retry-After": {
        "description": "Whole seconds until it is worth trying again.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
OF_EVERY: Final = ("X-Request-Id",)
OF_ERRORS: Final = (*OF_EVERY, "X-Error-Code", "X-Error-Advice", "Retry-After")


def headers(*names: str) -> dict[str, Any]:
    """The headers of an answer, by reference."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def of_success(endpoint: Endpoint[Any, Any] | Sink) -> dict[str, Any]:
    """The headers of a success; a write may be a repeat."""
    writes = isinstance(endpoint, Endpoint) and endpoint.writes
    return headers(*OF_EVERY, *(("Idempotent-Replayed",) if writes else ()))


def of_version(partner: Partner) -> dict[str, Any]:
    """The header that says which version an answer is in, where the protocol has versions."""
    return headers(VERSION) if is_versioned(partner) else {}


def asked_version(partner: Partner) -> list[dict[str, Any]]:
    """The header that asks for a version, as a parameter."""
    if not is_versioned(partner):
        return []
    return [
        {
            "name": VERSION,
            "in": "header",
            "required": False,
            "description": "请求的协议版本；不传为渠道登记的版本",
            "schema": {"type": "string", "enum": [one.name for one in VERSIONS]},
        }
    ]


def security(partner: Partner) -> list[dict[str, list[str]]]:
    """How a caller proves itself; an empty object beside others: or not at all, where it is set up so."""
    if partner.authenticate is not None or partner.role == "internal":
        return [{BEARER: []}]
    if partner.role != "channel":
        return [{}]
    return [{GOOFISH: []}] if partner.signed is not None else [{SIGNED: []}, {}]


def _text(about: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": about} | more


_STATUS: Final = {
    "description": "0 成功 30 进行中 90 失败 91 部分成功；渠道使用文字状态时为SUCCESS等",
    "type": ["integer", "string"],
}
_WORDS: Final = {
    "failed_code": _text("文字状态的渠道：失败码"),
    "failed_msg": _text("文字状态的渠道：失败原因"),
}
_ORDER: Final = {
    "type": "object",
    "required": ["channel_no", "request_no", "order_id", "status"],
    "properties": {
        "channel_no": _text("下游渠道编号"),
        "request_no": _text("下游渠道订单编号"),
        "order_id": _text("收单系统订单号"),
        "status": _STATUS,
        **_WORDS,
        "encrypted_cards": _text("卡密，以渠道密钥加密（docs/reference/http/cards.md）"),
    },
}
_REFUND: Final = {
    "type": "object",
    "required": ["channel_no", "request_no", "refund_no", "refund_num", "status"],
    "properties": {
        "channel_no": _text("下游渠道编号"),
        "request_no": _text("下游渠道订单编号"),
        "refund_no": _text("退款编号"),
        "refund_num": {"type": "integer", "description": "退款数量"},
        "status": _STATUS,
        **_WORDS,
    },
}
_ORDER_EXAMPLE: Final = {
    "channel_no": "test",
    "request_no": "test1200001",
    "order_id": "915236191144509661",
    "status": 0,
}
_REFUND_EXAMPLE: Final = {
    "channel_no": "test",
    "request_no": "test1200001",
    "refund_no": "r1300000001",
    "refund_num": 1,
    "status": 0,
}


def notifies() -> dict[str, Any]:
    """The webhooks: what a channel is sent at the notify_url it gave with an order or a refund."""
    return {
        "orderEnded": _webhook("订单通知：订单结束后发送，直到确认", _ORDER, _ORDER_EXAMPLE),
        "refundEnded": _webhook("退款通知：退款结束后发送，直到确认", _REFUND, _REFUND_EXAMPLE),
    }


def _webhook(title: str, schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    about = {
        webhooks.ID: "same at every attempt of one notify",
        webhooks.TIMESTAMP: "seconds since 1970, of this attempt",
        webhooks.SIGNATURE: "Standard Webhooks: v1,<base64>, one for each key; absent without a secret",
    }
    return {
        "post": {
            "summary": title,
            "parameters": [
                {
                    "name": name,
                    "in": "header",
                    "required": False,
                    "description": text,
                    "schema": {"type": "string"},
                }
                for name, text in about.items()
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema, "example": example}},
            },
            "responses": {
                "200": {
                    "description": "acknowledged by the text success; anything else is sent again",
                    "content": {"text/plain": {"schema": {"type": "string"}, "example": "success"}},
                }
            },
        }
    }
