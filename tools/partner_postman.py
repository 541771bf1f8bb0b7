"""The calls of partners as a collection of Postman 2.1, made of OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from tools.partner_calls import Call, folders, parts

SCHEMA: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
# Signs each call of a channel with {{secret}} in the second version, where there is one.
SIGNER: Final = """
const secret = pm.variables.get('secret');
if (secret) {
  const url = pm.request.url, method = pm.request.method;
  const set = (key, value) => { url.query.remove(key); url.query.add({ key, value }); };
  url.query.remove('sign');
  set('sign_type', 'HMAC-SHA256-V2');
  set('timestamp', String(Math.floor(Date.now() / 1000)));
  set('nonce', CryptoJS.lib.WordArray.random(16).toString());
  const hex = (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase();
  const enc = (text) => encodeURIComponent(text).replace(/[!'()*]/g, hex);
  const sent = url.query.all().filter((one) => !one.disabled);
  const pairs = sent.map((one) => [one.key, decodeURIComponent(one.value || '')]);
  const shown = pairs.sort((a, b) => (a[0] < b[0] ? -1 : 1)).map(([k, v]) => enc(k) + '=' + enc(v)).join('&');
  const text = ['HMAC-SHA256-V2', method, url.getPath(), shown, CryptoJS.SHA256('').toString()].join('\\n');
  set('sign', CryptoJS.HmacSHA256(text, secret).toString());
}
""".strip()


def collection(document: Mapping[str, Any]) -> str:
    """The collection as JSON: a folder for each protocol, a request for each operation with its examples."""
    made = {
        "info": {"name": "shoudan 收单", "schema": SCHEMA},
        "variable": [
            {"key": "base", "value": "http://127.0.0.1:8600"},
            {"key": "secret", "value": ""},
            {"key": "token", "value": ""},
        ],
        "item": [
            {"name": name, "item": [_request(one) for one in ones], **_signed(ones)}
            for name, ones in folders(document).items()
        ],
    }
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


def _signed(ones: list[Call]) -> dict[str, Any]:
    """Channels sign before each call."""
    if not any(one.signed for one in ones):
        return {}
    script = {"type": "text/javascript", "exec": SIGNER.splitlines()}
    return {"event": [{"listen": "prerequest", "script": script}]}


def _request(call: Call) -> dict[str, Any]:
    path = parts(call.path)
    raw = "{{base}}/" + "/".join(path) + (f"?{urlencode(call.query)}" if call.query else "")
    request: dict[str, Any] = {
        "method": call.method,
        "description": call.about,
        "url": {
            "raw": raw,
            "host": ["{{base}}"],
            "path": path,
            "query": [{"key": key, "value": value} for key, value in call.query.items()],
            "variable": [{"key": key, "value": value} for key, value in call.places.items()],
        },
    }
    if call.bearer:
        bearer = [{"key": "token", "value": "{{token}}", "type": "string"}]
        request["auth"] = {"type": "bearer", "bearer": bearer}
    if call.body is not None:
        options = {"raw": {"language": "json"}}
        request["body"] = {"mode": "raw", "raw": call.body, "options": options}
    return {"name": call.name, "request": request}
