"""The calls of partners as a collection of Postman 2.1, which Bruno reads too, made of OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

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
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if verb == "post" and "get" in item:
                continue  # the same call: a channel may send it either way
            folders.setdefault(operation["tags"][0], []).append(_request(path, verb, operation))
    made = {
        "info": {"name": "shoudan 收单", "schema": SCHEMA},
        "variable": [
            {"key": "base", "value": "http://127.0.0.1:8600"},
            {"key": "secret", "value": ""},
            {"key": "token", "value": ""},
        ],
        "item": [
            {"name": name, "item": requests, **_signed(requests)}
            for name, requests in folders.items()
        ],
    }
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


def _signed(requests: list[dict[str, Any]]) -> dict[str, Any]:
    """Channels sign before each call."""
    if not any("channel_signature" in one["_security"] for one in requests):
        for one in requests:
            del one["_security"]
        return {}
    for one in requests:
        del one["_security"]
    script = {"type": "text/javascript", "exec": SIGNER.splitlines()}
    return {"event": [{"listen": "prerequest", "script": script}]}


def _request(path: str, verb: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    rows = operation.get("parameters", ())
    query = {
        one["name"]: str(one["example"])
        for one in rows
        if one["in"] == "query" and "example" in one
    }
    places = [
        {"key": one["name"], "value": str(one.get("example", ""))}
        for one in rows
        if one["in"] == "path"
    ]
    parts = [f":{part[1:-1]}" if part[:1] == "{" else part for part in path.strip("/").split("/")]
    raw = "{{base}}/" + "/".join(parts) + (f"?{urlencode(query)}" if query else "")
    request: dict[str, Any] = {
        "method": verb.upper(),
        "description": operation["description"],
        "url": {
            "raw": raw,
            "host": ["{{base}}"],
            "path": parts,
            "query": [{"key": key, "value": value} for key, value in query.items()],
            "variable": places,
        },
    }
    names = {name for way in operation["security"] for name in way}
    if "bearer_token" in names:
        bearer = [{"key": "token", "value": "{{token}}", "type": "string"}]
        request["auth"] = {"type": "bearer", "bearer": bearer}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        examples: Mapping[str, Any] = body.get("examples", {})
        shown: Any = next((one["value"] for one in examples.values()), None)
        text = json.dumps(shown, ensure_ascii=False, indent=1)
        request["body"] = {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
    return {"name": operation["summary"], "request": request, "_security": names}
