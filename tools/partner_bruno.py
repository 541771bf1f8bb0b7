"""The calls of partners as a collection of Bruno, made of OpenAPI: OpenCollection 1.0 in a zip file.

Unpacked it is a folder that Bruno 3 opens and its command runs (`bru run --env sandbox`).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import yaml

from tools.partner_calls import Call, folders, parts

VERSION: Final = "1.0.0"
ROOT: Final = "shoudan"
MADE: Final = (2026, 1, 1, 0, 0, 0)  # of every file, so that the same calls make the same bytes
# Signs each call of a channel with the environment's secret in the second version, where there is one.
SIGNER: Final = """
const secret = bru.getEnvVar('secret');
if (secret) {
  const CryptoJS = require('crypto-js');
  const [place, query] = bru.interpolate(req.getUrl()).split('?');
  const hex = (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase();
  const enc = (text) => encodeURIComponent(text).replace(/[!'()*]/g, hex);
  const dec = (text) => decodeURIComponent((text || '').replace(/\\+/g, ' '));
  const ours = ['sign', 'sign_type', 'timestamp', 'nonce'];
  const sent = (query || '').split('&').filter((one) => one).map((one) => one.split('=').map(dec));
  const pairs = sent.filter(([name]) => !ours.includes(name));
  pairs.push(['sign_type', 'HMAC-SHA256-V2']);
  pairs.push(['timestamp', String(Math.floor(Date.now() / 1000))]);
  pairs.push(['nonce', CryptoJS.lib.WordArray.random(16).toString()]);
  pairs.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const shown = pairs.map(([name, value]) => enc(name) + '=' + enc(value || '')).join('&');
  const path = place.replace(/^https?:\\/\\/[^/]+/, '');
  const text = ['HMAC-SHA256-V2', req.getMethod(), path, shown, CryptoJS.SHA256('').toString()].join('\\n');
  req.setUrl(place + '?' + shown + '&sign=' + CryptoJS.HmacSHA256(text, secret).toString());
}
""".strip()


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: what has several lines as a block."""


def _text(dumper: Any, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def collection(document: Mapping[str, Any]) -> bytes:
    """The collection as a zip file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as pack:
        for name, value in files(document):
            text = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=110)
            about = zipfile.ZipInfo(f"{ROOT}/{name}", MADE)
            pack.writestr(about, text, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def files(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each file of the folder: the collection, the sandbox's environment, a folder for each protocol."""
    yield "opencollection.yml", {"opencollection": VERSION, "info": {"name": "shoudan 收单"}}
    variables: list[dict[str, Any]] = [
        {"name": "base", "value": "http://127.0.0.1:8600"},
        {"name": "secret", "value": ""},
        {"name": "token", "value": ""},
    ]
    yield "environments/sandbox.yml", {"name": "sandbox", "variables": variables}
    for place, (protocol, ones) in enumerate(folders(document).items(), 1):
        folder: dict[str, Any] = {"info": {"name": protocol, "type": "folder", "seq": place}}
        if any(one.signed for one in ones):
            folder["request"] = {"scripts": [{"type": "before-request", "code": SIGNER}]}
        yield f"{protocol}/folder.yml", folder
        for number, one in enumerate(ones, 1):
            name = re.sub(r"\W+", "-", one.path).strip("-")
            yield f"{protocol}/{name}-{one.method.lower()}.yml", _request(one, number)


def _request(call: Call, number: int) -> dict[str, Any]:
    query = f"?{urlencode(call.query, quote_via=quote)}" if call.query else ""
    params = [
        {"name": name, "value": value, "type": kind}
        for kind, pairs in (("query", call.query), ("path", call.places))
        for name, value in pairs.items()
    ]
    http: dict[str, Any] = {
        "method": call.method,
        "url": "{{base}}/" + "/".join(parts(call.path)) + query,
    }
    if params:
        http["params"] = params
    if call.body is not None:
        http["body"] = {"type": "json", "data": call.body}
    if call.bearer:
        http["auth"] = {"type": "bearer", "token": "{{token}}"}
    return {
        "info": {"name": call.name, "type": "http", "seq": number},
        "http": http,
        "docs": call.about,
    }
